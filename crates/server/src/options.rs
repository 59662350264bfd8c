//! What the operator decides about the server.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;
use longshore_protocol::server::PROTOCOL_VERSION;
use regex_lite::Regex;

use crate::{AuditOptions, Limits, MetricsAccess, Tls, Tracer};

/// What the operator decides about the server.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which pages in browsers may call.
    pub cors: Cors,
    /// Whether a server without keys answers whatever name it is called by. A page in a browser can otherwise give a
    /// name of its own to this machine and then read what the server says.
    pub any_host: bool,
    /// Names that the server answers to, with or without keys: a host, or `*.` and a domain. Without any: all names if keys
    /// are needed, else only those of this machine.
    pub allowed_hosts: Vec<String>,
    /// Bounds of everything that comes from outside.
    pub limits: Limits,
    /// TLS; without it the server speaks plain HTTP.
    pub tls: Option<Tls>,
    /// Proxies that are believed when they tell where a request comes from, in `X-Forwarded-For` or else in `Forwarded`.
    pub trusted_proxies: Vec<IpNet>,
    /// The log of who did what.
    pub audit: AuditOptions,
    /// Features that clients look for in `/server_info`.
    pub capabilities: Vec<String>,
    /// The protocol version that clients compare.
    pub version: String,
    /// The commit that the server was built from.
    pub build_sha: String,
    /// The branch or tag that the server was built from.
    pub build_ref: String,
    /// Who may read the metrics.
    pub metrics: MetricsAccess,
    /// What ties this server's spans to the traces of others, if anything does.
    pub tracer: Option<Arc<dyn Tracer>>,
    /// Seconds of idleness after which an orchestrator stops this server.
    pub runtime_idle_timeout: Option<f64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cors: Cors::default(),
            any_host: false,
            allowed_hosts: Vec::new(),
            limits: Limits::default(),
            tls: None,
            trusted_proxies: Vec::new(),
            audit: AuditOptions::default(),
            capabilities: ["idempotent_conversation_create_v1", "tool_catalog_v1"].map(str::to_owned).to_vec(),
            version: PROTOCOL_VERSION.to_owned(),
            build_sha: "unknown".to_owned(),
            build_ref: "unknown".to_owned(),
            metrics: MetricsAccess::default(),
            tracer: None,
            runtime_idle_timeout: None,
        }
    }
}

/// Which pages in browsers may call: those on this machine, and those named here.
#[derive(Debug, Clone, Default)]
pub struct Cors {
    origins: Vec<String>,
    pattern: Option<Regex>,
    docker_host: Option<String>,
}

/// The pattern of allowed origins is no regular expression.
#[derive(Debug, thiserror::Error)]
#[error("the pattern of allowed origins is not a regular expression: {0}")]
pub struct CorsError(#[from] regex_lite::Error);

impl Cors {
    /// Allows `origins` (`*` for all), those that all of `pattern` matches, and any port of `docker_host`.
    ///
    /// # Errors
    /// [`CorsError`] if `pattern` is no regular expression.
    pub fn new(origins: Vec<String>, pattern: Option<&str>, docker_host: Option<String>) -> Result<Self, CorsError> {
        let pattern = pattern.map(|pattern| Regex::new(&format!("^(?:{pattern})$"))).transpose()?;
        Ok(Self { origins, pattern, docker_host: docker_host.filter(|host| !host.is_empty()) })
    }

    /// Whether a page of this origin may call.
    pub(crate) fn allows(&self, origin: &str) -> bool {
        let host = host_of(origin);
        host.is_some_and(|host| matches!(host, "localhost" | "127.0.0.1") || self.docker_host.as_deref() == Some(host))
            || self.origins.iter().any(|allowed| allowed == "*" || allowed == origin)
            || self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(origin))
    }
}

/// The host of an origin such as `https://host:1234`.
fn host_of(origin: &str) -> Option<&str> {
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"))?;
    Some(without_port(authority))
}

/// The host of `host` or `host:port`, without the brackets of an IPv6 address.
pub(crate) fn without_port(authority: &str) -> &str {
    if let Some(address) = authority.strip_prefix('[') {
        return address.split(']').next().unwrap_or(address);
    }
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') && port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// Whether a host name or address is this machine's own.
pub(crate) fn is_loopback(host: &str) -> bool {
    let host = host.trim_end_matches('.');
    host.eq_ignore_ascii_case("localhost")
        || host.to_ascii_lowercase().ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_this_machine_and_named_ones_may_call() {
        let cors = Cors::new(
            vec!["https://ok.example".to_owned()],
            Some(r"https://[a-z]+\.team\.example"),
            Some("172.17.0.1".to_owned()),
        )
        .unwrap();
        for allowed in [
            "http://localhost:3000",
            "https://127.0.0.1",
            "http://172.17.0.1:9",
            "https://ok.example",
            "https://a.team.example",
        ] {
            assert!(cors.allows(allowed), "{allowed}");
        }
        for refused in [
            "null",
            "https://evil.example",
            "https://a.team.example.evil.example",
            "http://localhost.evil.example",
            "file://localhost",
        ] {
            assert!(!cors.allows(refused), "{refused}");
        }
        assert!(Cors::new(vec![], Some("("), None).is_err());
    }

    #[test]
    fn a_host_is_told_from_its_port() {
        for (authority, host) in
            [("a:1", "a"), ("a", "a"), ("[::1]:8000", "::1"), ("[::1]", "::1"), ("::1", "::1"), ("a:b", "a:b")]
        {
            assert_eq!(without_port(authority), host);
        }
    }
}
