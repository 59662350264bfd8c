//! Which hosts a box may reach.

use std::{fmt, net::IpAddr, ops::RangeInclusive};

use longshore_outbound::host::Hosts;

use super::{
    Networks,
    host::{Target, parse_port},
    refusal::Refusal,
};
use crate::Error;

/// The most entries of a list, the longest entry, and the most ports of one.
const MAX_ENTRIES: usize = 256;
const MAX_LENGTH: usize = 512;
const MAX_PORTS: usize = 16;

const FORMS: &str = "write a host or a network, and ports if they are not 80 and 443: example.com, *.example.com:443, \
                     198.51.100.7, 198.51.100.0/24:22,8000-8100, [2001:db8::]/32, *, *:*";

/// Which hosts a box may reach.
#[derive(Debug, Clone)]
pub struct Policy {
    rules: Vec<Rule>,
    networks: Networks,
}

#[derive(Debug, Clone)]
struct Rule {
    hosts: Hosts,
    ports: Ports,
}

#[derive(Debug, Clone)]
struct Ports(Vec<RangeInclusive<u16>>);

impl Policy {
    /// Reads the `allowed_hosts` of a box. An entry is a host, and after a colon the ports; without them, 80 and 443.
    ///
    /// | host | means |
    /// |---|---|
    /// | `example.com` | this name |
    /// | `*.example.com` | every name below it, at any depth, and not the name itself; `*.com` works too |
    /// | `198.51.100.7`, `[2001:db8::7]` | this address |
    /// | `198.51.100.0/24`, `[2001:db8::]/32` | every address of this network |
    /// | `*` | every name and address |
    ///
    /// Ports are numbers and ranges with commas between them, at most 16, or `*` for all. Names are compared without
    /// case and a dot at their end, international ones in Punycode. Addresses and networks are for programs that ask for
    /// an address: a name is allowed by names alone, since it would have to be looked up to be judged by its address, and
    /// the question would carry data out of the box.
    ///
    /// Whatever is listed, an address that [no box may reach](Networks) stays closed.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the entry that is wrong and how to write it, or for more than 256 entries.
    pub fn parse(allowed_hosts: &[String]) -> Result<Self, Error> {
        if allowed_hosts.len() > MAX_ENTRIES {
            let count = allowed_hosts.len();
            return Err(Error::Invalid(format!(
                "allowed_hosts has {count} entries and may have {MAX_ENTRIES}: use '*.' for many names of one domain"
            )));
        }
        let rules = allowed_hosts.iter().map(|entry| {
            parse_rule(entry.trim()).map_err(|why| {
                let entry: String = entry.chars().take(100).collect();
                Error::Invalid(format!("'{}' in allowed_hosts {why}: {FORMS}", entry.escape_debug()))
            })
        });
        Ok(Self { rules: rules.collect::<Result<_, _>>()?, networks: Networks::default() })
    }

    /// Every host on every port, but for the addresses that [no box may reach](Networks).
    pub fn public() -> Self {
        Self { rules: vec![Rule { hosts: Hosts::All, ports: Ports::all() }], networks: Networks::default() }
    }

    /// This policy, with networks that the operator opens although they are not public. They must be listed by the box as
    /// any other host.
    #[must_use]
    pub fn with_private(self, private_allowed: Networks) -> Self {
        Self { networks: private_allowed, ..self }
    }

    /// Whether the box may reach `target`, as far as its list says.
    pub(super) fn check(&self, target: &Target) -> Result<(), Refusal> {
        let mut ports = None;
        for rule in self.rules.iter().filter(|rule| rule.hosts.contain(&target.host)) {
            if rule.ports.contain(target.port) {
                return Ok(());
            }
            ports = Some(&rule.ports);
        }
        Err(match ports {
            Some(ports) => Refusal::port_not_allowed(target, ports),
            None => Refusal::host_not_allowed(target),
        })
    }

    /// Why no box may reach `address`, if that is so.
    pub(super) fn objection(&self, address: IpAddr) -> Option<&'static str> {
        self.networks.objection(address)
    }
}

impl Ports {
    fn all() -> Self {
        Self(vec![1..=u16::MAX])
    }

