//! What a box of Docker may use.

use longshore_sandbox::{Backend as _, Limits, Spec};

use crate::docker_support::{Place, spec};

const MIB: u64 = 1 << 20;

fn limited(limits: Limits) -> Spec {
    Spec { limits, ..spec() }
}

#[tokio::test]
async fn a_program_that_takes_too_much_memory_is_killed_and_the_box_stays() {
    let Some(place) = Place::new().await else { return };
    let boxed = place.run(&limited(Limits { memory: Some(64 * MIB), ..Limits::default() })).await;
    assert_eq!(place.inspect(boxed.id, ".HostConfig.MemorySwap"), (64 * MIB).to_string(), "there is no swap");
    let eats = |bytes| format!("head -c {bytes} /dev/zero | tail -c {bytes} > /dev/null");
    boxed.must(&eats(10_000_000)).await;
    boxed.must_not(&eats(200_000_000)).await;
    boxed.must("true").await;

    let more = Limits { memory: Some(512 * MIB), ..Limits::default() };
    place.backend.set_limits(boxed.id, &more).await.expect("more");
    boxed.must(&eats(200_000_000)).await;
    // No limit is that of the machine.
    place.backend.set_limits(boxed.id, &Limits::default()).await.expect("more");
    boxed.must(&eats(600_000_000)).await;
}

#[tokio::test]
async fn a_box_has_no_more_processes_than_it_may() {
    let Some(place) = Place::new().await else { return };
    let boxed = place.run(&limited(Limits { pids: Some(32), ..Limits::default() })).await;
    let forks = "for i in $(seq 100); do sleep 100 > /dev/null 2>&1 & done; wait";
    let run = boxed.must_not(forks).await;
    assert!(run.stderr.contains("fork"), "{run:?}");
    place.backend.set_limits(boxed.id, &Limits { pids: Some(200), ..Limits::default() }).await.expect("more");
    boxed.must("for i in $(seq 100); do true & done; wait").await;
}

#[tokio::test]
async fn a_box_has_its_share_of_the_processors() {
    let Some(place) = Place::new().await else { return };
    let boxed = place.run(&limited(Limits { cpu_milli: Some(500), ..Limits::default() })).await;
    assert_eq!(place.inspect(boxed.id, ".HostConfig.NanoCpus"), "500000000");
    place.backend.set_limits(boxed.id, &Limits { cpu_milli: Some(250), ..Limits::default() }).await.expect("less");
    assert_eq!(place.inspect(boxed.id, ".HostConfig.NanoCpus"), "250000000");
    // More than there are is all there are.
    let boxed = place.run(&limited(Limits { cpu_milli: Some(1_000_000), ..Limits::default() })).await;
    boxed.must("true").await;
}

#[tokio::test]
async fn a_box_tells_what_it_uses() {
    let Some(place) = Place::new().await else { return };
    let boxed = place.run(&spec()).await;
    boxed.must("sleep 1000 > /dev/null 2>&1 & head -c 3000000 /dev/urandom > /workspace/a").await;
    boxed.must("head -c 5000000 /dev/urandom > /var/b; sync").await;
    let stats = place.backend.stats(boxed.id).await.expect("what it uses");
    assert!(stats.memory.is_some_and(|bytes| (100_000..500 * MIB).contains(&bytes)), "{stats:?}");
    assert!(stats.cpu_micros.is_some_and(|micros| micros > 1000), "{stats:?}");
    assert!(stats.pids.is_some_and(|count| (3..100).contains(&count)), "{stats:?}");
    assert!(stats.disk.is_some_and(|bytes| (8_000_000..12_000_000).contains(&bytes)), "{stats:?}");
    place.backend.stop(boxed.id).await.expect("a stop");
    let stats = place.backend.stats(boxed.id).await.expect("what it uses");
    assert_eq!((stats.memory, stats.pids), (None, None));
    assert!(stats.disk.is_some_and(|bytes| bytes > 8_000_000), "{stats:?}");
}

#[tokio::test]
async fn a_workspace_has_a_limit_that_holds_and_grows() {
    let Some(place) = Place::new().await else { return };
    let disk = |mebibytes| Limits { disk: Some(mebibytes * MIB), ..Limits::default() };
    let boxed = place.run(&limited(disk(32))).await;
    if !place.dir(boxed.id).join("disk.img").exists() {
        return;
    }
    boxed.must("echo kept > kept; head -c 20000000 /dev/zero > a").await;
    let run = boxed.must_not("dd if=/dev/zero of=b bs=1M count=40").await;
    assert!(run.stderr.contains("No space left"), "{run:?}");
    let used = place.backend.stats(boxed.id).await.expect("what it uses").disk.expect("a number");
    assert!((20_000_000..40_000_000).contains(&used), "{used}");

    place.backend.set_limits(boxed.id, &disk(128)).await.expect("more");
    // Where a file system in use cannot grow, it does at the next start.
    place.backend.stop(boxed.id).await.expect("a stop");
    place.backend.start(boxed.id, &limited(disk(128))).await.expect("a start");
    boxed.must("head -c 60000000 /dev/zero > b; test $(cat kept) = kept").await;
    place.backend.set_limits(boxed.id, &disk(16)).await.expect_err("what is on it does not fit");
}
