//! The workspace as its users see it. What holds for every workspace is in `everywhere` and runs in each kind.

mod boxd;
mod broken;
mod environment;
mod flaky;
mod guard;
mod hostile;
mod inside;
mod local;
mod remote;
mod support;
