//! Boxes that end without being asked to.

use std::time::Duration;

use longshore_sandbox::{Limits, Running};

use crate::bubblewrap_support::{Place, is_root, spec, until};

/// Kills what serves the box, from inside: everything that this user may kill.
const SUICIDE: &str = "setsid sh -c 'kill -9 -1' > /dev/null 2>&1 & sleep 100";

#[tokio::test]
async fn a_box_that_ends_by_itself_is_told_of_and_can_be_started_again() {
    let place = Place::new();
    let boxed = place.run(&spec()).await;
    boxed.must("echo kept > file").await;
    let dying = boxed.clone();
    let last = tokio::spawn(async move {
        dying.workspace.spawn(longshore_workspace::Command::new("sh").args(["-c", SUICIDE])).await
    });
    let death = place.death().await;
    assert_eq!(death.id, boxed.id);
    assert!(death.reason.contains("137") || death.reason.contains("signal 9"), "{death:?}");
    last.abort();
    assert_eq!(place.running(boxed.id).await, Some(Running::No));
    assert!(place.processes().is_empty());
    place.backend.start(boxed.id, &spec()).await.expect("another start");
    assert_eq!(boxed.must("cat file").await, "kept");
}

#[tokio::test]
async fn a_box_that_was_found_running_is_watched_too() {
    let mut place = Place::new();
    let boxed = place.run(&spec()).await;
    place.restart();
    place.list().await;
    for process in place.processes() {
        kill(process);
    }
    assert_eq!(place.death().await.id, boxed.id);
    until("it does not run", || async { place.running(boxed.id).await == Some(Running::No) }).await;
}

#[tokio::test]
async fn a_box_that_is_asked_to_end_is_not_told_of() {
    let place = Place::new();
    let (one, two) = (place.run(&spec()).await, place.run(&spec()).await);
    place.backend.stop(one.id).await.expect("a stop");
    place.backend.destroy(one.id).await.expect("no box");
    for process in place.processes() {
        kill(process);
    }
    assert_eq!(place.death().await.id, two.id);
    let more = tokio::time::timeout(Duration::from_millis(50), place.backend.next_death()).await;
    assert!(more.is_err(), "{more:?}");
}

#[tokio::test]
async fn a_box_that_dies_for_want_of_memory_says_so() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let limits = Limits { memory: Some(48 << 20), ..Limits::default() };
    let boxed = place.run(&longshore_sandbox::Spec { limits, ..spec() }).await;
    // Files in memory belong to nobody who could be killed for them, so everybody is.
    let eats = "setsid sh -c 'dd if=/dev/zero of=/dev/shm/file bs=1M count=60' > /dev/null 2>&1";
    let eating = boxed.clone();
    let eater = tokio::spawn(async move { eating.sh(eats).await });
    let death = place.death().await;
    assert_eq!((death.id, &*death.reason), (boxed.id, "it used more memory than its limit of 48m"));
    eater.abort();
}

#[tokio::test]
async fn a_box_that_does_not_start_says_why() {
    let mut place = Place::new();
    let id = longshore_sandbox::SandboxId::random();
    place.backend.create(id, &spec()).await.expect("a box");
    let working = place.deployment.program.clone();
    place.deployment.program = "/usr/bin/false".into();
    place.restart();
    let cause = place.backend.start(id, &spec()).await.expect_err("it ends at once").to_string();
    assert!(cause.starts_with("cannot start a box: "), "{cause}");
    std::fs::remove_dir_all(place.dir(id).join("disk/workspace")).expect("no folder");
    place.deployment.program = working;
    place.restart();
    let cause = place.backend.start(id, &spec()).await.expect_err("a folder is missing").to_string();
    assert!(cause.contains("workspace") || cause.contains("No such file"), "{cause}");
    assert!(place.processes().is_empty());
}

fn kill(process: i32) {
    let process = rustix::process::Pid::from_raw(process).expect("a number");
    let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
}
