//! A place that outlives the tools that work in it, and one that is lost under them. The place is this test program again: [`place`] is what it does then.

use std::{
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use longshore_protocol::action::TerminalAction;
use longshore_tools::{Call, Context};
use longshore_workspace::{
    Connect, Remote, RemoteOptions, Stream,
    boxd::{Address, Listen, Options, serve},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::UnixStream;

use crate::{DEADLINE, make, terminal::seen, text};

/// Tells this program to be a place, and where.
const PART: &str = "LONGSHORE_TEST_PLACE";

#[test]
fn place() {
    let Some(folder) = std::env::var_os(PART).map(PathBuf::from) else { return };
    let mut options = Options::new(&folder);
    options.environment.retain(|(name, _)| name != PART);
    serve(Listen::At(Address::Path(folder.join("socket"))), options).expect("it serves");
}

struct Place {
    folder: TempDir,
    process: Child,
}

impl Place {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let process = Self::start(folder.path());
        Self { folder, process }
    }

    fn start(folder: &Path) -> Child {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command
            .args(["--exact", "lost::place", "--nocapture"])
            .env(PART, folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command.spawn().expect("a place")
    }

    fn kill(&mut self) {
        self.process.kill().expect("it is killed");
        self.process.wait().expect("it is gone");
        std::fs::remove_file(self.folder.path().join("socket")).expect("the socket is removed");
    }

    fn context(&self) -> Context {
        let mut options = RemoteOptions::new(self.folder.path());
        options.patience = DEADLINE;
        Context {
            workspace: Arc::new(Remote::new(Arc::new(Socket(self.folder.path().join("socket"))), options)),
            persistence_dir: self.folder.path().join("state"),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[derive(Debug)]
struct Socket(PathBuf);

#[async_trait]
impl Connect for Socket {
    async fn connect(&self) -> io::Result<Stream> {
        Ok(Box::new(UnixStream::connect(&self.0).await?))
    }
}

fn command(command: &str) -> TerminalAction {
    TerminalAction { command: command.to_owned(), is_input: false, timeout: None, reset: false }
}

#[tokio::test]
async fn a_command_that_is_lost_with_its_place_is_an_error_and_the_next_one_works() {
    let mut place = Place::new();
    let terminal = make("terminal", Value::Null, &place.context());
    let run = async |text: &str| {
        let run = terminal.run(command(text).into(), Call::default());
        seen(tokio::time::timeout(DEADLINE, run).await.expect("the tool answers in time").expect("the tool can do it"))
    };
    let begun = place.folder.path().join("begun");
    let lose = async {
        while !begun.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        place.kill();
        place.process = Place::start(place.folder.path());
    };
    let (lost, ()) = tokio::join!(run("echo said; touch begun; sleep 1000"), lose);
    assert!(lost.is_error, "{lost:?}");
    assert_eq!((text(&lost.content), lost.exit_code), ("said", Some(-1)));
    let suffix = &lost.metadata.suffix;
    assert!(
        suffix.starts_with("\n[The command did not complete; it was lost") && suffix.ends_with("a new one.]"),
        "{suffix}"
    );

    let next = run("ls begun").await;
    assert_eq!((text(&next.content), next.exit_code, next.is_error), ("begun", Some(0), false));
}

#[tokio::test]
async fn what_runs_in_a_terminal_goes_on_when_it_is_left_but_not_the_call_under_way() {
    let place = Place::new();
    let terminal = make("terminal", Value::Null, &place.context());
    let run = async |text: &str| {
        let run = terminal.run(command(text).into(), Call::default());
        tokio::time::timeout(DEADLINE, run).await.expect("the tool answers in time")
    };
    let begun = place.folder.path().join("begun");
    let left = seen(run("sleep 1000 & echo $!").await.expect("it runs"));
    let left = text(&left.content).lines().last().expect("a number").to_owned();
    let leave = async {
        while !begun.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        terminal.leave().await;
    };
    let (under_way, ()) = tokio::join!(run("sh -c 'echo $$ > begun; exec sleep 1001'"), leave);
    under_way.unwrap_err();
    drop(terminal);

    let other = make("terminal", Value::Null, &place.context());
    let begun = std::fs::read_to_string(begun).expect("a number");
    let look = format!("kill -0 {left} && ! kill -0 {}", begun.trim());
    let look = other.run(command(&look).into(), Call::default()).await.expect("it runs");
    assert_eq!(seen(look).exit_code, Some(0));
    other.close().await;
}
