//! The workspace as its users see it. What holds for every workspace is in `everywhere` and runs in each kind.

mod boxd;
mod environment;
mod guard;
mod local;
mod remote;
mod support;
