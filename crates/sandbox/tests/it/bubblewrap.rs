//! The life of a box of bubblewrap.

use std::{
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::Path,
};

use longshore_sandbox::{Error, Level, Running, SandboxId, Volume};
use longshore_workspace::Parents;

use crate::bubblewrap_support::{Place, is_root, spec};

/// Starts what outlives the script, which ends only when it is out of the script's group.
const SLEEPER: &str =
    "setsid sh -c 'echo $$ > pid; exec sleep 1000' > /dev/null 2>&1 & until [ -s pid ]; do sleep 0.01; done";

#[tokio::test]
async fn a_box_lives_from_its_creation_to_its_end() {
    let place = Place::new();
    let (backend, id) = (&place.backend, SandboxId::random());
    backend.create(id, &spec()).await.expect("a box");
    assert_eq!(place.running(id).await, Some(Running::No));
    assert!(backend.open(id).await.is_err_and(|cause| cause.kind() == std::io::ErrorKind::NotConnected));
    backend.start(id, &spec()).await.expect("a start");
    assert_eq!(place.running(id).await, Some(Running::Yes));

    let boxed = place.boxed(id, &spec());
    assert_eq!(
        boxed.must("pwd; id -un; id -u; echo $HOME; hostname").await,
        "/workspace\nagent\n1000\n/home/agent\nbox"
    );
    boxed.must("echo kept > file; echo kept > ~/file; echo kept > /tmp/file").await;

    backend.stop(id).await.expect("a stop");
    assert_eq!(place.running(id).await, Some(Running::No));
    assert!(place.processes().is_empty());
    backend.start(id, &spec()).await.expect("another start");
    assert_eq!(boxed.must("cat file ~/file /tmp/file").await, "kept\nkept\nkept");

    backend.destroy(id).await.expect("no box");
    assert_eq!(place.running(id).await, None);
    assert!(place.processes().is_empty() && !place.dir(id).exists());
}

#[tokio::test]
async fn every_step_may_be_taken_again() {
    let place = Place::new();
    let (backend, id) = (&place.backend, SandboxId::random());
    backend.stop(id).await.expect("nothing to stop");
    backend.destroy(id).await.expect("nothing to destroy");
    assert!(matches!(backend.start(id, &spec()).await, Err(Error::Gone(_))));
    for _ in 0..2 {
        backend.create(id, &spec()).await.expect("a box");
    }
    backend.start(id, &spec()).await.expect("a start");
    let boxed = place.boxed(id, &spec());
    boxed.must(SLEEPER).await;
    backend.start(id, &spec()).await.expect("it runs already");
    boxed.must("kill -0 $(cat pid)").await;
    for _ in 0..2 {
        backend.pause(id).await.expect("a pause");
    }
    for _ in 0..2 {
        backend.resume(id).await.expect("it goes on");
    }
    for _ in 0..2 {
        backend.stop(id).await.expect("a stop");
    }
    assert!(matches!(backend.pause(id).await, Err(Error::Gone(_))));
    assert!(matches!(backend.resume(id).await, Err(Error::Gone(_))));
    for _ in 0..2 {
        backend.destroy(id).await.expect("no box");
    }
}

#[tokio::test]
async fn a_paused_box_halts_and_goes_on_where_it_was() {
    let place = Place::new();
    let boxed = place.run(&spec()).await;
    boxed.must("setsid sh -c 'while :; do echo >> ticks; sleep 0.01; done' > /dev/null 2>&1 & until [ -s ticks ]; do sleep 0.01; done").await;
    place.backend.pause(boxed.id).await.expect("a pause");
    assert_eq!(place.running(boxed.id).await, Some(Running::Paused));
    let ticks = place.dir(boxed.id).join("disk/workspace/ticks");
    let length = || ticks.metadata().expect("the file").len();
    let before = length();
    // Were it running, a tick would come while two lists are made and a moment passes.
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert_eq!((length(), place.running(boxed.id).await), (before, Some(Running::Paused)));
    place.backend.resume(boxed.id).await.expect("it goes on");
    assert_eq!(place.running(boxed.id).await, Some(Running::Yes));
    crate::bubblewrap_support::until("it ticks", || async { length() > before }).await;
    // A paused one can be ended, too.
    place.backend.pause(boxed.id).await.expect("a pause");
    place.backend.destroy(boxed.id).await.expect("no box");
}

#[tokio::test]
async fn boxes_outlive_a_server_and_are_found_by_the_next() {
    let mut place = Place::new();
    let boxed = place.run(&spec()).await;
    boxed.must(SLEEPER).await;
    let paused = place.run(&spec()).await;
    place.backend.pause(paused.id).await.expect("a pause");
    let (id, before) = (boxed.id, place.processes());
    drop(boxed);
    place.restart();
    assert_eq!(place.list().await.len(), 2);
    assert_eq!(place.running(id).await, Some(Running::Yes));
    assert_eq!(place.running(paused.id).await, Some(Running::Paused));
    place.boxed(id, &spec()).must("kill -0 $(cat pid)").await;
    place.backend.resume(paused.id).await.expect("it goes on");
    place.boxed(paused.id, &spec()).must("true").await;
    assert_eq!(place.processes(), before);
}

