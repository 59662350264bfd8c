//! A place that outlives the engine, and one that is lost while a client's command runs in it. The place is this test program again: [`place`] is what it
//! does then.

use std::{
    io,
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use longshore_engine::bash::{BashService, Limits, Scope};
use longshore_protocol::{Secret, bash::ExecuteBash};
use longshore_store::{At, BashQuery, Keys, Owner, Sqlite};
use longshore_testkit::call;
use longshore_workspace::{
    Connect, Remote, RemoteOptions, Stream,
    boxd::{Address, Listen, Options, serve},
};
use serde_json::json;
use tempfile::TempDir;
use tokio::{net::UnixStream, time::timeout};

use crate::world::{DEADLINE, World, until};

/// Tells this program to be a place, and where.
const PART: &str = "LONGSHORE_TEST_PLACE";

#[test]
fn place() {
    let Some(folder) = std::env::var_os(PART).map(PathBuf::from) else { return };
    let mut options = Options::new(&folder);
    options.environment.retain(|(name, _)| name != PART);
    serve(Listen::At(Address::Path(folder.join("socket"))), options).unwrap();
}

#[derive(Debug)]
struct Socket(PathBuf);

#[async_trait]
impl Connect for Socket {
    async fn connect(&self) -> io::Result<Stream> {
        // Somebody knows whether the place is there, as those who make boxes do.
        let gone = |_| io::Error::from(io::ErrorKind::NotConnected);
        Ok(Box::new(UnixStream::connect(&self.0).await.map_err(gone)?))
    }
}

#[tokio::test]
async fn a_command_that_is_lost_with_its_place_says_so() {
    let folder = TempDir::new().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "lost::place", "--nocapture"])
        .env(PART, folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let mut place = command.spawn().unwrap();
    while UnixStream::connect(folder.path().join("socket")).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let remote = Remote::new(Arc::new(Socket(folder.path().join("socket"))), RemoteOptions::new(folder.path()));
    let store = Sqlite::open(&folder.path().join("db"), Keys::new(&Secret::new("test"), &[])).unwrap();
    let service = BashService::new(Arc::new(store), Limits::default());
    let scope = Scope { owner: Owner("o".into()), at: At::Own };
    let request =
        serde_json::from_value::<ExecuteBash>(json!({"command": "while echo said; do sleep 0.01; done"})).unwrap();

    // The command ends by itself when nobody reads what it writes.
    let lose = async {
        let outputs = || BashQuery { kind: Some("BashOutput".to_owned()), limit: 1, ..BashQuery::default() };
        while service.search(&scope, outputs()).await.unwrap().items.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        place.kill().unwrap();
        place.wait().unwrap();
    };
    let execute = timeout(DEADLINE, service.execute(&scope, Arc::new(remote), request));
    let (output, ()) = tokio::join!(execute, lose);
    let output = output.unwrap().unwrap();
    assert!(output.stdout.as_deref().is_some_and(|text| text.starts_with("said\n")), "{output:?}");
    assert_eq!(output.exit_code, Some(-1));
    assert!(output.stderr.as_deref().is_some_and(|text| text.contains("lost with the place")), "{output:?}");
    service.close().await;
}

#[tokio::test]
async fn what_an_agent_left_running_elsewhere_outlives_the_engine_and_what_is_under_way_does_not() {
    let world = World::new();
    let folder = world.folder.path().join("elsewhere");
    let leave = "nohup sleep 1000 >/dev/null 2>&1 & echo $! > left; sleep 1000 & echo $! > job";
    let (leave, wait) = (json!({"command": leave}), json!({"command": "echo $$ > shell; touch started; sleep 1001"}));
    world.provider.script("busy", [call("terminal", leave), call("terminal", wait)]);
    let id = world.create("busy", json!({"workspace": {"working_dir": folder}})).await;
    world.go(id).await;
    until("the second command runs", async || folder.join("started").exists()).await;
    let number = |name| std::fs::read_to_string(folder.join(name)).unwrap().trim().to_owned();
    let (left, job, shell) = (number("left"), number("job"), number("shell"));
    let children = format!("/proc/{shell}/task/{shell}/children");

    world.engine.shutdown().await;
    let jobs = format!("{left} {job} ");
    until("only the jobs are left", async || std::fs::read_to_string(&children).is_ok_and(|now| now == jobs)).await;
    // The shell takes its jobs along, but for the one that is safe from that.
    for arguments in [["-HUP", &shell], ["-KILL", &left]] {
        assert!(Command::new("kill").args(arguments).status().unwrap().success());
    }
}
