//! Why a request has no answer.

use std::{error::Error as _, fmt, iter::successors};

use url::Url;

use crate::{address::Kind, host::Host};

/// The longest text of a URL that an error repeats.
const SHOWN: usize = 100;

/// Why a request has no answer. The message names the host and what to do, and nothing else of the URL: no user, path,
/// query or header. It is a sentence without the full stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

/// The kinds of failure, by what one can do about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The policy refuses the address. Trying again does not help, but the operator can.
    Refused,
    /// There is no such host, or it does not take the connection.
    Unreachable,
    /// It took too long.
    Timeout,
    /// The connection broke off, or what came is no HTTP.
    Broken,
    /// The host redirects too often.
    TooManyRedirects,
    /// The answer is longer than the caller takes.
    TooLong,
    /// The host answered with a status that is no success.
    Status,
    /// The request cannot be made as it is given.
    Invalid,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// What kind of failure it is.
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the policy refuses the address.
    pub fn is_refused(&self) -> bool {
        self.kind == ErrorKind::Refused
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::new(ErrorKind::Refused, refusal.0)
    }
}

impl From<reqwest::Error> for Error {
    /// Also of what fails while an answer is read.
    fn from(error: reqwest::Error) -> Self {
        let host = error.url().map_or_else(|| "the host".to_owned(), shown);
        // The rest of the address may hold a key.
        let error = error.without_url();
        if let Some(refusal) = causes(&error).find_map(|cause| cause.downcast_ref::<Refusal>()) {
            return refusal.clone().into();
        }
        let (kind, what) = match () {
            () if error.is_timeout() => (ErrorKind::Timeout, "took too long"),
            () if error.is_connect() => (ErrorKind::Unreachable, "cannot be reached"),
            () if error.is_status() => (ErrorKind::Status, "does not give what it is asked for"),
            () if error.is_builder() => (ErrorKind::Invalid, "cannot be asked like this"),
            () => (ErrorKind::Broken, "broke the connection off"),
        };
        // The last cause is the one that a person can act on.
        let cause = causes(&error).last().map_or_else(|| error.to_string(), ToString::to_string);
        Self::new(kind, format!("{host} {what}: {cause}"))
    }
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    successors(error.source(), |cause| (*cause).source())
}

/// The host of a URL with its port if that is not the usual one.
pub(crate) fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or("the host");
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Why the policy refuses an address. It travels through the HTTP client as the cause of a connection that is not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal(String);

impl Refusal {
    pub(crate) fn scheme(scheme: &str) -> Self {
        let scheme: String = scheme.chars().take(SHOWN).collect();
        Self(format!("only addresses of http and https can be asked, and not of {scheme}"))
    }

    pub(crate) fn no_host(text: &str, why: &str) -> Self {
        let text: String = text.chars().take(SHOWN).collect();
        Self(format!("the host '{}' {why}", text.escape_debug()))
    }

    pub(crate) fn port(host: &Host, port: u16) -> Self {
        Self(format!(
            "{host} cannot be asked on port {port}, which the operator of this server has not listed. The operator can add \
             it to ports in [outbound]"
        ))
    }

    pub(crate) fn denied(host: &Host) -> Self {
        Self(format!("{host} cannot be asked, since the operator of this server denies it: see deny in [outbound]"))
    }

    pub(crate) fn closed(host: &Host, kind: Kind) -> Self {
        Self(format!(
            "{host} is {kind}, which this server does not ask for its users. The operator can allow it: [outbound] allow = \
             [\"{host}\"]"
        ))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}
