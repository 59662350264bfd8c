//! What an address is, if it is not one of the public Internet.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{Ipv4Net, Ipv6Net};

use crate::route;

/// What an address is that is not one of the public Internet. As text it is an expression that follows "is".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// No address.
    Unspecified,
    /// This machine, as it calls itself.
    Loopback,
    /// This machine, by an address that others may know too; or many machines at once.
    OwnMachine,
    /// A private network's: RFC 1918, and unique or site-local ones of IPv6.
    Private,
    /// A carrier's own network, RFC 6598.
    Carrier,
    /// Where a cloud tells its machines their credentials.
    Metadata,
    /// The cable's own; mostly a cloud's metadata too.
    LinkLocal,
    /// Many machines at once.
    Multicast,
    /// For benchmarks of networks.
    Benchmark,
    /// For examples in texts: it leads nowhere, unless a network uses it as its own.
    Documentation,
    /// Given to nobody.
    Reserved,
    /// The kernel does not say where it is.
    Unknown,
}

impl Kind {
    /// The expression.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "an unspecified address",
            Self::Loopback => "a loopback address",
            Self::OwnMachine => "an address of this machine",
            Self::Private => "a private address",
            Self::Carrier => "a private address of a carrier",
            Self::Metadata => "an address of a cloud's metadata",
            Self::LinkLocal => "a link-local address, such as those of a cloud's metadata",
            Self::Multicast => "a multicast address",
            Self::Benchmark => "an address for benchmarks",
            Self::Documentation => "an address for documentation",
            Self::Reserved => "a reserved address",
            Self::Unknown => "an address whose place is not known",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// IPv4 addresses that are not the public Internet. The first network that has an address says what it is.
pub const NETWORKS_V4: &[(Ipv4Net, Kind)] = &[
    // Two of these look like a carrier's and a reserved one, and one looks public.
    (v4(100, 100, 100, 200, 32), Kind::Metadata),
    (v4(168, 63, 129, 16, 32), Kind::Metadata),
    (v4(192, 0, 0, 192, 32), Kind::Metadata),
    (v4(0, 0, 0, 0, 8), Kind::Unspecified),
    (v4(10, 0, 0, 0, 8), Kind::Private),
    (v4(100, 64, 0, 0, 10), Kind::Carrier),
    (v4(127, 0, 0, 0, 8), Kind::Loopback),
    (v4(169, 254, 0, 0, 16), Kind::LinkLocal),
    (v4(172, 16, 0, 0, 12), Kind::Private),
    (v4(192, 0, 0, 0, 24), Kind::Reserved),
    (v4(192, 0, 2, 0, 24), Kind::Documentation),
    (v4(192, 168, 0, 0, 16), Kind::Private),
    (v4(198, 18, 0, 0, 15), Kind::Benchmark),
    (v4(198, 51, 100, 0, 24), Kind::Documentation),
    (v4(203, 0, 113, 0, 24), Kind::Documentation),
    (v4(224, 0, 0, 0, 4), Kind::Multicast),
    (v4(240, 0, 0, 0, 4), Kind::Reserved),
];

/// IPv6 addresses that are not the public Internet, in the same order. Those that hold an IPv4 address are judged by that
/// one, see [`embedded`].
const NETWORKS_V6: &[(Ipv6Net, Kind)] = &[
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), Kind::Unspecified),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), Kind::Loopback),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), Kind::Documentation),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), Kind::Reserved),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), Kind::Documentation),
    // Those of two clouds, in the middle of what is private.
    (v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32), Kind::Metadata),
    (v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0], 32), Kind::Metadata),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), Kind::Private),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), Kind::LinkLocal),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), Kind::Private),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), Kind::Multicast),
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

/// What `address` is that nobody opened, or nothing if it is public or open.
///
/// An IPv6 address that holds an IPv4 address (mapped, compatible, translated, NAT64, 6to4, Teredo) is judged by that one.
/// `is_open` is asked about each address that is judged and about `address` itself, with the kind; an IPv4 address is never
/// in the form of IPv6 then.
pub fn closed(address: IpAddr, is_open: impl Fn(IpAddr, Kind) -> bool) -> Option<Kind> {
    let address = address.to_canonical();
    ends(address).into_iter().find_map(|end| kind(end).filter(|kind| !is_open(end, *kind) && !is_open(address, *kind)))
}

