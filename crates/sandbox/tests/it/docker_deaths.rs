//! Boxes of Docker that end without being asked to.

use std::{process::Command as Program, time::Duration};

use longshore_sandbox::{Backend as _, Limits, Running, Spec};

use crate::docker_support::{Boxed, Place, docker, spec};

/// Ends what serves the box, as the machine would.
fn kill_boxd(place: &Place, boxed: &Boxed) {
    let listed = docker(&["top", &place.container(boxed.id), "-eo", "pid,args"]);
    let line =
        listed.lines().find(|line| line.contains("/.longshore/longshore boxd --working-dir") && !line.contains("init"));
    let pid = line.and_then(|line| line.split_whitespace().next()).expect("the process");
    assert!(Program::new("kill").args(["-9", pid]).status().expect("it starts").success());
}

#[tokio::test]
async fn a_box_that_ends_by_itself_is_told_of_and_can_be_started_again() {
    let Some(place) = Place::new().await else { return };
    let boxed = place.run(&spec()).await;
    boxed.must("echo kept > file").await;
    kill_boxd(&place, &boxed);
    let death = place.death().await;
    assert_eq!((death.id, &*death.reason), (boxed.id, "its first process was ended by signal 9"));
    assert_eq!(place.running(boxed.id).await, Some(Running::No));
    place.backend.start(boxed.id, &spec()).await.expect("another start");
    assert_eq!(boxed.must("cat file").await, "kept");
}

#[tokio::test]
async fn a_box_that_was_found_running_is_watched_too() {
    let Some(mut place) = Place::new().await else { return };
    let boxed = place.run(&spec()).await;
    place.restart().await;
    let backend = place.backend.clone();
    let mut watching = tokio::spawn(async move { backend.next_death().await });
    // A first look finds nothing wrong.
    let early = tokio::time::timeout(Duration::from_millis(300), &mut watching).await;
    assert!(early.is_err(), "{early:?}");
    kill_boxd(&place, &boxed);
    let death =
        tokio::time::timeout(crate::docker_support::DEADLINE, watching).await.expect("in time").expect("a death");
    assert_eq!(death.id, boxed.id);
}

#[tokio::test]
async fn a_box_that_ended_while_nobody_looked_is_told_of() {
    let Some(place) = Place::new().await else { return };
    let (one, two) = (place.run(&spec()).await, place.run(&spec()).await);
    kill_boxd(&place, &one);
    docker(&["rm", "--force", &place.container(two.id)]);
    let mut deaths = [place.death().await, place.death().await];
    deaths.sort_by_key(|death| death.id != one.id);
    assert_eq!(deaths[0].reason, "its first process was ended by signal 9");
    assert_eq!((deaths[1].id, &*deaths[1].reason), (two.id, "its container was removed by somebody else"));
}

#[tokio::test]
async fn a_box_that_is_asked_to_end_is_not_told_of() {
    let Some(place) = Place::new().await else { return };
    let (one, two, three) = (place.run(&spec()).await, place.run(&spec()).await, place.run(&spec()).await);
    place.backend.stop(one.id).await.expect("a stop");
    place.backend.start(one.id, &spec()).await.expect("a start");
    place.backend.stop(one.id).await.expect("a stop");
    place.backend.destroy(two.id).await.expect("no box");
    kill_boxd(&place, &three);
    assert_eq!(place.death().await.id, three.id);
    let more = tokio::time::timeout(Duration::from_millis(300), place.backend.next_death()).await;
    assert!(more.is_err(), "{more:?}");
}

#[tokio::test]
async fn a_box_that_dies_for_want_of_memory_says_so() {
    let Some(place) = Place::new().await else { return };
    let limits = Limits { memory: Some(48 << 20), ..Limits::default() };
    let boxed = place.run(&Spec { limits, ..spec() }).await;
    // Files in memory belong to nobody who could be killed for them, so everybody is.
    let eating = boxed.clone();
    let eater = tokio::spawn(async move {
        eating.sh("setsid sh -c 'dd if=/dev/zero of=/dev/shm/file bs=1M count=60' > /dev/null 2>&1").await
    });
    let death = place.death().await;
    eater.abort();
    assert_eq!((death.id, &*death.reason), (boxed.id, "it used more memory than its limit of 48m"));
}
