//! Engines that are elsewhere, go away, or come back.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command as Program},
};

use longshore_sandbox::{Backend as _, Docker, DockerOptions, Error, Level, Limits, Running, Spec};
use rustix::{
    mount::{MountFlags, MountPropagationFlags},
    process::{Pid, Signal},
    thread::UnshareFlags,
};
use tempfile::TempDir;

use crate::docker_support::{BUSYBOX, Place, build, docker, run, skip, spec, until};

#[tokio::test]
async fn an_engine_that_is_not_there_is_named() {
    let Some(place) = Place::new().await else { return };
    for (address, part) in
        [("unix:///no/such.sock", "/no/such.sock"), ("tcp://127.0.0.1:1", "127.0.0.1:1"), ("other://x", "other://x")]
    {
        let options = DockerOptions { address: Some(address.to_owned()), ..place.options.clone() };
        let error = Docker::new(place.deployment.clone(), options).check().await.expect_err("nobody is there");
        let Error::Unavailable { backend: "docker", reason } = &error else { panic!("{error:?}") };
        assert!(reason.contains(part) && reason.contains("DOCKER_HOST"), "{reason}");
    }
    let options = DockerOptions { runtime: Some("other".to_owned()), ..place.options.clone() };
    let error = Docker::new(place.deployment.clone(), options).check().await.expect_err("there is none").to_string();
    assert!(error.contains("no runtime 'other'") && error.contains("runc"), "{error}");
}

#[tokio::test]
async fn what_the_engine_can_do_is_told() {
    let Some(place) = Place::new().await else { return };
    let findings = place.backend.findings().await;
    let find = |subject: &str| findings.iter().find(|finding| finding.subject == subject).expect("a finding");
    assert!(find("engine").level == Level::Ok && find("engine").detail.contains("API"), "{findings:?}");
    for subject in ["runc", "sockets", "runtime", "limits", "storage", "users", "network for boxes"] {
        let finding = find(subject);
        assert_eq!(finding.level == Level::Ok, finding.advice.is_none(), "{finding:?}");
    }
    let options = DockerOptions { address: Some("unix:///no/such.sock".to_owned()), ..place.options.clone() };
    let findings = Docker::new(place.deployment.clone(), options).findings().await;
    assert!(findings.iter().any(|finding| finding.level == Level::Missing), "{findings:?}");
}

/// The folders of this deployment are on a file system that only this process sees, as those of a remote server are.
#[test]
fn an_engine_that_sees_other_files_gets_copies() {
    if !rustix::process::geteuid().is_root() {
        skip("only root can hide a file system");
        return;
    }
    leave_mounts();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let Some(place) = Place::new().await else { return };
        rustix::mount::mount("none", place.folder(), "tmpfs", MountFlags::empty(), c"size=64m").expect("a file system");
        let spec = Spec { network: longshore_sandbox::Network::Proxied, ..spec() };
        let boxed = place.run(&spec).await;
        assert_eq!(place.inspect(boxed.id, ".HostConfig.Mounts"), "null");
        boxed.must("echo kept > file; test -x /.longshore/longshore; test \"$(stat -c %a /workspace)\" = 777").await;
        place.backend.stop(boxed.id).await.expect("a stop");
        place.backend.start(boxed.id, &spec).await.expect("a start");
        assert_eq!(boxed.must("cat file; head -c 4000000 /dev/zero > big; sync").await, "kept");
        let used = place.backend.stats(boxed.id).await.expect("what it uses").disk.expect("a number");
        assert!(used > 4_000_000, "{used}");
        drop(boxed);
        drop(place);
    });
}

