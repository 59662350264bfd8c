//! A server and its guard are this test program again: [`server`] and [`guard`] are what it does then.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, Stdio},
    sync::Arc,
    time::Duration,
};

use longshore_workspace::{
    Command, Local, LocalOptions, Workspace as _,
    guard::{Guard, MARKER, run, sweep},
};

use crate::support::{Place, marked, read_until, sh, until};

/// Tells this program which part it plays.
const PART: &str = "LONGSHORE_TEST_PART";

/// Leaves its group and its session, minds no signal, and says when it has.
const RUNAWAY: &str = "setsid nohup sh -c 'trap \"\" HUP TERM INT; echo up; sleep 1000; sleep 1000' & wait";

fn guarded() -> Guard {
    let program = std::env::current_exe().expect("this program");
    Guard::new(Command::new(program).args(["--exact", "guard::guard"]).env(PART, "guard"))
}

#[test]
fn guard() {
    if std::env::var_os(PART).is_some_and(|part| part == "guard") {
        run(&std::env::args().next_back().expect("the mark"));
    }
}

#[tokio::test]
async fn server() {
    if std::env::var_os(PART).is_some_and(|part| part == "server") {
        let guard = guarded();
        let mut options = LocalOptions::new("/");
        options.guard = Some(guard.clone());
        let local = Local::new(options).expect("a workspace");
        let mut process = local.spawn(sh(RUNAWAY)).await.expect("it starts");
        read_until(&mut process.stdout, "up").await;
        writeln!(std::io::stderr(), "\nmark {}", guard.marker()).expect("a listener");
        tokio::time::sleep(Duration::from_mins(10)).await;
    }
}

#[tokio::test]
async fn a_sweep_kills_what_left_its_group_and_session() {
    let guard = guarded();
    let place = Place::local(|options| options.guard = Some(guard.clone()));
    let mut process = place.workspace.spawn(sh(RUNAWAY)).await.expect("it starts");
    read_until(&mut process.stdout, "up").await;
    drop(process);
    until("the group ends and the runaway does not", || !place.processes().is_empty() && place.processes().len() <= 2)
        .await;
    let killed = tokio::task::spawn_blocking(move || sweep(guard.marker())).await.expect("a sweep");
    assert!(killed >= 1);
    assert!(place.processes().is_empty());
}

#[tokio::test]
async fn a_sweep_spares_the_children_of_others() {
    let guard = guarded();
    let place = Place::local(|options| options.guard = Some(guard.clone()));
    let mut process = place.workspace.spawn(sh("echo up; exec sleep 1000")).await.expect("it starts");
    read_until(&mut process.stdout, "up").await;
    let part = guard.marker()[1..].to_owned();
    assert_eq!(tokio::task::spawn_blocking(move || sweep(&part)).await.expect("a sweep"), 0);
    assert_eq!(place.processes().len(), 1);
}

#[tokio::test]
async fn the_guard_sweeps_when_its_last_handle_is_dropped() {
    let guard = guarded();
    let marker = guard.marker().to_owned();
    let mut place = Place::local(|options| options.guard = Some(guard));
    let mut process = place.workspace.spawn(sh(RUNAWAY)).await.expect("it starts");
    read_until(&mut process.stdout, "up").await;
    drop(process);
    assert!(!place.processes().is_empty());
    // The workspace that goes holds the guard's last handle.
    place.workspace = Arc::new(Local::new(LocalOptions::new("/")).expect("another workspace"));
    until("the runaway ends", || marked(&format!("{MARKER}={marker}")).is_empty()).await;
}

#[tokio::test]
async fn nothing_outlives_a_server_that_is_killed() {
    let mut server = Server::start();
    let mark = format!("{MARKER}={}", server.mark());
    assert!(!marked(&mark).is_empty());
    server.0.kill().expect("a kill");
    server.0.wait().expect("its end");
    until("everything ends", || marked(&mark).is_empty()).await;
}

/// This program as a server. Killed with the test.
struct Server(Child);

impl Server {
    fn start() -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut command = std::process::Command::new(program);
        command.args(["--exact", "guard::server", "--nocapture"]).env(PART, "server");
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("a server"))
    }

    fn mark(&mut self) -> String {
        let mut said = BufReader::new(self.0.stderr.as_mut().expect("its words"));
        let mut line = String::new();
        while said.read_line(&mut line).expect("its words") > 0 {
            if let Some(mark) = line.trim().strip_prefix("mark ") {
                return mark.to_owned();
            }
            line.clear();
        }
        let _ = said.read_to_string(&mut line);
        panic!("the server does not start: {line}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
