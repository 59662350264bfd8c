//! Where a connection is to go.

use std::{fmt, net::IpAddr};

/// The longest name in the DNS, and the longest label of one.
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// A host in its one spelling, so that two ways to write it cannot be judged differently.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Host {
    /// A name: lower-case ASCII, international ones in Punycode, without a dot at the end.
    Name(String),
    /// An address; one of IPv4 is never in the form of IPv6.
    Address(IpAddr),
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Target {
    pub(super) host: Host,
    pub(super) port: u16,
}

/// Why a text is no host, port or target: half a sentence that follows what it is about.
pub(super) type Malformed = &'static str;

impl Host {
    /// Reads a name, an IPv4 address, or an IPv6 address in brackets, as browsers do: what they take for an IPv4 address
    /// (`127.1`, `0x7f.1`, `2130706433`) is one, and never a name.
    pub(super) fn parse(text: &str) -> Result<Self, Malformed> {
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

impl Target {
    /// Reads `host:port`; without a port it is `default`, and there must be one if that is nothing.
    pub(super) fn parse(text: &str, default: Option<u16>) -> Result<Self, Malformed> {
        if text.contains('@') {
            return Err("has a user's name in it: leave out what stands before the '@'");
        }
        // The colons of an IPv6 address are in brackets; any other host with a colon fails to parse.
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        let port = match port {
            Some(port) => parse_port(port)?,
            None => default.ok_or("has no port")?,
        };
        Ok(Self { host: Host::parse(host)?, port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

/// Reads a port from 1 to 65535 in its one spelling: digits, no sign, no zero in front.
pub(super) fn parse_port(text: &str) -> Result<u16, Malformed> {
    if text.starts_with('0') || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("has a port that is not a number from 1 to 65535");
    }
    text.parse().map_err(|_| "has a port that is not a number from 1 to 65535")
}
