//! Boxes: isolated places to work in.
//!
//! A [`Backend`] makes boxes of one kind and opens a byte stream to each; above the stream everything is the same code,
//! whatever the kind. The crate knows nothing of agents, models or the HTTP API.

mod backend;
mod backends;
mod checkup;
mod error;
pub mod host;
mod id;
mod spec;

#[expect(unused_imports, reason = "until the backends are there")]
use backend::Connector;
pub use backend::{Backend, Death, Found, Progress, Running, Stats};
pub use backends::bubblewrap::{Bubblewrap, Options as BubblewrapOptions};
pub use checkup::{Finding, Level};
pub use error::Error;
pub use id::{Deployment, SandboxId};
pub use spec::{Limits, Network, Spec, Volume};
