//! This process as a workspace.

#[path = "everywhere/files.rs"]
mod files;
#[path = "everywhere/git.rs"]
mod git;
#[path = "everywhere/processes.rs"]
mod processes;
#[path = "everywhere/search.rs"]
mod search;
#[path = "everywhere/terminals.rs"]
mod terminals;

use longshore_workspace::git::{Error, commits};

use crate::support::Place;

fn place() -> Place {
    Place::local(|_| ())
}

/// A place whose processes get a variable.
fn place_with(name: &str, value: &str) -> Place {
    Place::local(|options| options.env.push((name.into(), value.into())))
}

#[tokio::test]
async fn git_that_does_not_end_is_ended() {
    let (_tools, place) = git::with_git("exec sleep 1000");
    // The clock jumps to the end of the time limit, since nothing else is to be done.
    tokio::time::pause();
    let error = commits(&*place.workspace, "".as_ref(), 5).await.expect_err("it takes too long");
    tokio::time::resume();
    assert!(matches!(&error, Error::TimedOut { limit, .. } if limit.as_secs() == 30), "{error}");
}