    fn contain(&self, port: u16) -> bool {
        self.0.iter().any(|range| range.contains(&port))
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            match (range.start(), range.end()) {
                (first, last) if first == last => write!(f, "{first}")?,
                (first, last) => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

/// Reads an entry. The error is half a sentence that follows the entry.
fn parse_rule(entry: &str) -> Result<Rule, &'static str> {
    if entry.is_empty() || entry.len() > MAX_LENGTH {
        return Err("is empty or longer than 512 letters");
    }
    if entry.contains("://") || entry.contains('@') {
        return Err("is more than a host");
    }
    // The colons of an IPv6 address are in brackets.
    let after_brackets = entry.find(']').map_or(0, |end| end + 1);
    let (hosts, ports) = match entry[after_brackets..].split_once(':') {
        Some((_, ports)) => (&entry[..entry.len() - ports.len() - 1], Some(ports)),
        None => (entry, None),
    };
    if ports.is_some_and(|ports| ports.contains(':')) {
        return Err("has too many colons: an IPv6 address goes in brackets");
    }
    Ok(Rule { hosts: Hosts::parse(hosts)?, ports: parse_ports(ports.unwrap_or("80,443"))? })
}

fn parse_ports(text: &str) -> Result<Ports, &'static str> {
    if text == "*" {
        return Ok(Ports::all());
    }
    let ranges: Vec<_> = text.split(',').take(MAX_PORTS + 1).map(parse_range).collect::<Result<_, _>>()?;
    if ranges.len() > MAX_PORTS { Err("has more than 16 ports and ranges") } else { Ok(Ports(ranges)) }
}

fn parse_range(text: &str) -> Result<RangeInclusive<u16>, &'static str> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = parse_port(first)?..=parse_port(last)?;
    if range.is_empty() { Err("has ports from a greater to a smaller one") } else { Ok(range) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a list of one entry allows a target.
    fn allows(entry: &str, target: &str) -> bool {
        let policy = Policy::parse(&[entry.to_owned()]).unwrap();
        policy.check(&Target::parse(target, None).unwrap()).is_ok()
    }

    #[test]
    fn entries_allow_what_they_say_and_nothing_near_it() {
        for (entry, inside, outside) in [
            (
                "example.com",
                &["example.com:80", "example.com:443", "EXAMPLE.com.:443", "example。com:80"][..],
                &["example.com:22", "www.example.com:443", "example.com.evil.org:443", "notexample.com:443", "com:80"]
                    [..],
            ),
            ("Example.COM.:22", &["example.com:22"], &["example.com:443"]),
            (
                "*.example.com",
                &["www.example.com:443", "a.b.example.com:80"],
                &["example.com:443", "wwwexample.com:443", "www.example.com.evil.org:443"],
            ),
            ("*.com:443", &["example.com:443"], &["com:443", "example.org:443", "example.com:80"]),
            ("exámple.com", &["xn--exmple-qta.com:80", "EXÁMPLE.com:80"], &["example.com:80"]),
            ("*.exámple.com", &["www.xn--exmple-qta.com:80"], &["www.example.com:80"]),
            ("host:80,443,8000-8100", &["host:80", "host:8000", "host:8100"], &["host:81", "host:7999", "host:8101"]),
            ("host:*", &["host:1", "host:65535"], &["hosts:80"]),
            ("198.51.100.7", &["198.51.100.7:80", "[::ffff:198.51.100.7]:443", "0xc6336407:80"], &["198.51.100.8:80"]),
            (
                "198.51.100.0/24:8000-8100",
                &["198.51.100.0:8000", "198.51.100.255:8100"],
                &["198.51.101.0:8000", "198.51.100.7:80", "name:8000"],
            ),
            ("[2001:db8::]/32", &["[2001:db8:9::1]:80"], &["[2001:db9::1]:80", "[2001:db8::1]:22", "name:80"]),
            ("[2001:db8::]/32:22", &["[2001:db8:9::1]:22"], &["[2001:db8::1]:80"]),
            ("[2001:DB8:0::1]:80", &["[2001:db8::1]:80"], &["[2001:db8::2]:80", "[2001:db8::1]:443"]),
            ("*", &["name:80", "198.51.100.7:443", "[2001:db8::1]:443"], &["name:22"]),
            ("*:*", &["name:1", "198.51.100.7:65535"], &[]),
            // What is an address stays one.
            ("0177.1:80", &["127.0.0.1:80", "2130706433:80", "127.1:80"], &["127.0.0.2:80"]),
        ] {
            for target in inside {
                assert!(allows(entry, target), "{entry} does not allow {target}");
            }
            for target in outside {
                assert!(!allows(entry, target), "{entry} allows {target}");
            }
        }
    }

    #[test]
    fn an_empty_list_allows_nothing() {
        let policy = Policy::parse(&[]).unwrap();
        policy.check(&Target::parse("example.com:443", None).unwrap()).unwrap_err();
    }

    #[test]
    fn wrong_entries_are_refused_with_the_forms_there_are() {
        let long = "a".repeat(64);
        for wrong in [
            "",
            " ",
            ":80",
            "https://example.com",
            "example.com/",
            "example.com/path",
            "user@example.com",
            "*example.com",
            "www.*.com",
            "example.*",
            "**",
            "*.",
            "*.*.com",
            "*.198.51.100.7",
            "a..b",
            ".example.com",
            "exa mple.com",
            "ex%61mple.com",
            "example.com:",
            "example.com:0",
            "example.com:65536",
            "example.com:+80",
            "example.com:0080",
            "example.com:http",
            "example.com:443-80",
            "example.com:1-",
            "example.com:80,",
            "198.51.100.7/24",
            "198.51.100.0/33",
            "198.51.100.0/",
            "198.51/16",
            "999.1.1.1",
            "1.2.3.4.5",
            "2001:db8::1",
            "2001:db8::/32",
            "[2001:db8::1",
            "[2001:db8::1]x",
            "[fe80::1%eth0]",
            "[fe80::1%25eth0]:80",
            "[::ffff:198.51.100.0]/120",
            "[198.51.100.7]",
            "[example.com]",
            "example.com\n",
            "exa\0mple.com",
            &long,
            "h:1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17",
        ] {
            // A line's end at the end is trimmed as spaces are.
            if wrong.trim() == "example.com" {
                continue;
            }
            let error = Policy::parse(&[wrong.to_owned()]).expect_err(wrong).to_string();
            assert!(error.contains("*.example.com:443") && error.len() < 600, "{error}");
            assert!(!error.contains('\0'), "{error:?}");
        }
        Policy::parse(&vec!["example.com".to_owned(); MAX_ENTRIES]).unwrap();
        Policy::parse(&vec!["example.com".to_owned(); MAX_ENTRIES + 1]).unwrap_err();
        Policy::parse(&[format!("{}example.com", "a.".repeat(300))]).unwrap_err();
    }

    #[test]
    fn targets_have_one_spelling_or_none() {
        for (text, one) in [
            ("EXAMPLE.com.:443", "example.com:443"),
            ("exámple.com:1", "xn--exmple-qta.com:1"),
            ("１２７.0.0.1:80", "127.0.0.1:80"),
            ("0177.1:80", "127.0.0.1:80"),
            ("2130706433:80", "127.0.0.1:80"),
            ("0x7f.1:80", "127.0.0.1:80"),
            ("127.1.:80", "127.0.0.1:80"),
            ("[::FFFF:7f00:1]:80", "127.0.0.1:80"),
            ("[2001:DB8:0:0::1]:80", "[2001:db8::1]:80"),
        ] {
            assert_eq!(Target::parse(text, None).unwrap().to_string(), one, "{text}");
        }
        for none in [
            "",
            ":",
            "example.com",
            "example.com:",
            ":443",
            "example.com:0",
            "example.com:65536",
            "example.com:+80",
            "example.com:0080",
            "example.com:80 ",
            "example.com:８０",
            "allowed:443@evil:443",
            "user@example.com:80",
            "ex%61mple.com:80",
            "[fe80::1%eth0]:80",
            "[fe80::1%25eth0]:80",
            "::1:80",
            "[::1:80",
            "[::1]80",
            "[::1]",
            "exa mple.com:80",
            "example.com/:80",
            "example.com\\:80",
            "example.com#:80",
            "exam\0ple.com:80",
            "*.com:80",
            "a..b:80",
            "..:80",
            "0x.0x.0x.0x.0x:80",
            "256.256.256.256:80",
            "1.2.3.4.5:80",
            "08.1.1.1:80",
        ] {
            assert!(Target::parse(none, None).is_err(), "{none}");
        }
    }
}
