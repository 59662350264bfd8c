//! Addresses that no box may reach.

use std::net::IpAddr;

use ipnet::IpNet;
use longshore_outbound::address::{self, Kind};

use crate::Error;

/// The most networks that an operator may list.
const MAX_NETWORKS: usize = 256;

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

    /// Why no box may reach `address`, if that is so: what kind of address it is. Those for documentation lead nowhere, and
    /// what nobody uses needs no closing.
    pub(crate) fn objection(&self, address: IpAddr) -> Option<&'static str> {
        let is_open = |address, kind| kind == Kind::Documentation || self.contains(address);
        address::closed(address, is_open).map(Kind::as_str)
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
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
