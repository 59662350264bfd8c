//! What a box may use.

use longshore_sandbox::{Limits, Spec};
use longshore_workspace::Command;

use crate::bubblewrap_support::{Place, is_root, spec, until};

const MIB: u64 = 1 << 20;

fn limited(limits: Limits) -> Spec {
    Spec { limits, ..spec() }
}

#[tokio::test]
async fn a_program_that_takes_too_much_memory_is_killed_and_the_box_stays() {
    let place = Place::new();
    let boxed = place.run(&limited(Limits { memory: Some(96 * MIB), ..Limits::default() })).await;
    boxed.must("head -c 20000000 /dev/zero | tail -c 20000000 > /dev/null").await;
    let run = boxed.must_not("head -c 500000000 /dev/zero | tail -c 500000000 > /dev/null; test $? = 0").await;
    assert!(!run.status.success());
    boxed.must("true").await;
    place.backend.set_limits(boxed.id, &Limits { memory: Some(900 * MIB), ..Limits::default() }).await.expect("more");
    if is_root() {
        boxed.must("head -c 500000000 /dev/zero | tail -c 500000000 > /dev/null").await;
    }
}

#[tokio::test]
async fn a_box_has_no_more_processes_than_it_may() {
    let place = Place::new();
    let boxed = place.run(&limited(Limits { pids: Some(40), ..Limits::default() })).await;
    boxed.must("true").await;
    let bomb = "i=0; while [ $i -lt 100 ]; do sleep 1000 > /dev/null 2>&1 & i=$((i+1)); done; echo never";
    let run = boxed.sh(bomb).await;
    assert!(!run.stdout.contains("never") && run.stderr.contains("fork"), "{run:?}");
    until("what it started is gone", || async { boxed.workspace.spawn(Command::new("true")).await.is_ok() }).await;
    // One that never ends has an end all the same.
    let bomb = boxed.clone();
    let exploding = tokio::spawn(async move { bomb.sh("bomb() { bomb | bomb & }; bomb; sleep 100").await });
    until("many processes", || async {
        place.backend.stats(boxed.id).await.expect("stats").pids.is_some_and(|pids| pids > 30)
    })
    .await;
    place.backend.destroy(boxed.id).await.expect("no box");
    assert!(place.processes().is_empty());
    exploding.abort();
}

#[tokio::test]
async fn a_box_without_a_limit_cannot_take_all_processes_of_the_machine() {
    let place = Place::new();
    let boxed = place.run(&spec()).await;
    let files = place.groups().into_iter().map(|group| group.join(boxed.id.to_string()).join("pids.max"));
    let limits: Vec<_> = files.filter_map(|file| std::fs::read_to_string(file).ok()).collect();
    // With those of bubblewrap itself.
    assert!(place.groups().is_empty() || limits == ["4098\n"], "{limits:?}");
}

#[tokio::test]
async fn a_box_has_no_more_of_a_processor_than_it_may() {
    let place = Place::new();
    let boxed = place.run(&limited(Limits { cpu_milli: Some(300), ..Limits::default() })).await;
    if place.groups().is_empty() {
        return;
    }
    let quota = || -> Vec<String> {
        let files = place.groups().into_iter().map(|group| group.join(boxed.id.to_string()));
        files
            .flat_map(|group| [group.join("cpu.cfs_quota_us"), group.join("cpu.max")])
            .filter_map(|file| std::fs::read_to_string(file).ok())
            .collect()
    };
    assert!(matches!(quota().as_slice(), [quota] if quota.trim() == "30000" || quota.trim() == "30000 100000"));
    place.backend.set_limits(boxed.id, &Limits { cpu_milli: Some(2000), ..Limits::default() }).await.expect("more");
    assert!(matches!(quota().as_slice(), [quota] if quota.starts_with("200000")));
    boxed.must("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done").await;
    assert!(place.backend.stats(boxed.id).await.expect("stats").cpu_micros.is_some_and(|micros| micros > 1000));
}

#[tokio::test]
async fn a_full_disk_is_full_inside_and_grows() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let (small, large) =
        (Limits { disk: Some(24 * MIB), ..Limits::default() }, Limits { disk: Some(64 * MIB), ..Limits::default() });
    let boxed = place.run(&limited(small)).await;
    for folder in ["/workspace", "/home/agent", "/tmp", "/var/tmp"] {
        let run = boxed.must_not(&format!("head -c 60000000 /dev/zero > {folder}/big")).await;
        assert!(run.stderr.contains("No space left"), "{run:?}");
        boxed.must(&format!("rm {folder}/big")).await;
    }
    boxed.must("head -c 8000000 /dev/zero > file; echo kept > ~/file").await;
    let stats = place.backend.stats(boxed.id).await.expect("stats");
    assert!(
        stats.disk_is_enforced && stats.disk.is_some_and(|bytes| (8_000_000..16_000_000).contains(&bytes)),
        "{stats:?}"
    );

    place.backend.set_limits(boxed.id, &large).await.expect("a bigger one");
    // Where a disk cannot grow while it is in use, it has grown at the next start.
    place.backend.stop(boxed.id).await.expect("a stop");
    assert!(!std::fs::read_to_string("/proc/self/mountinfo").expect("mounts").contains(&boxed.id.to_string()));
    place.backend.start(boxed.id, &limited(large)).await.expect("another start");
    assert_eq!(boxed.must("stat -c %s file; cat ~/file").await, "8000000\nkept");
    boxed.must("head -c 40000000 /dev/zero > more").await;
    let refused = place.backend.set_limits(boxed.id, &small).await.expect_err("it does not fit");
    assert!(refused.to_string().contains("remove files"), "{refused}");
}

#[tokio::test]
async fn a_disk_survives_a_server_that_died() {
    if !is_root() {
        return;
    }
    let mut place = Place::new();
    let limits = Limits { disk: Some(24 * MIB), ..Limits::default() };
    let boxed = place.run(&limited(limits)).await;
    boxed.must("echo kept > file").await;
    // What holds the box holds the server, too.
    let id = boxed.id;
    drop(boxed);
    place.restart();
    for process in place.processes() {
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_raw(process).expect("a number"),
            rustix::process::Signal::KILL,
        );
    }
    place.backend.start(id, &limited(limits)).await.expect("another start");
    assert_eq!(place.boxed(id, &spec()).must("cat file").await, "kept");
}

#[tokio::test]
async fn a_box_without_a_limit_is_measured() {
    let place = Place::new();
    let boxed = place.run(&spec()).await;
    boxed.must("head -c 3000000 /dev/zero > file; sleep 1000 > /dev/null 2>&1 &").await;
    let stats = place.backend.stats(boxed.id).await.expect("stats");
    assert!(
        !stats.disk_is_enforced && stats.disk.is_some_and(|bytes| (3_000_000..4_000_000).contains(&bytes)),
        "{stats:?}"
    );
    assert!(stats.memory.is_some_and(|bytes| bytes > 1_000_000), "{stats:?}");
    assert!(stats.pids.is_some_and(|pids| pids >= 3), "{stats:?}");
    place.backend.stop(boxed.id).await.expect("a stop");
    let stats = place.backend.stats(boxed.id).await.expect("stats");
    assert!(stats.memory.is_none() && stats.disk.is_some(), "{stats:?}");
}