/// The addresses where packets to `address` end or pass: itself, and before it those that it holds.
pub fn ends(address: IpAddr) -> Vec<IpAddr> {
    let address = address.to_canonical();
    let inner = match address {
        IpAddr::V4(_) => Vec::new(),
        IpAddr::V6(address) => embedded(address),
    };
    inner.into_iter().map(IpAddr::from).chain([address]).collect()
}

fn kind(address: IpAddr) -> Option<Kind> {
    let kind = match address {
        IpAddr::V4(address) => find(NETWORKS_V4, |network| network.contains(&address)),
        // What holds another address is of no kind itself.
        IpAddr::V6(address) if !embedded(address).is_empty() => None,
        IpAddr::V6(address) => find(NETWORKS_V6, |network| network.contains(&address))
            .or_else(|| (!GLOBAL_V6.contains(&address)).then_some(Kind::Reserved)),
    };
    match kind {
        // Machines have such addresses all the same.
        None | Some(Kind::Documentation) => kind_of_route(address).or(kind),
        kind => kind,
    }
}

fn kind_of_route(address: IpAddr) -> Option<Kind> {
    match route::leaves(address) {
        Ok(true) => None,
        Ok(false) => Some(Kind::OwnMachine),
        Err(cause) => {
            tracing::warn!(%cause, "the kernel does not say where an address is, so nobody may reach it");
            Some(Kind::Unknown)
        }
    }
}

fn find<N>(networks: &[(N, Kind)], has_it: impl Fn(&N) -> bool) -> Option<Kind> {
    networks.iter().find(|(network, _)| has_it(network)).map(|(_, kind)| *kind)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(address: &str) -> Option<Kind> {
        closed(address.parse().unwrap(), |_, _| false)
    }

    #[test]
    fn every_kind_is_known_by_its_addresses() {
        for (addresses, kind) in [
            (&["0.0.0.0", "0.1.2.3", "::"][..], Kind::Unspecified),
            (&["127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1", "2002:7f00:1::"], Kind::Loopback),
            (&["10.0.0.1", "172.31.255.255", "192.168.0.1", "fd00::1", "fec0::1", "64:ff9b::10.0.0.1"], Kind::Private),
            (&["100.64.0.0", "100.127.255.255"], Kind::Carrier),
            (&["100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"], Kind::Metadata),
            (&["169.254.169.254", "169.254.170.2", "fe80::1", "::169.254.169.254"], Kind::LinkLocal),
            (&["224.0.0.1", "239.255.255.255", "ff02::1"], Kind::Multicast),
            (&["198.18.0.1", "198.19.255.255"], Kind::Benchmark),
            (&["192.0.2.1", "198.51.100.7", "203.0.113.9", "2001:db8::1", "3fff::1"], Kind::Documentation),
            (&["192.0.0.1", "240.0.0.1", "255.255.255.255", "2001:1::", "4000::", "64:ff9b:1::1"], Kind::Reserved),
        ] {
            for address in addresses {
                assert_eq!(kind_of(address), Some(kind), "{address}");
            }
        }
        for public in ["1.1.1.1", "172.32.0.1", "192.0.3.1", "2606:4700::1111", "2002:101:101::1", "64:ff9b::1.1.1.1"] {
            assert_eq!(kind_of(public), None, "{public}");
        }
    }

    #[test]
    fn an_opened_address_is_open_in_every_form() {
        let ten = |address: IpAddr, _| address == IpAddr::from([10, 0, 0, 1]);
        for form in ["10.0.0.1", "::ffff:10.0.0.1", "::10.0.0.1", "64:ff9b::10.0.0.1", "2002:a00:1::5"] {
            assert_eq!(closed(form.parse().unwrap(), ten), None, "{form}");
        }
        // Teredo has two ends, of which one stays closed.
        assert_eq!(closed("2001:0:a00:1:0:0:f5ff:fffd".parse().unwrap(), ten), Some(Kind::Private));
    }
}
