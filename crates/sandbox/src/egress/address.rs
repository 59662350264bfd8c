//! Addresses that no box may reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::route;
use crate::Error;

/// The most networks that an operator may list.
const MAX_NETWORKS: usize = 256;

/// IPv4 addresses that are not the public Internet, and what they are.
const CLOSED_V4: &[(Ipv4Net, &str)] = &[
    (v4(0, 0, 0, 0, 8), "an unspecified address"),
    (v4(10, 0, 0, 0, 8), "a private address"),
    (v4(100, 64, 0, 0, 10), "a private address of a carrier"),
    (v4(127, 0, 0, 0, 8), "a loopback address"),
    // Microsoft's cloud serves its machines at this one, which looks public.
    (v4(168, 63, 129, 16, 32), "an address of a cloud's metadata"),
    (v4(169, 254, 0, 0, 16), "a link-local address, such as those of a cloud's metadata"),
    (v4(172, 16, 0, 0, 12), "a private address"),
    (v4(192, 0, 0, 0, 24), "a reserved address"),
    (v4(192, 168, 0, 0, 16), "a private address"),
    (v4(198, 18, 0, 0, 15), "an address for benchmarks"),
    (v4(224, 0, 0, 0, 4), "a multicast address"),
    (v4(240, 0, 0, 0, 4), "a reserved address"),
];

/// IPv6 addresses that are not the public Internet, and what they are. Those that hold an IPv4 address are judged by that
/// first, see [`embedded`].
const CLOSED_V6: &[(Ipv6Net, &str)] = &[
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "an unspecified address"),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "a loopback address"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), "a reserved address"),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), "a private address"),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "a link-local address"),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), "a private address"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "a multicast address"),
];

/// All IPv6 addresses that are given to anybody on the Internet.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// IPv6 networks whose addresses end in an IPv4 address: mapped, compatible, translated (SIIT) and NAT64.
const ENDS_IN_V4: &[Ipv6Net] = &[
    v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 96),
    v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96),
    v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96),
];

const SIX_TO_FOUR: Ipv6Net = v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16);
const TEREDO: Ipv6Net = v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32);

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(segments: [u16; 8], length: u8) -> Ipv6Net {
    let s = segments;
    Ipv6Net::new_assert(Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]), length)
}

/// Networks that boxes may reach although they are not public, because the operator says so.
///
/// Without them no box reaches an address of this machine, of a private, carrier-grade or link-local network, loopback,
/// multicast, or what is reserved, whatever its user lists. An IPv6 address that holds an IPv4 address (mapped,
/// compatible, translated, NAT64, 6to4, Teredo) is judged by that one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Reads networks (`10.1.0.0/16`, `fd00:1::/32`) and single addresses; at most 256.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the entry that is wrong and how to write it.
    pub fn parse(entries: &[String]) -> Result<Self, Error> {
        if entries.len() > MAX_NETWORKS {
            return Err(Error::Invalid(format!("{} networks are too many: list {MAX_NETWORKS}", entries.len())));
        }
        entries.iter().map(|entry| parse_network(entry.trim())).collect::<Result<_, _>>().map(Self)
    }

    /// Why no box may reach `address`, if that is so: what kind of address it is.
    pub(crate) fn objection(&self, address: IpAddr) -> Option<&'static str> {
        let address = address.to_canonical();
        if self.contains(address) {
            return None;
        }
        self.kind(address).or_else(|| match route::leaves(address) {
            Ok(true) => None,
            Ok(false) => Some("an address of this machine"),
            Err(cause) => {
                tracing::warn!(%cause, "the kernel does not say where an address is, so no box may reach it");
                Some("an address whose place is not known")
            }
        })
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// What kind of address this is, if it is not a public one.
    fn kind(&self, address: IpAddr) -> Option<&'static str> {
        match address {
            IpAddr::V4(address) => {
                CLOSED_V4.iter().find(|(network, _)| network.contains(&address)).map(|(_, what)| *what)
            }
            IpAddr::V6(address) => self.kind_v6(address),
        }
    }

    fn kind_v6(&self, address: Ipv6Addr) -> Option<&'static str> {
        let inner = embedded(address);
        if !inner.is_empty() {
            return inner.into_iter().map(IpAddr::from).find_map(|inner| self.objection(inner));
        }
        let closed = CLOSED_V6.iter().find(|(network, _)| network.contains(&address)).map(|(_, what)| *what);
        closed.or_else(|| (!GLOBAL_V6.contains(&address)).then_some("a reserved address"))
    }
}

/// All IPv4 networks that are not the public Internet.
#[cfg(test)]
pub(crate) fn closed_v4() -> impl Iterator<Item = Ipv4Net> {
    CLOSED_V4.iter().map(|(network, _)| *network)
}

/// The IPv4 addresses that packets to an IPv6 address end at, or pass. For `64:ff9b:1::/48`, a NAT64 of one's own, nobody
/// but its owner knows where in the address they are, so that it stays reserved.
fn embedded(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    let bits = address.to_bits();
    let at = |shift: u32| Ipv4Addr::from_bits(u32::try_from((bits >> shift) & 0xffff_ffff).unwrap_or_default());
    if address.is_unspecified() || address.is_loopback() {
        Vec::new()
    } else if ENDS_IN_V4.iter().any(|network| network.contains(&address)) {
        vec![at(0)]
    } else if SIX_TO_FOUR.contains(&address) {
        vec![at(80)]
    } else if TEREDO.contains(&address) {
        // The server, and the client with all bits turned over.
        vec![at(64), Ipv4Addr::from_bits(!at(0).to_bits())]
    } else {
        Vec::new()
    }
}