#[tokio::test]
async fn what_a_server_left_half_done_is_found_and_removed() {
    let mut place = Place::new();
    // A folder, and nothing in it.
    let id = SandboxId::random();
    std::fs::create_dir_all(place.dir(id)).expect("a folder");
    assert_eq!(place.running(id).await, Some(Running::No));
    place.backend.destroy(id).await.expect("no box");

    // Processes without a folder.
    let boxed = place.run(&spec()).await;
    std::fs::remove_dir_all(place.dir(boxed.id)).expect("no folder");
    place.restart();
    assert_eq!(place.running(boxed.id).await, Some(Running::Yes));
    place.backend.destroy(boxed.id).await.expect("no box");
    assert_eq!((place.list().await.len(), place.processes().len()), (0, 0));

    // A process outside whose inside goes on alone, and the other way round.
    let boxed = place.run(&spec()).await;
    let outside = place.processes()[0];
    kill(outside);
    assert_eq!(place.death().await.id, boxed.id);
    place.backend.start(boxed.id, &spec()).await.expect("another start");
    boxed.must("true").await;
}

#[tokio::test]
async fn a_folder_that_is_nested_beyond_all_limits_is_removed() {
    let place = Place::new();
    let boxed = place.run(&spec()).await;
    let nest = "import os\nfor i in range(1000):\n os.mkdir('d'*40); open('f','w'); os.chdir('d'*40)\nos.chmod('.', 0)";
    boxed
        .must(&format!(
            "python3 -c \"{nest}\" || (i=0; while [ $i -lt 500 ]; do mkdir d; cd d; i=$((i+1)); done; chmod 0 .)"
        ))
        .await;
    boxed.must("mkdir -p locked/inner; touch locked/inner/file; chmod 0 locked/inner; chmod 0 locked").await;
    place.backend.destroy(boxed.id).await.expect("no box");
    assert!(!place.dir(boxed.id).exists());
}

#[tokio::test]
async fn variables_reach_the_box_and_nobody_else() {
    let place = Place::new();
    let mut with = spec();
    with.env.insert("SECRET".into(), "line one\nline 'two' $HOME".into());
    with.env.insert("HOME".into(), "/workspace".into());
    let boxed = place.run(&with).await;
    assert_eq!(boxed.must("printf %s \"$SECRET\"; printf %s \"$HOME\"").await, "line one\nline 'two' $HOME/workspace");
    assert!(!boxed.must("cat /proc/1/environ /proc/1/cmdline").await.contains("SECRET"));
    for process in place.processes() {
        for file in ["cmdline", "environ"] {
            let text = std::fs::read(format!("/proc/{process}/{file}")).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&text).contains("line"), "{file}");
        }
    }
    for (name, value) in [("", "x"), ("A=B", "x"), ("A", "zero\0byte"), ("A", &*"x".repeat(200_000))] {
        let mut wrong = spec();
        wrong.env.insert(name.into(), value.into());
        let refused = place.backend.create(SandboxId::random(), &wrong).await.expect_err("it is refused");
        assert!(matches!(&refused, Error::Invalid(reason) if !reason.contains("zero\0")), "{refused}");
    }
}

