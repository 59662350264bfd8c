//! The life of real boxes, of both kinds.

use std::{io::Write as _, path::Path, sync::Arc, time::Duration};

use longshore_protocol::{
    Secret,
    sandbox::{SandboxOptions, SandboxState},
};
use longshore_sandbox::{
    Backend, Backends, Bubblewrap, BubblewrapOptions, Deployment, Docker, DockerOptions, OnShutdown, Place, Pool,
    SandboxId, Sandboxes, Settings,
};
use longshore_store::{At, Keys, Sqlite, Store};
use longshore_workspace::{Command, ExitStatus, Parents, TerminalSize, Workspace as _};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::world::{DEADLINE, id, idle_after, info, owner, state, until, until_state};
use crate::{
    bubblewrap_support::{find_folders, program},
    docker_support,
};

const SIZE: TerminalSize = TerminalSize { rows: 24, columns: 80 };

/// A machine that makes real boxes, of which nothing is left in the end.
struct Ground {
    deployment: Deployment,
    make: fn(&Deployment) -> Arc<dyn Backend>,
    store: Arc<dyn Store>,
    settings: Settings,
    _folder: TempDir,
}

fn bubblewrap(deployment: &Deployment) -> Arc<dyn Backend> {
    Arc::new(Bubblewrap::new(deployment.clone(), BubblewrapOptions::default()))
}

fn docker(deployment: &Deployment) -> Arc<dyn Backend> {
    let options = DockerOptions { image: docker_support::BUSYBOX.to_owned(), ..DockerOptions::default() };
    Arc::new(Docker::new(deployment.clone(), options))
}

impl Ground {
    /// None where there is no such engine: the test is skipped, unless somebody wants it to fail.
    async fn new(make: fn(&Deployment) -> Arc<dyn Backend>, change: impl FnOnce(&mut Settings)) -> Option<Self> {
        let folder = TempDir::new().expect("a folder");
        let name = format!("test{}", uuid::Uuid::new_v4().simple());
        let deployment = Deployment { name, dir: folder.path().join("boxes"), program: program() };
        let backend = make(&deployment);
        if let Err(error) = backend.check().await {
            let is_wanted = std::env::var_os("LONGSHORE_REQUIRE_DOCKER").is_some_and(|value| value == "1");
            assert!(backend.name() == "docker" && !is_wanted, "{error}");
            let _ = writeln!(std::io::stderr(), "skipped: {error}");
            return None;
        }
        let mut settings = Settings { sweep_interval: Duration::from_millis(50), ..Settings::default() };
        change(&mut settings);
        let keys = Keys::load_or_create(folder.path(), None, Vec::new()).expect("keys");
        let store = Arc::new(Sqlite::open(&folder.path().join("store.db"), keys).expect("a store"));
        Some(Self { deployment, make, store, settings, _folder: folder })
    }

    async fn serve(&self) -> Sandboxes {
        let backends = Backends::new(vec![(self.make)(&self.deployment)]);
        let server = Sandboxes::new(self.settings.clone(), backends, Arc::clone(&self.store));
        server.recover().await.expect("what is stored can be read");
        server
    }

    /// Boxes that there are in any form.
    async fn found(&self) -> Vec<SandboxId> {
        let found = (self.make)(&self.deployment).list().await.expect("a list");
        found.into_iter().map(|found| found.id).collect()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let backend = (self.make)(&self.deployment);
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(async {
                for found in backend.list().await.expect("a list") {
                    backend.destroy(found.id).await.expect("no box");
                }
            });
        });
        let cleaned = cleaning.join();
        let groups = format!("longshore-{}", self.deployment.name);
        for group in find_folders(Path::new("/sys/fs/cgroup"), &groups, 6) {
            let _ = std::fs::remove_dir(group);
        }
        assert!(cleaned.is_ok() || std::thread::panicking(), "boxes are left");
    }
}

fn place(server: &Sandboxes, user: &str, wish: SandboxOptions) -> Place {
    server.place(&owner(user), At::Own, &wish, Path::new("/workspace")).expect("a place")
}

/// What a script says.
async fn sh(place: &Place, script: &str) -> String {
    let run = async {
        let mut process = place.spawn(Command::new("sh").args(["-c", script])).await.expect("it starts");
        drop(process.stdin.take());
        let (mut stdout, mut stderr) = (String::new(), String::new());
        let (one, other) =
            tokio::join!(process.stdout.read_to_string(&mut stdout), process.stderr.read_to_string(&mut stderr));
        one.and(other).expect("what it says");
        process.control.wait().await.expect("an end");
        (stdout + &stderr).trim().to_owned()
    };
    tokio::time::timeout(DEADLINE, run).await.unwrap_or_else(|_| panic!("{script}: not in time"))
}

/// The processes of this machine that have `mark` on their command line.
fn processes(mark: &str) -> Vec<i32> {
    let all = std::fs::read_dir("/proc").expect("processes").flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(mark)
        })
        .collect()
}

