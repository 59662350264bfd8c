//! A place that is lost while a client's command runs in it. The place is this test program again: [`place`] is what it
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
use longshore_store::{Keys, Owner, Sqlite};
use longshore_workspace::{
    Connect, Remote, RemoteOptions, Stream,
    boxd::{Address, Listen, Options, serve},
};
use serde_json::json;
use tempfile::TempDir;
use tokio::{net::UnixStream, time::timeout};

use crate::world::DEADLINE;

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
    while !folder.path().join("socket").exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let remote = Remote::new(Arc::new(Socket(folder.path().join("socket"))), RemoteOptions::new(folder.path()));
    let store = Sqlite::open(&folder.path().join("db"), Keys::new(&Secret::new("test"), &[])).unwrap();
    let service = BashService::new(Arc::new(store), Limits::default());
    let scope = Scope { owner: Owner("o".into()), conversation: None };
    let request =
        serde_json::from_value::<ExecuteBash>(json!({"command": "touch begun; while echo said; do sleep 0.01; done"}))
            .unwrap();

    // The command ends by itself when nobody reads what it writes.
    let lose = async {
        while !folder.path().join("begun").exists() {
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
