//! Where a request comes from.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::{
    extract::{ConnectInfo, Request},
    http::{HeaderMap, HeaderName, header::FORWARDED},
};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address that a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Client(pub(crate) IpAddr);

/// Addresses that are counted as one: somebody who has an address of version 6 has 2⁶⁴ of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Group(IpAddr);

impl Group {
    pub(crate) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            address @ IpAddr::V4(_) => address,
        })
    }
}

impl Client {
    /// The client of a connection, or the one that a trusted proxy names: the last address on the way that is no proxy's.
    /// None if others run the routes and do not tell.
    pub(crate) fn of(request: &Request, proxies: &[IpNet]) -> Option<Self> {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>()?.0.ip().to_canonical();
        Some(Self(behind(peer, request.headers(), proxies)))
    }
}

/// Whether an address is a trusted proxy's.
pub(crate) fn is_proxy(address: IpAddr, proxies: &[IpNet]) -> bool {
    proxies.iter().any(|net| net.contains(&address.to_canonical()))
}

fn behind(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> IpAddr {
    let mut client = peer;
    let mut way = if headers.contains_key(X_FORWARDED_FOR) {
        list(headers, &X_FORWARDED_FOR)
    } else {
        list(headers, &FORWARDED).into_iter().filter_map(forwarded_for).collect()
    };
    while is_proxy(client, proxies) {
        // A name, or a word such as `unknown`, ends the way: what stands before it was written by nobody who is trusted.
        let Some(before) = way.pop().and_then(address) else { break };
        client = before;
    }
    client
}

fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).collect()
}

/// The value of `for` in an element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim().trim_matches('"'))
    })
}

/// An address with or without brackets and a port.
fn address(text: &str) -> Option<IpAddr> {
    let plain = text.trim_start_matches('[').trim_end_matches(']');
    let address = plain.parse().ok().or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip()))?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(headers: &[(&'static str, &'static str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let proxies = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().unwrap());
        behind("10.0.0.1".parse().unwrap(), &map, &proxies).to_string()
    }

    #[test]
    fn the_last_address_that_is_no_proxy_is_the_clients() {
        assert_eq!(client(&[]), "10.0.0.1");
        assert_eq!(client(&[("x-forwarded-for", "1.1.1.1, 2.2.2.2, 10.9.9.9")]), "2.2.2.2");
        assert_eq!(
            client(&[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "[2001:db8::1]:80, fd00::1")]),
            "2001:db8::1"
        );
        assert_eq!(
            client(&[("forwarded", "for=6.6.6.6, for=\"[2001:db8::2]:123\";proto=https, For=10.1.1.1")]),
            "2001:db8::2"
        );
        assert_eq!(client(&[("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=6.6.6.6")]), "1.1.1.1");
        assert_eq!(client(&[("x-forwarded-for", "1.1.1.1, unknown, 10.2.2.2")]), "10.2.2.2");
        let proxies = ["10.0.0.0/8".parse().unwrap()];
        let headers = HeaderMap::from_iter([(X_FORWARDED_FOR, "1.1.1.1".parse().unwrap())]);
        let stranger: IpAddr = "9.9.9.9".parse().unwrap();
        assert_eq!(behind(stranger, &headers, &proxies), stranger, "only proxies are believed");
    }

    #[test]
    fn a_network_of_version_6_is_one() {
        let group = |text: &str| Group::of(text.parse().unwrap());
        assert_eq!(group("2001:db8:1:2::1"), group("2001:db8:1:2:ffff::9"));
        assert_ne!(group("2001:db8:1:2::1"), group("2001:db8:1:3::1"));
        assert_ne!(group("1.2.3.4"), group("1.2.3.5"));
        assert_eq!(group("::ffff:1.2.3.4"), group("1.2.3.4"));
    }
}
