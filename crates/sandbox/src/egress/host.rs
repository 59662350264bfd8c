//! Where a connection is to go.

use std::{fmt, net::IpAddr};

pub(super) use longshore_outbound::host::{Host, Malformed};

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Target {
    pub(super) host: Host,
    pub(super) port: u16,
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