/// Ends a box from the outside: one of bubblewrap by its mark, one of Docker by its name.
fn kill(mark: &str, name: &str) {
    let pids = processes(mark);
    if pids.is_empty() {
        docker_support::docker(&["kill", name]);
    }
    for pid in pids.into_iter().filter_map(rustix::process::Pid::from_raw) {
        // The end of one may be that of the next.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

async fn lives(make: fn(&Deployment) -> Arc<dyn Backend>) {
    let Some(ground) = Ground::new(make, |_| ()).await else { return };
    let server = ground.serve().await;
    let place = place(&server, "ann", idle_after(1));
    assert!(ground.found().await.is_empty());
    let mut file = place.write("file".as_ref(), Parents::Required).await.expect("a file");
    file.write(b"kept").await.expect("room");
    file.finish().await.expect("room");

    // It sleeps under an open terminal, and wakes when somebody types.
    let mut terminal = place.open_terminal(Command::new("cat"), SIZE).await.expect("a terminal");
    until_state(&server, "ann", SandboxState::Paused).await;
    terminal.input.write_all(b"typed\n").await.expect("a way in");
    let mut shown = String::new();
    while shown.matches("typed").count() < 2 {
        let mut bytes = [0; 100];
        let count = terminal.output.read(&mut bytes).await.expect("an echo");
        shown.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    drop(terminal);

    // It dies with what runs in it, and the next use starts it again.
    let mark = format!(
        "1000.{}",
        &ground.deployment.name[4..].bytes().map(|byte| byte % 10 + b'0').map(char::from).collect::<String>()
    );
    let mut process = place.spawn(Command::new("sleep").arg(&mark)).await.expect("a process");
    let made = info(&server, "ann").id;
    let kill =
        || kill(&format!("{}/{made}", ground.deployment.name), &format!("longshore-{}-{made}", ground.deployment.name));
    kill();
    until_state(&server, "ann", SandboxState::Lost).await;
    let ended = tokio::time::timeout(DEADLINE, process.control.wait()).await.expect("an end");
    assert!(!ended.is_ok_and(ExitStatus::success));
    assert_eq!(sh(&place, "cat file; pwd").await, "kept/workspace");
    assert_eq!(info(&server, "ann").id, made);
    until("nothing of before is left", async || processes(&mark).is_empty()).await;

    // As it does if it dies asleep.
    server.pause(&owner("ann"), At::Own).await.expect("it can sleep");
    kill();
    assert_eq!(sh(&place, "cat file").await, "kept");
    assert_eq!(info(&server, "ann").id, made);

    server.destroy(&owner("ann"), At::Own).await.expect("it is removed");
    assert!(ground.found().await.is_empty() && ground.store.sandboxes().await.expect("rows").is_empty());
    assert_eq!(sh(&place, "ls").await, "");
}

#[tokio::test]
async fn a_box_of_bubblewrap_lives() {
    lives(bubblewrap).await;
}

#[tokio::test]
async fn a_box_of_docker_lives() {
    lives(docker).await;
}

async fn outlives_the_server(make: fn(&Deployment) -> Arc<dyn Backend>) {
    let Some(mut ground) = Ground::new(make, |_| ()).await else { return };
    let first = ground.serve().await;
    let wish = SandboxOptions { env: Some([("A".to_owned(), Secret::new("of Ann"))].into()), ..idle_after(0) };
    sh(&place(&first, "ann", wish), "(setsid sh -c 'while sleep 0.05; do echo . >> beats; done' > /dev/null 2>&1 &)")
        .await;
    sh(&place(&first, "ben", idle_after(0)), "echo kept > file").await;
    first.pause(&owner("ben"), At::Own).await.expect("it can sleep");
    first.shutdown().await;
    drop(first);

    // The next server finds both as they were.
    let second = ground.serve().await;
    let (ann, ben) = (SandboxOptions::default(), SandboxOptions::default());
    let (ann, ben) = (place(&second, "ann", ann), place(&second, "ben", ben));
    assert_eq!(["ann", "ben"].map(|user| state(&second, user)), [SandboxState::Ready, SandboxState::Paused].map(Some));
    assert_eq!(sh(&ann, "echo $A").await, "of Ann");
    let beats = async || sh(&ann, "cat beats 2> /dev/null | wc -l").await.parse::<u32>().expect("a number");
    let before = beats().await;
    until("it beats on", async || beats().await > before).await;
    assert_eq!(sh(&ben, "cat file").await, "kept");

    // And what ends without a server is started again.
    ground.settings.on_shutdown = OnShutdown::Stop;
    second.shutdown().await;
    let third = ground.serve().await;
    third.shutdown().await;
    let fourth = ground.serve().await;
    assert_eq!(state(&fourth, "ann"), Some(SandboxState::Stopped));
    assert_eq!(sh(&place(&fourth, "ben", idle_after(0)), "cat file").await, "kept");
}

#[tokio::test]
async fn a_box_of_bubblewrap_outlives_the_server() {
    outlives_the_server(bubblewrap).await;
}

#[tokio::test]
async fn a_box_of_docker_outlives_the_server() {
    outlives_the_server(docker).await;
}

async fn waits_in_a_pool(make: fn(&Deployment) -> Arc<dyn Backend>) {
    let change = |settings: &mut Settings| {
        settings.pools = vec![Pool { options: idle_after(300), size: 1 }];
        settings.on_shutdown = OnShutdown::Destroy;
    };
    let Some(ground) = Ground::new(make, change).await else { return };
    let server = ground.serve().await;
    until("one waits", async || server.count_waiting() == 1).await;
    let waiting = ground.found().await;
    let ann = place(&server, "ann", idle_after(300));
    assert_eq!(sh(&ann, "pwd").await, "/workspace");
    assert_eq!(waiting, [id(&server, "ann")]);
    until("another waits", async || ground.found().await.len() == 2).await;
    server.shutdown().await;
    assert!(ground.found().await.is_empty() && ground.store.sandboxes().await.expect("rows").is_empty());
}

#[tokio::test]
async fn a_box_of_bubblewrap_waits_in_a_pool() {
    waits_in_a_pool(bubblewrap).await;
}

#[tokio::test]
async fn a_box_of_docker_waits_in_a_pool() {
    waits_in_a_pool(docker).await;
}
