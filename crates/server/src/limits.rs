//! The bounds of everything that comes from outside, in one table.
//!
//! `docs/limits.md` shows the table; a test compares the two.

use schemars::JsonSchema;
use serde::Deserialize;

/// A line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The name in the configuration file. Its last word is the unit.
    pub name: &'static str,
    /// The value where the operator says nothing.
    pub default: u64,
    /// What is bounded.
    pub what: &'static str,
    /// What happens beyond it.
    pub beyond: &'static str,
}

/// Makes the type and its table from one list.
macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $name:ident = $default:expr, $beyond:literal;)+) => {
        /// The bounds of everything that comes from outside. [`Limits::TABLE`] says of each what happens beyond it.
        #[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct Limits {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        impl Limits {
            /// All limits, with their defaults.
            pub const TABLE: &[Limit] = &[$(Limit {
                name: stringify!($name),
                default: $default,
                what: concat!($($doc),+),
                beyond: $beyond,
            },)+];

            fn values(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)+].into_iter()
            }
        }
    };
}

limits! {
    /// Bytes of a JSON body.
    body_bytes = 32 << 20, "413, and the connection ends";
    /// Bytes of an upload, with the form around it.
    upload_bytes = 16 << 30, "413; the file stays as it was";
    /// Bytes of the first line and the headers of a request; 8192 at least.
    head_bytes = 64 << 10, "431, and the connection ends";
    /// Headers of a request.
    headers = 100, "431, and the connection ends";
    /// Bytes of a path with its query.
    uri_bytes = 16 << 10, "414";
    /// Seconds for the head of a request to arrive, and between two requests.
    head_seconds = 75, "the connection ends";
    /// Seconds in which the server, while it waits for a body, must get `body_window_bytes` of it.
    body_window_seconds = 30, "408, and the connection ends";
    /// Bytes of a body that must arrive in each `body_window_seconds`.
    body_window_bytes = 16 << 10, "408, and the connection ends";
    /// Seconds from the head of a request to the head of its answer.
    request_seconds = 3600, "504; what was under way is broken off";
    /// Seconds in which a client must take some of an answer.
    stall_seconds = 120, "the connection ends";
    /// Seconds for the first bytes and the handshake of TLS.
    handshake_seconds = 10, "the connection ends";
    /// Connections at one time.
    connections = 8192, "more wait until one ends";
    /// Connections at one time from one address.
    connections_per_address = 1024, "the connection ends at once";
    /// Sockets of one user at one time.
    sockets_per_user = 1024, "the socket is closed with 1013";
    /// Bytes of a message to a socket, and of a frame.
    message_bytes = 16 << 20, "the socket ends";
    /// Requests that only read (GET, HEAD, QUERY) of one user in a second.
    reads_per_second = 1000, "429 with `Retry-After`";
    /// Requests that only read of one user at once.
    reads_burst = 5000, "429 with `Retry-After`";
    /// Other requests of one user in a second.
    writes_per_second = 500, "429 with `Retry-After`";
    /// Other requests of one user at once.
    writes_burst = 2500, "429 with `Retry-After`";
    /// Requests from one address in a second, with and without a key.
    address_requests_per_second = 5000, "429 with `Retry-After`";
    /// Requests from one address at once.
    address_requests_burst = 20_000, "429 with `Retry-After`";
    /// Wrong keys from one address in a minute.
    wrong_keys_per_minute = 10, "429 with `Retry-After` for a minute, except for keys that were good before";
    /// Runs that work at the same time.
    max_concurrent_runs = 512, "more wait in the queue";
    /// Runs of one user that work at the same time; 0 for half of all on a server with users, else for all.
    max_runs_per_user = 0, "more wait in the queue";
    /// Runs in the queue.
    max_queued_runs = 1024, "429 with `Retry-After`; the message is kept";
    /// Runs of one user in the queue; 0 for no queue.
    max_queued_runs_per_user = 256, "429 with `Retry-After`; the message is kept";
    /// Workspaces of one user besides the own one, where nothing else is decided for the user.
    max_workspaces_per_user = 20, "409";
}

/// A limit that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the limit {name} is {value}: give {least} to {most}")]
pub struct LimitError {
    name: &'static str,
    value: u64,
    least: u64,
    most: u64,
}

/// The largest value of a limit: numbers up to here fit in every type that they are made into.
const MOST: u64 = 1 << 40;
/// The largest number of seconds, of things at one time and of requests.
const MOST_COUNTED: u64 = 1 << 24;

impl Limits {
    /// Whether each value makes sense.
    ///
    /// # Errors
    /// [`LimitError`] names the first that does not.
    pub fn check(&self) -> Result<(), LimitError> {
        for (name, value) in self.values() {
            let (least, most) = match name {
                "max_runs_per_user" | "max_queued_runs" | "max_queued_runs_per_user" => (0, MOST_COUNTED),
                "head_bytes" => (8192, 1 << 24),
                "headers" => (1, 1 << 12),
                name if name.ends_with("_bytes") => (1, MOST),
                _ => (1, MOST_COUNTED),
            };
            if !(least..=most).contains(&value) {
                return Err(LimitError { name, value, least, most });
            }
        }
        Ok(())
    }

    /// The table as Markdown.
    pub fn markdown() -> String {
        let line = |limit: &Limit| {
            format!("| `{}` | {} | {} | {} |\n", limit.name, limit.default, limit.what.trim(), limit.beyond)
        };
        let lines: String = Self::TABLE.iter().map(line).collect();
        format!("| limit | default | what | beyond it |\n|---|---|---|---|\n{lines}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_makes_no_sense_is_named_with_what_would() {
        Limits::default().check().unwrap();
        let limits = Limits { connections: 0, ..Limits::default() };
        assert_eq!(limits.check().unwrap_err().to_string(), "the limit connections is 0: give 1 to 16777216");
        Limits { body_bytes: u64::MAX, ..Limits::default() }.check().unwrap_err();
        Limits { max_queued_runs: 0, ..Limits::default() }.check().unwrap();
    }
}
