//! The HTTP and WebSocket face of Longshore.
//!
//! [`Server`] is made of handles to what does the work: a store, the workspaces, the commands. Others build their own
//! server from it: with their own [`Authenticator`] and their own [`Workspaces`].
//!
//! ```text
//! connection ─► front: request id, log, panics, rate of the address, host and origin, CORS
//!                └─► router ─► /api/…      authentication ─► Principal ─► rate of the user ─► handler
//!                           ├► /sockets/…  admission (query, header or first message) ─► Principal
//!                           └► /health, /metrics, /server_info, /docs, /openapi.json: open to all
//! ```
//!
//! Invariants:
//!
//! * A handler below `/api` runs only for a [`Principal`], and only an [`Authenticator`] makes one. Nothing of a body is
//!   read before that.
//! * Nothing that a client sent in a secret-looking place comes back in an error.
//! * The crate knows no SQL, and of boxes only that they are there.

#![expect(unused_qualifications, reason = "a macro of utoipa qualifies the types that it is given")]

mod accept;
mod accounts;
mod activity;
mod audit;
pub mod auth;
mod boxed;
mod builder;
mod error;
mod extract;
mod front;
mod greet;
mod health;
mod limits;
mod metrics;
mod multipart;
mod openapi;
mod options;
mod patient;
mod place;
mod protect;
mod respond;
mod routes;
mod routing;
mod server;
mod sockets;
mod state;
mod tls;
mod tracer;

pub use accounts::{AccountError, Accounts, KeyWish, UserWish};
pub use activity::Activity;
pub use audit::{AuditItem, AuditOptions};
pub use auth::{Authenticator, Chain, ClaimValue, Oidc, OidcError, OidcOptions, Principal, StaticKeys, StoredKeys};
pub use boxed::{SandboxPlaces, StoredOptions, WorkspaceFactory, own_workspace_id};
pub use builder::ServerBuilder;
pub use error::ApiError;
pub use limits::{Limit, LimitError, Limits};
pub use metrics::{Metrics, MetricsAccess};
pub use options::{Cors, CorsError, Options};
pub use place::{Place, Workspaces};
pub use server::Server;
pub use tls::{Certificate, Tls, TlsError};
pub use tracer::Tracer;
