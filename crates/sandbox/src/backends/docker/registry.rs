//! Registries that images come from.
//!
//! The engine asks them from its machine's own network. So whoever names an image would name a host there, and what it
//! answers must neither be asked for nor shown.

use std::net::IpAddr;

use url::Host;

use crate::egress::Networks;

/// Endings of names that only a private network has.
const PRIVATE_ENDINGS: [&str; 8] = ["arpa", "corp", "home", "internal", "intranet", "lan", "local", "localdomain"];

/// Why images of the registry `host[:port]` are only fetched if the operator lists it: what it is. A public name that leads
/// to such an address is not seen here, since the engine looks names up by itself.
pub(super) fn objection(registry: &str) -> Option<&'static str> {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    match Host::parse(host) {
        // Also in the other forms that some systems take for an address, such as 127.1.
        Ok(Host::Ipv4(address)) => Networks::default().objection(IpAddr::V4(address)),
        Ok(Host::Ipv6(address)) => Networks::default().objection(IpAddr::V6(address)),
        Ok(Host::Domain(name)) => name_objection(name.trim_end_matches('.')),
        Err(_) => Some("no host's name"),
    }
}

fn name_objection(name: &str) -> Option<&'static str> {
    if name == "localhost" || name.starts_with("localhost.") || name.ends_with(".localhost") {
        return Some("a name of the machine itself");
    }
    if name.starts_with("metadata.") {
        return Some("a name of a cloud's metadata");
    }
    match name.rsplit_once('.') {
        Some((_, ending)) if !PRIVATE_ENDINGS.contains(&ending) => None,
        _ => Some("a name of a private network"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_registries_need_no_permission() {
        for registry in ["docker.io", "ghcr.io", "registry.example.com:5000", "198.51.100.7", "localhosts.example.com"]
        {
            assert_eq!(objection(registry), None, "{registry}");
        }
        for registry in [
            "127.0.0.1:5000",
            "127.1:5000",
            "0x7f.1",
            "2130706433:80",
            "10.0.0.5",
            "192.168.1.1:443",
            "169.254.169.254",
            "168.63.129.16:80",
            "100.100.100.200",
            "0.0.0.0:2375",
            "localhost",
            "localhost:5000",
            "LOCALHOST:5000",
            "a.localhost",
            "localhost.localdomain",
            "registry:5000",
            "nas.local",
            "metadata.google.internal",
            "metadata.google.internal.:80",
            "metadata.example.com",
        ] {
            assert!(objection(registry).is_some(), "{registry}");
        }
    }
}
