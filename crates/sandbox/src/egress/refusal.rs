//! Why a connection is not made, as programs are told over HTTP and SOCKS.

use std::{fmt, io};

use hyper::StatusCode;

use super::host::Target;

/// Why a connection is not made.
#[derive(Debug)]
pub(super) struct Refusal {
    kind: Kind,
    /// The host and port, if there are.
    target: Option<String>,
    /// What follows the target in a sentence.
    reason: String,
    /// What to do about it.
    advice: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Malformed,
    NotAllowed,
    AddressNotAllowed,
    Busy,
    NotFound,
    LookupTimeout,
    ConnectionRefused,
    Unreachable,
    ConnectTimeout,
    AnswerTimeout,
    BadAnswer,
}

impl Refusal {
    /// A request that is none for a proxy.
    pub(super) fn malformed(reason: impl Into<String>, advice: &str) -> Self {
        Self { kind: Kind::Malformed, target: None, reason: reason.into(), advice: Some(advice.to_owned()) }
    }

    pub(super) fn host_not_allowed(target: &Target) -> Self {
        Self::of(Kind::NotAllowed, target, "is not in allowed_hosts").advise(ask_for(target))
    }

    /// The host is allowed on other ports, of which `ports` are some.
    pub(super) fn port_not_allowed(target: &Target, ports: impl fmt::Display) -> Self {
        let reason = format!("is not in allowed_hosts, which has this host with the ports {ports}");
        Self::of(Kind::NotAllowed, target, reason).advise(ask_for(target))
    }

    /// The host has only addresses that no box may reach; `what` one of them is.
    pub(super) fn address_not_allowed(target: &Target, what: &str) -> Self {
        Self::of(Kind::AddressNotAllowed, target, format!("is {what}, which boxes may not reach"))
            .advise("No entry of allowed_hosts changes this; only the operator of the server can open such an address.")
    }

    pub(super) fn busy(target: &Target, connections: usize) -> Self {
        Self::of(Kind::Busy, target, format!("has to wait: this box has {connections} connections open"))
            .advise("Close some and try again.")
    }

    pub(super) fn not_found(target: &Target, cause: &io::Error) -> Self {
        Self::of(Kind::NotFound, target, format!("cannot be looked up: {cause}"))
    }

    pub(super) fn lookup_timeout(target: &Target) -> Self {
        Self::of(Kind::LookupTimeout, target, "was not looked up in time")
    }

    pub(super) fn connect_failed(target: &Target, cause: &io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::ConnectionRefused => Self::of(Kind::ConnectionRefused, target, "refused the connection"),
            io::ErrorKind::TimedOut => Self::of(Kind::ConnectTimeout, target, "did not take the connection in time"),
            _ => Self::of(Kind::Unreachable, target, format!("cannot be reached: {cause}")),
        }
    }

    pub(super) fn answer_timeout(target: &Target) -> Self {
        Self::of(Kind::AnswerTimeout, target, "did not answer in time")
    }

    pub(super) fn bad_answer(target: &Target, cause: impl fmt::Display) -> Self {
        Self::of(Kind::BadAnswer, target, format!("did not answer as HTTP wants it: {cause}"))
    }

    fn of(kind: Kind, target: &Target, reason: impl Into<String>) -> Self {
        Self { kind, target: Some(target.to_string()), reason: reason.into(), advice: None }
    }

    fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }

    /// Whether it is a decision, of which the box's owner wants to know.
    pub(super) fn is_denial(&self) -> bool {
        matches!(self.kind, Kind::NotAllowed | Kind::AddressNotAllowed)
    }

    /// What follows the target in a sentence.
    pub(super) fn reason(&self) -> &str {
        &self.reason
    }

    /// The sentence, and what to do.
    pub(super) fn explanation(&self) -> String {
        match &self.advice {
            Some(advice) => format!("{self}. {advice}\n"),
            None => format!("{self}.\n"),
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        match self.kind {
            Kind::Malformed => StatusCode::BAD_REQUEST,
            Kind::NotAllowed | Kind::AddressNotAllowed => StatusCode::FORBIDDEN,
            Kind::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Kind::NotFound | Kind::ConnectionRefused | Kind::Unreachable | Kind::BadAnswer => StatusCode::BAD_GATEWAY,
            Kind::LookupTimeout | Kind::ConnectTimeout | Kind::AnswerTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The name of the error in a `Proxy-Status` header (RFC 9209).
    pub(super) fn proxy_error(&self) -> &'static str {
        match self.kind {
            Kind::Malformed => "http_request_error",
            Kind::NotAllowed => "http_request_denied",
            Kind::AddressNotAllowed => "destination_ip_prohibited",
            Kind::Busy => "connection_limit_reached",
            Kind::NotFound => "dns_error",
            Kind::LookupTimeout => "dns_timeout",
            Kind::ConnectionRefused => "connection_refused",
            Kind::Unreachable => "destination_ip_unroutable",
            Kind::ConnectTimeout => "connection_timeout",
            Kind::AnswerTimeout => "http_response_timeout",
            Kind::BadAnswer => "http_protocol_error",
        }
    }

    /// The reply of SOCKS5 (RFC 1928).
    pub(super) fn socks_reply(&self) -> u8 {
        match self.kind {
            Kind::Malformed | Kind::Busy | Kind::AnswerTimeout | Kind::BadAnswer => 1,
            Kind::NotAllowed | Kind::AddressNotAllowed => 2,
            Kind::NotFound | Kind::LookupTimeout | Kind::Unreachable | Kind::ConnectTimeout => 4,
            Kind::ConnectionRefused => 5,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Some(target) => write!(f, "{target} {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

fn ask_for(target: &Target) -> String {
    format!("To reach it, ask the owner of this box to add \"{target}\" to its allowed_hosts.")
}
