//! Boxes: isolated places to work in.
//!
//! A [`Backend`] makes boxes of one kind and opens a byte stream to each; above the stream everything is the same code,
//! whatever the kind. The crate knows nothing of agents, models or the HTTP API.

mod backend;
mod backends;
mod checkup;
pub mod egress;
mod error;
pub mod host;
mod id;
mod lifecycle;
mod spec;

pub use backend::{Backend, Death, Found, Progress, Running, Stats};
pub use backends::{
    Backends, Circumstances, KINDS, Kind,
    bubblewrap::{Bubblewrap, Options as BubblewrapOptions},
    docker::{Build, Docker, DockerOptions},
    local::LocalBackend,
};
pub use checkup::{Finding, Level};
pub use error::Error;
pub use id::{Deployment, SandboxId};
pub use lifecycle::{Census, OnShutdown, Place, Pool, Sandboxes, Settings, Usage};
pub use spec::{Limits, Network, Spec, Volume};
