//! Hosts, and the entries of lists that name some.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;

/// The longest name in the DNS, and the longest label of one.
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// A host in its one spelling, so that two ways to write it cannot be judged differently.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name: lower-case ASCII, international ones in Punycode, without a dot at the end.
    Name(String),
    /// An address; one of IPv4 is never in the form of IPv6.
    Address(IpAddr),
}

/// The hosts that an entry of a list means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hosts {
    /// Every name and address.
    All,
    /// This name.
    Name(String),
    /// Names that end in this, which begins with a dot.
    Below(String),
    /// Every address of this network.
    Network(IpNet),
}

/// Why a text is no host: half a sentence that follows the text.
pub type Malformed = &'static str;

impl Host {
    /// Reads a name, an IPv4 address, or an IPv6 address in brackets, as browsers do: what they take for an IPv4 address
    /// (`127.1`, `0x7f.1`, `2130706433`) is one, and never a name.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if text.contains('%') {
            return Err("has a percent sign, which no host has");
        }
        match url::Host::parse(text) {
            Ok(url::Host::Ipv4(address)) => Ok(Self::from(IpAddr::V4(address))),
            Ok(url::Host::Ipv6(address)) => Ok(Self::from(IpAddr::V6(address))),
            Ok(url::Host::Domain(name)) => Self::name(&name),
            Err(_) => Err("is neither a host's name nor an address"),
        }
    }

    fn name(name: &str) -> Result<Self, Malformed> {
        let name = name.strip_suffix('.').unwrap_or(name);
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
        if name.len() > MAX_NAME || name.split('.').any(|label| label.is_empty() || label.len() > MAX_LABEL) {
            return Err("has an empty or too long part between its dots, or more than 253 letters");
        }
        if !name.split('.').all(|label| label.bytes().all(allowed)) {
            return Err("has a character that no host's name has");
        }
        Ok(Self::Name(name.to_owned()))
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        Self::Address(address.to_canonical())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl Hosts {
    /// Reads an entry: `*`, a name, `*.` and a name, an address, or a network (`10.1.0.0/16`).
    /// The addresses of IPv6 may be in brackets.
    ///
    /// # Errors
    /// What is wrong with the entry.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if text == "*" {
            return Ok(Self::All);
        }
        if let Some((address, length)) = text.split_once('/') {
            return parse_network(address, length).map(Self::Network);
        }
        if let Some(domain) = text.strip_prefix("*.") {
            return match Host::parse(domain)? {
                Host::Name(name) => Ok(Self::Below(format!(".{name}"))),
                Host::Address(_) => Err("has a '*' before an address: list a network"),
            };
        }
        if text.contains('*') {
            return Err("has a '*' that is not the whole first part of a name");
        }
        let host = text.parse::<IpAddr>().map_or_else(|_| Host::parse(text), |address| Ok(Host::from(address)));
        Ok(match host? {
            Host::Name(name) => Self::Name(name),
            Host::Address(address) => Self::Network(address.into()),
        })
    }

    /// Whether it means `host`. A name is meant by names alone, whatever its addresses are.
    pub fn contain(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::All, _) => true,
            (Self::Name(allowed), Host::Name(name)) => name == allowed,
            (Self::Below(suffix), Host::Name(name)) => name.ends_with(suffix),
            (Self::Network(network), Host::Address(address)) => network.contains(address),
            _ => false,
        }
    }
}

fn parse_network(address: &str, length: &str) -> Result<IpNet, &'static str> {
    let bare = address.strip_prefix('[').and_then(|address| address.strip_suffix(']'));
    let address: IpAddr = match bare {
        Some(address) => address.parse().map(IpAddr::V6),
        None => address.parse(),
    }
    .map_err(|_| "is no address with a length")?;
    if address.to_canonical() != address {
        return Err("is an IPv4 network in the form of IPv6: list it in that of IPv4");
    }
    let length = length.parse().map_err(|_| "has a length that is not a number")?;
    let network = IpNet::new(address, length).map_err(|_| "has a length that is too great")?;
    if network.trunc() == network { Ok(network) } else { Err("is not the first address of its network") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_means_what_it_says_and_nothing_near_it() {
        for (entry, inside, outside) in [
            ("Example.COM.", "example.com", "www.example.com"),
            ("*.example.com", "a.b.example.com", "example.com"),
            ("10.1.0.0/16", "10.1.255.255", "10.2.0.0"),
            ("0x7f.1", "127.0.0.1", "127.0.0.2"),
            ("fd00:1::/32", "[fd00:1:9::1]", "[fd00:2::1]"),
            ("[fd00:1::]/32", "[fd00:1::1]", "fd00"),
            ("fd00::5", "[fd00::5]", "[fd00::6]"),
            ("::ffff:10.0.0.5", "10.0.0.5", "[::a00:5]"),
            ("*", "example.com", ""),
        ] {
            let hosts = Hosts::parse(entry).unwrap();
            assert!(hosts.contain(&Host::parse(inside).unwrap()), "{entry} is not {inside}");
            assert!(
                Host::parse(outside).is_ok_and(|host| !hosts.contain(&host)) || outside.is_empty(),
                "{entry} is {outside}"
            );
        }
        for wrong in
            ["", "a b", "*x.com", "*.10.0.0.1", "10.0.0.1/8", "::ffff:10.0.0.0/104", "fe80::1%eth0", "h:80", "http://h"]
        {
            Hosts::parse(wrong).expect_err(wrong);
        }
    }
}