#[tokio::test]
async fn volumes_are_seen_and_written_as_they_may_be() {
    let place = Place::new();
    let shared = place.folder.path().join("shared");
    std::fs::create_dir(&shared).expect("a folder");
    std::fs::write(shared.join("file"), "shared\n").expect("a file");
    std::fs::set_permissions(&shared, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("a mode");
    let volume = |path: &str, read_only| Volume { host: shared.clone(), path: path.into(), read_only };
    let mut with = spec();
    with.volumes = vec![volume("/data/in", true), volume("/workspace/out", false)];
    let boxed = place.run(&with).await;
    assert_eq!(boxed.must("cat /data/in/file; echo new > out/new; cat /data/in/new").await, "shared\nnew");
    boxed.must_not("echo no > /data/in/no").await;
    assert_eq!(std::fs::read_to_string(shared.join("new")).expect("a file"), "new\n");

    for path in ["/", "/proc/x", "/dev", "/etc", "/.longshore/x", "relative", "/a/../b"] {
        let mut wrong = spec();
        wrong.volumes = vec![volume(path, true)];
        let refused = place.backend.create(SandboxId::random(), &wrong).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{path}: {refused:?}");
    }
    let mut missing = spec();
    missing.volumes = vec![Volume { host: "/no/such".into(), path: "/data".into(), read_only: true }];
    assert!(matches!(place.backend.create(SandboxId::random(), &missing).await, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn a_root_file_system_takes_the_place_of_the_machines_programs() {
    let root = tempfile::tempdir().expect("a folder");
    let busybox = Path::new("/usr/bin/busybox");
    assert!(busybox.exists(), "install the package busybox-static");
    for folder in ["bin", "etc", "var/tmp", "opt/own", "tmp"] {
        std::fs::create_dir_all(root.path().join(folder)).expect("a folder");
    }
    std::fs::set_permissions(root.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    std::fs::copy(busybox, root.path().join("bin/busybox")).expect("a copy");
    std::os::unix::fs::symlink("busybox", root.path().join("bin/sh")).expect("a link");
    std::os::unix::fs::symlink("bin", root.path().join("sbin")).expect("a link");
    std::fs::write(root.path().join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").expect("a file");
    std::fs::write(root.path().join("opt/own/file"), "own\n").expect("a file");

    let place = Place::with(|options| {
        options.roots.insert("small".into(), root.path().to_owned());
    });
    let mut small = spec();
    small.image = Some("small".into());
    let boxed = place.run(&small).await;
    assert_eq!(boxed.must("busybox cat /opt/own/file; busybox id -un").await, "own\nagent");
    boxed.must_not("test -e /usr/bin").await;
    boxed.must_not("echo no > /opt/own/new").await;
    boxed.must("echo yes > /var/tmp/file; busybox cat /tmp/file; test -x /sbin/busybox").await;

    small.image = Some("large".into());
    let refused = place.backend.create(SandboxId::random(), &small).await.expect_err("no such root");
    assert!(refused.to_string().contains("there are small"), "{refused}");
}

#[tokio::test]
async fn files_are_written_and_read_through_the_workspace() {
    let place = Place::new();
    let boxed = place.run(&spec()).await;
    let mut file = boxed.workspace.write(Path::new("a/b"), Parents::Created).await.expect("a file");
    file.write(b"content").await.expect("it is written");
    file.finish().await.expect("it is there");
    assert_eq!(boxed.must("cat a/b; stat -c %U a/b").await, "contentagent");
}

#[tokio::test]
async fn each_box_is_a_user_of_its_own_if_the_server_is_root() {
    if !is_root() {
        return;
    }
    let mut place = Place::with(|options| options.uids = 2_100_000_000..2_100_000_002);
    let (one, two) = (place.run(&spec()).await, place.run(&spec()).await);
    let owner = |id| std::fs::metadata(place.dir(id).join("disk/workspace")).expect("a folder").uid();
    let mut owners = [owner(one.id), owner(two.id)];
    owners.sort_unstable();
    assert_eq!(owners, [2_100_000_000, 2_100_000_001]);
    let full = place.backend.create(SandboxId::random(), &spec()).await.expect_err("no number is left");
    assert!(full.to_string().contains("wider range"), "{full}");
    // Numbers are known to the next server, and given again when a box is gone.
    place.restart();
    place.backend.create(SandboxId::random(), &spec()).await.expect_err("no number is left");
    place.backend.destroy(one.id).await.expect("no box");
    place.backend.create(SandboxId::random(), &spec()).await.expect("a number");
}

#[test]
fn an_ordinary_user_can_make_boxes_too() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("a mode");
    let tests = ["a_box_lives_from_its_creation_to_its_end", "a_paused_box_halts_and_goes_on_where_it_was"];
    let status = std::process::Command::new(std::env::current_exe().expect("this program"))
        .arg("--exact")
        .args(tests.map(|test| format!("bubblewrap::{test}")))
        .env("TMPDIR", folder.path())
        .env("LONGSHORE_PROGRAM", crate::bubblewrap_support::program())
        .uid(1_999_999_999)
        .gid(1_999_999_999)
        .current_dir("/")
        .status();
    assert!(status.expect("a test of its own").success());
}

#[tokio::test]
async fn the_check_makes_a_box_and_says_what_is_missing() {
    let mut place = Place::new();
    place.backend.check().await.expect("boxes can be made");
    assert!(place.list().await.is_empty());
    let findings = place.backend.findings().await;
    assert!(findings.iter().all(|finding| finding.level != Level::Missing), "{findings:#?}");
    assert!(findings.iter().any(|finding| finding.subject == "box"));

    place.options.program = "/no/such/bwrap".into();
    place.restart();
    let missing = place.backend.check().await.expect_err("there is no bubblewrap").to_string();
    assert!(missing.contains("/no/such/bwrap") && missing.contains("install"), "{missing}");
}

fn kill(process: i32) {
    let process = rustix::process::Pid::from_raw(process).expect("a number");
    rustix::process::kill_process(process, rustix::process::Signal::KILL).expect("a kill");
}