fn parse_network(entry: &str) -> Result<IpNet, Error> {
    let network = match entry.parse::<IpNet>() {
        Ok(network) => Some(network),
        Err(_) => entry.parse::<IpAddr>().ok().map(IpNet::from),
    };
    network.filter(|network| network.trunc() == *network).ok_or_else(|| {
        Error::Invalid(format!(
            "'{}' is no network: write its first address and its length, such as 10.1.0.0/16 or fd00:1::/32",
            entry.chars().take(64).collect::<String>().escape_debug()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objection(address: &str) -> Option<&'static str> {
        Networks::default().objection(address.parse().unwrap())
    }

    #[test]
    fn no_box_reaches_metadata() {
        for address in [
            "169.254.169.254", // most clouds
            "169.254.170.2",   // tasks of containers
            "169.254.169.123",
            "100.100.100.200", // in a carrier's range
            "168.63.129.16",   // looks public
            "192.0.0.192",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fe80::a9fe:a9fe",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "2001:0:a9fe:a9fe::1",
        ] {
            assert!(objection(address).is_some(), "{address}");
        }
    }

    #[test]
    fn what_is_not_public_is_closed_to_its_edges() {
        for (first, last, before, after) in [
            ("0.0.0.0", "0.255.255.255", None, Some("1.0.0.0")),
            ("10.0.0.0", "10.255.255.255", Some("9.255.255.255"), Some("11.0.0.0")),
            ("100.64.0.0", "100.127.255.255", Some("100.63.255.255"), Some("100.128.0.0")),
            ("127.0.0.0", "127.255.255.255", Some("126.255.255.255"), Some("128.0.0.0")),
            ("168.63.129.16", "168.63.129.16", Some("168.63.129.15"), Some("168.63.129.17")),
            ("169.254.0.0", "169.254.255.255", Some("169.253.255.255"), Some("169.255.0.0")),
            ("172.16.0.0", "172.31.255.255", Some("172.15.255.255"), Some("172.32.0.0")),
            ("192.0.0.0", "192.0.0.255", Some("191.255.255.255"), Some("192.0.1.0")),
            ("192.168.0.0", "192.168.255.255", Some("192.167.255.255"), Some("192.169.0.0")),
            ("198.18.0.0", "198.19.255.255", Some("198.17.255.255"), Some("198.20.0.0")),
            ("224.0.0.0", "255.255.255.255", Some("223.255.255.255"), None),
            ("::", "::1", None, None),
            ("::2", "1fff:ffff::", None, Some("2000::")),
            ("2001:1::", "2001:1ff:ffff::", None, Some("2001:200::")),
            ("4000::", "ffff::", Some("3fff:ffff::"), None),
            ("fc00::", "fdff:ffff::", None, None),
            ("fe80::", "feff:ffff::", None, None),
        ] {
            for closed in [first, last] {
                assert!(objection(closed).is_some(), "{closed}");
            }
            for open in [before, after].into_iter().flatten() {
                assert_eq!(objection(open), None, "{open}");
            }
        }
        assert_eq!(objection("198.51.100.7"), None);
        assert_eq!(objection("2001:db8::7"), None);
    }

    #[test]
    fn an_address_in_an_address_is_what_counts() {
        for (prefix, suffix) in [("::ffff:", ""), ("::", ""), ("::ffff:0:", ""), ("64:ff9b::", "")] {
            assert_eq!(objection(&format!("{prefix}198.51.100.7{suffix}")), None, "{prefix}");
            assert!(objection(&format!("{prefix}10.0.0.1{suffix}")).is_some(), "{prefix}");
        }
        // 6to4, and Teredo with the server first and then the client, inverted.
        assert_eq!(objection("2002:c633:6407::1"), None);
        assert!(objection("2002:7f00:1::1").is_some());
        assert_eq!(objection("2001:0:c633:6407:0:0:39cc:9bf8"), None);
        assert!(objection("2001:0:c633:6407:0:0:f5ff:fffe").is_some());
        assert!(objection("2001:0:a00:1:0:0:39cc:9bf8").is_some());
    }

    #[test]
    fn the_operator_opens_networks() {
        let networks = Networks::parse(&["10.1.0.0/16".into(), "fd00:1::/32".into(), "127.0.0.1".into()]).unwrap();
        for open in ["10.1.2.3", "127.0.0.1", "fd00:1::5", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3"] {
            assert_eq!(networks.objection(open.parse().unwrap()), None, "{open}");
        }
        for closed in ["10.2.0.1", "127.0.0.2", "fd00:2::5", "::ffff:10.2.0.1", "::1"] {
            assert!(networks.objection(closed.parse().unwrap()).is_some(), "{closed}");
        }
        for wrong in ["10.1.2.3/16", "10.0.0.0/33", "example.com", "", "10.1/16", "[fd00::]/8"] {
            Networks::parse(&[wrong.into()]).unwrap_err();
        }
        Networks::parse(&vec!["10.0.0.1".to_owned(); MAX_NETWORKS + 1]).unwrap_err();
    }
}
