//! The workspace as its users see it.

mod environment;
mod files;
mod git;
mod guard;
mod processes;
mod support;
mod terminals;
