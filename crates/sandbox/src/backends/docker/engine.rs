//! The engine: where it is, how it is asked, what its refusals mean.

use std::{
    error::Error as _,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bollard::{Docker as Client, errors::Error as Refusal};
use tokio::sync::OnceCell;

use super::facts::Facts;
use crate::Error;

/// The client writes requests and answers to the log below this level, and both hold the variables of boxes. So such
/// records must not exist at all, whatever somebody asks of the log.
const _: () = assert!(log::STATIC_MAX_LEVEL as usize <= log::LevelFilter::Info as usize);

/// Where engines listen if nobody says otherwise.
const USUAL_ADDRESS: &str = "unix:///var/run/docker.sock";
/// The time that an answer may take to begin. Removing a large container or reading a large context takes long.
const ANSWER_LIMIT: Duration = Duration::from_mins(5);

/// The engine. Nothing is asked of it before it is needed.
#[derive(Debug)]
pub(super) struct Engine {
    address: String,
    client: OnceCell<Client>,
    facts: OnceCell<Facts>,
}

impl Engine {
    /// The engine at `address`; without one, where `DOCKER_HOST` says, or at the usual socket.
    pub(super) fn new(address: Option<String>) -> Self {
        let address = address
            .or_else(|| std::env::var("DOCKER_HOST").ok().filter(|address| !address.is_empty()))
            .unwrap_or_else(|| USUAL_ADDRESS.to_owned());
        Self { address, client: OnceCell::new(), facts: OnceCell::new() }
    }

    /// Where it listens.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The socket that it listens at, if it is one.
    pub(super) fn socket(&self) -> Option<PathBuf> {
        self.address.strip_prefix("unix://").map(PathBuf::from)
    }

    /// A client that speaks a version of the protocol that the engine knows.
    pub(super) async fn client(&self) -> Result<&Client, Error> {
        self.client
            .get_or_try_init(|| async {
                let client =
                    Client::connect_with_host(&self.address).map_err(|refusal| self.failed("connect", refusal))?;
                let client = client.with_timeout(ANSWER_LIMIT);
                client.negotiate_version().await.map_err(|refusal| self.failed("ask for its version", refusal))
            })
            .await
    }

    /// What is known about it, asked once.
    pub(super) async fn facts(&self) -> Result<&Facts, Error> {
        self.facts.get_or_try_init(|| async { Facts::ask(self).await }).await
    }

    /// That it refused to do `what`.
    pub(super) fn failed(&self, what: impl Into<String>, refusal: Refusal) -> Error {
        let socket = match &refusal {
            Refusal::UnsupportedURISchemeError { .. } => {
                return lacks(format!(
                    "'{}' is no address of an engine: write unix:///path or tcp://host:port in DOCKER_HOST or the configuration",
                    self.address
                ));
            }
            Refusal::SocketNotFoundError(_) => Some(io::ErrorKind::NotFound),
            refusal => connection_error(refusal).map(io::Error::kind),
        };
        let next = match socket {
            None => return Error::failed(what, message(&refusal)),
            Some(io::ErrorKind::PermissionDenied) => {
                "this user may not use the socket: run Longshore as root, or add its user to the group that owns the socket \
                 (usually `docker`)"
            }
            Some(_) => "install and start it, or say where it is with DOCKER_HOST or the address in the configuration",
        };
        Error::Unavailable {
            backend: "docker",
            reason: format!("no Docker engine answers at {}: {next}", self.address),
        }
    }

    /// Whether a folder of this machine holds the socket of the engine: whoever sees the socket rules the machine.
    pub(super) fn listens_below(&self, folder: &Path) -> bool {
        let folder = real(folder);
        let usual = USUAL_ADDRESS.strip_prefix("unix://").map(PathBuf::from);
        self.socket().into_iter().chain(usual).any(|socket| real(&socket).starts_with(&folder))
    }
}

/// The error for an engine that is there but lacks something.
pub(super) fn lacks(reason: impl Into<String>) -> Error {
    Error::Unavailable { backend: "docker", reason: reason.into() }
}

/// A path without symbolic links, as far as it exists.
fn real(path: &Path) -> PathBuf {
    match (std::fs::canonicalize(path), path.parent(), path.file_name()) {
        (Ok(real), ..) => real,
        (Err(_), Some(parent), Some(name)) => real(parent).join(name),
        _ => path.to_owned(),
    }
}

/// Whether the engine says that there is no such thing.
pub(super) fn is_missing(refusal: &Refusal) -> bool {
    status(refusal) == Some(404)
}

/// Whether the engine says that the state of the thing does not allow it.
pub(super) fn is_conflict(refusal: &Refusal) -> bool {
    status(refusal) == Some(409)
}

fn status(refusal: &Refusal) -> Option<u16> {
    match refusal {
        Refusal::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// What the engine says, without what the client puts around it.
pub(super) fn message(refusal: &Refusal) -> String {
    match refusal {
        Refusal::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        Refusal::DockerStreamError { error } => error.trim().to_owned(),
        Refusal::RequestTimeoutError => format!("the engine did not answer within {} s", ANSWER_LIMIT.as_secs()),
        refusal => {
            let mut text = refusal.to_string();
            let mut cause = refusal.source();
            while let Some(inner) = cause {
                let inner_text = inner.to_string();
                if !text.contains(&inner_text) {
                    text = format!("{text}: {inner_text}");
                }
                cause = inner.source();
            }
            text
        }
    }
}

/// Why no connection could be made, if that is the reason.
fn connection_error(refusal: &Refusal) -> Option<&io::Error> {
    let Refusal::HyperLegacyError { err } = refusal else { return None };
    if !err.is_connect() {
        return None;
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = err.source();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref() {
            return Some(io);
        }
        cause = inner.source();
    }
    None
}
