//! Who did what: tells the audit log of the store.
//!
//! ```text
//! request ─► layer ─► require_principal ─► handler        socket ─► admission ─► commands, messages
//!              │ after the answer  ▲ Trail: who, to what      │
//!              └──────────► queue ◄───────────────────────────┴── agents' actions (engine)
//!                             └─► writer ─► store
//! ```

mod actions;
mod item;
mod layer;
mod names;
mod options;
mod recorder;
mod refusals;
mod trail;

pub use item::AuditItem;
pub(crate) use layer::audit;
pub use options::AuditOptions;
pub(crate) use recorder::Recorder;
pub(crate) use trail::{Trail, described};

/// What is said to those who want to change something while the log cannot be written.
pub(crate) const UNWRITTEN: &str =
    "The audit log cannot be written, and nothing is changed without it. The server's log says why.";
