//! A `boxd` as a workspace.

#[expect(clippy::duplicate_mod, reason = "the same tests in another kind of place")]
#[path = "everywhere/files.rs"]
mod files;
#[expect(clippy::duplicate_mod, reason = "the same tests in another kind of place")]
#[path = "everywhere/git.rs"]
mod git;
#[expect(clippy::duplicate_mod, reason = "the same tests in another kind of place")]
#[path = "everywhere/processes.rs"]
mod processes;
#[expect(clippy::duplicate_mod, reason = "the same tests in another kind of place")]
#[path = "everywhere/search.rs"]
mod search;
#[expect(clippy::duplicate_mod, reason = "the same tests in another kind of place")]
#[path = "everywhere/terminals.rs"]
mod terminals;

use crate::{boxd::Setup, support::Place};

fn place() -> Place {
    Place::remote(Setup::default())
}

/// A place whose processes get a variable.
fn place_with(name: &str, value: &str) -> Place {
    Place::remote(Setup { variables: vec![(name.into(), value.into())], ..Setup::default() })
}