/// The folders of this deployment are where the engine looks, but it does not see what is mounted there.
#[test]
fn an_engine_that_sees_no_mounts_gets_folders() {
    if !rustix::process::geteuid().is_root() {
        skip("only root can hide a file system");
        return;
    }
    leave_mounts();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let Some(place) = Place::new().await else { return };
        let boxed = place.run(&spec()).await;
        boxed.must("echo kept > file; echo seen > /.longshore/run/file").await;
        let seen = std::fs::read_to_string(place.dir(boxed.id).join("memory/run/file")).expect("a shared folder");
        assert_eq!(seen, "seen\n");
        place.backend.stop(boxed.id).await.expect("a stop");
        place.backend.start(boxed.id, &spec()).await.expect("a start");
        assert_eq!(boxed.must("cat file").await, "kept");
        // It is on no file system of its own, so it counts.
        boxed.must("head -c 4000000 /dev/zero > /.longshore/run/big; sync").await;
        let used = place.backend.stats(boxed.id).await.expect("what it uses").disk.expect("a number");
        assert!(used > 4_000_000, "{used}");
        drop(boxed);
        drop(place);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn boxes_outlive_their_engine() {
    let Some((mut engine, place)) = own_engine(&[]).await else { return };
    let boxed = place.run(&spec()).await;
    boxed.must("echo kept > file; echo kept > /root/file").await;
    let backend = place.backend.clone();
    let watching = tokio::spawn(async move { backend.next_death().await });
    engine.stop().await;
    let error = place.backend.list().await.expect_err("nobody answers");
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");

    engine.start().await;
    let death =
        tokio::time::timeout(crate::docker_support::DEADLINE, watching).await.expect("in time").expect("a death");
    assert_eq!(death.id, boxed.id);
    assert_eq!(place.running(boxed.id).await, Some(Running::No));
    place.backend.start(boxed.id, &spec()).await.expect("a start");
    assert_eq!(boxed.must("cat file /root/file").await, "kept\nkept");
    drop(place);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_with_quotas_bounds_all_that_a_box_writes() {
    if Program::new("mkfs.btrfs").arg("--version").output().is_err() {
        skip("the program mkfs.btrfs is missing (package btrfs-progs)");
        return;
    }
    let Some((mut engine, place)) = own_engine(&["--storage-driver", "btrfs"]).await else { return };
    let disk = |mebibytes: u64| Limits { disk: Some(mebibytes << 20), ..Limits::default() };
    let boxed = place.run(&Spec { limits: disk(64), ..spec() }).await;
    boxed.must("dd if=/dev/zero of=/root/a bs=1M count=32; sync").await;
    let run = boxed.must_not("dd if=/dev/zero of=/root/b bs=1M count=64 conv=fsync").await;
    assert!(run.stderr.contains("quota") || run.stderr.contains("No space"), "{run:?}");
    boxed.must_not("dd if=/dev/zero of=/workspace/b bs=1M count=80 conv=fsync").await;
    assert!(place.backend.stats(boxed.id).await.expect("what it uses").disk_is_enforced);

    // What the image takes to volumes is on no quota.
    let address = engine.address();
    build(&["--host", &address], "longshore-test/volumes", &format!("FROM {BUSYBOX}\nVOLUME /data\n"));
    let spec = Spec { image: Some("longshore-test/volumes".to_owned()), limits: disk(64), ..spec() };
    let with_volume = place.run(&spec).await;
    with_volume.must("dd if=/dev/zero of=/data/a bs=1M count=80").await;
    let stats = place.backend.stats(with_volume.id).await.expect("what it uses");
    assert!(!stats.disk_is_enforced && stats.disk > Some(80 << 20), "{stats:?}");
    let storage = place.backend.findings().await.into_iter().find(|finding| finding.subject == "storage");
    assert_eq!(storage.expect("a finding").level, Level::Ok);
    drop(place);
    engine.stop().await;
}

/// An engine of the test's own with an image, and a place whose boxes it makes. None where that takes more than there is.
async fn own_engine(options: &[&str]) -> Option<(Engine, Place)> {
    if !rustix::process::geteuid().is_root() || Program::new("dockerd").arg("--version").output().is_err() {
        skip("only root can start an engine, where it is installed");
        return None;
    }
    Place::new().await?;
    let mut engine = Engine::new(options);
    if options.contains(&"btrfs") {
        engine.mount_btrfs();
    }
    engine.start().await;
    let archive = engine.path("image.tar");
    docker(&["save", "--output", archive.to_str().expect("text"), BUSYBOX]);
    docker(&["--host", &engine.address(), "load", "--input", archive.to_str().expect("text")]);
    let place = Place::with(|options| options.address = Some(engine.address())).await.expect("an engine");
    Some((engine, place))
}

#[expect(unsafe_code, reason = "the call can do more than it does here")]
fn leave_mounts() {
    // SAFETY: only a thread that leaves its table of descriptors can lose some; this one leaves its mounts.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }.expect("mounts of its own");
    let private = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    rustix::mount::mount_change("/", private).expect("mounts of its own");
}

/// An engine of the test's own, in a network of its own.
struct Engine {
    folder: TempDir,
    options: Vec<String>,
    process: Option<Child>,
}

impl Engine {
    fn new(options: &[&str]) -> Self {
        // In a short path, because paths of sockets are.
        let folder = TempDir::new_in("/tmp").expect("a folder");
        Self { folder, options: options.iter().map(|option| (*option).to_owned()).collect(), process: None }
    }

    /// Keeps its data on a file system that has quotas.
    fn mount_btrfs(&self) {
        let (image, data) = (self.path("data.img"), self.path("data"));
        File::create(&image).expect("a file").set_len(2 << 30).expect("a size");
        std::fs::create_dir(&data).expect("a folder");
        let text = |path: &Path| path.to_str().expect("text").to_owned();
        run("mkfs.btrfs", &["--quiet", &text(&image)]);
        run("mount", &["-o", "loop", &text(&image), &text(&data)]);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn address(&self) -> String {
        format!("unix://{}", self.path("docker.sock").display())
    }

    async fn start(&mut self) {
        let settings = self.path("settings.json");
        std::fs::write(&settings, "{}").expect("a file");
        let log = File::options().create(true).append(true).open(self.path("log")).expect("a file");
        let mut command = Program::new("unshare");
        command.args(["--net", "sh", "-c", "ip link set lo up; exec dockerd \"$@\"", "sh"]);
        for (option, value) in [
            ("--config-file", settings),
            ("--data-root", self.path("data")),
            ("--exec-root", self.path("run")),
            ("--pidfile", self.path("pid")),
        ] {
            command.arg(option).arg(value);
        }
        command.args(["--host", &self.address(), "--bridge", "none", "--iptables=false"]);
        command.args(&self.options).stdout(log.try_clone().expect("a file")).stderr(log);
        self.process = Some(command.spawn().expect("it starts"));
        let address = self.address();
        until("the engine answers", || async {
            Program::new("docker")
                .args(["--host", &address, "version"])
                .output()
                .is_ok_and(|output| output.status.success())
        })
        .await;
    }

    async fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        rustix::process::kill_process(Pid::from_child(&process), Signal::TERM).expect("it runs");
        until("the engine ends", || {
            let ended = process.try_wait().expect("a process").is_some();
            async move { ended }
        })
        .await;
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = rustix::process::kill_process(Pid::from_child(&process), Signal::TERM);
            let _ = process.wait();
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let mut points: Vec<_> = mounts.lines().filter_map(|line| line.split(' ').nth(4)).collect();
        points.sort_unstable();
        for point in points.iter().rev().filter(|point| Path::new(point).starts_with(self.folder.path())) {
            let _ = rustix::mount::unmount(*point, rustix::mount::UnmountFlags::DETACH);
        }
    }
}
