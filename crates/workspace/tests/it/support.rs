//! A workspace in a folder of its own that checks at its end that no process is left.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use longshore_workspace::{Command, Error, ExitStatus, Local, LocalOptions, Reader, Workspace};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;

use crate::boxd::{self, Boxd};

/// How long a test waits for what must come.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// The variable that tells a test's processes from all others.
const MARK: &str = "LONGSHORE_TEST";

pub(crate) struct Place {
    pub(crate) workspace: Arc<dyn Workspace>,
    pub(crate) folder: TempDir,
    mark: String,
    /// What serves a place that is elsewhere.
    pub(crate) boxd: Option<Boxd>,
}

impl Place {
    /// A place in this process.
    pub(crate) fn local(change: impl FnOnce(&mut LocalOptions)) -> Self {
        let (folder, mark) = (new_folder(), new_mark());
        let mut options = LocalOptions::new(real(&folder));
        options.env.push((MARK.into(), mark.clone().into()));
        change(&mut options);
        Self { workspace: Arc::new(Local::new(options).expect("a workspace")), folder, mark, boxd: None }
    }

    /// A place that a `boxd` serves.
    pub(crate) fn remote(mut setup: boxd::Setup) -> Self {
        let (folder, mark) = (new_folder(), new_mark());
        setup.variables.push((MARK.into(), mark.clone()));
        let boxd = Boxd::start(&real(&folder), setup);
        let workspace = Arc::new(boxd.remote());
        Self { workspace, folder, mark, boxd: Some(boxd) }
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.workspace.working_dir().join(name)
    }

    pub(crate) async fn run(&self, command: Command) -> Run {
        let mut process = self.workspace.spawn(command).await.expect("it starts");
        drop(process.stdin.take());
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let (one, other) =
            tokio::join!(process.stdout.read_to_end(&mut stdout), process.stderr.read_to_end(&mut stderr));
        one.expect("standard output");
        other.expect("standard error");
        let status = process.control.wait().await.expect("an end");
        Run { stdout: text(stdout), stderr: text(stderr), status }
    }

    pub(crate) async fn sh(&self, script: &str) -> Run {
        self.run(sh(script)).await
    }

    /// Runs a script that must succeed.
    pub(crate) async fn must(&self, script: &str) {
        let run = self.sh(script).await;
        assert!(run.status.success(), "{script}: {run:?}");
    }

    /// The numbers of this test's processes.
    pub(crate) fn processes(&self) -> Vec<i32> {
        marked(&format!("{MARK}={}", self.mark))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Nothing runs any more that could tell it to end processes one by one.
        drop(self.boxd.take());
        let end = Instant::now() + DEADLINE;
        while !self.processes().is_empty() {
            if Instant::now() > end {
                let left = self.processes();
                for process in &left {
                    let _ = std::process::Command::new("kill").args(["-9", &process.to_string()]).status();
                }
                assert!(std::thread::panicking(), "processes are left: {left:?}");
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn new_folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn new_mark() -> String {
    uuid::Uuid::new_v4().to_string()
}

fn real(folder: &TempDir) -> PathBuf {
    folder.path().canonicalize().expect("its real path")
}

#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) status: ExitStatus,
}

pub(crate) fn sh(script: &str) -> Command {
    Command::new("sh").arg("-c").arg(script)
}

/// The processes with `variable` in their environment.
pub(crate) fn marked(variable: &str) -> Vec<i32> {
    let processes = fs::read_dir("/proc").expect("the list of processes");
    let numbers = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .filter(|number: &i32| {
            let environment = fs::read(format!("/proc/{number}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|found| found == variable.as_bytes())
        })
        .collect()
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "{what}: not in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Reads until `wanted` has come and returns all that has.
pub(crate) async fn read_until(reader: &mut Reader, wanted: &str) -> String {
    let mut seen = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&seen).contains(wanted) {
            let count = reader.read_buf(&mut seen).await.expect("it can be read");
            assert!(count > 0, "it ended without {wanted:?}: {:?}", String::from_utf8_lossy(&seen));
        }
    };
    let in_time = tokio::time::timeout(DEADLINE, reading).await.is_ok();
    assert!(in_time, "{wanted:?} did not come: {:?}", String::from_utf8_lossy(&seen));
    text(seen)
}

pub(crate) async fn content(workspace: &dyn Workspace, path: impl AsRef<Path>, offset: u64) -> Result<Vec<u8>, Error> {
    let (_, mut reader) = workspace.read(path.as_ref(), offset).await?;
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).await.expect("it can be read");
    Ok(bytes)
}

pub(crate) fn variables<const N: usize>(variables: [(&str, &str); N]) -> Vec<(OsString, OsString)> {
    variables.map(|(name, value)| (name.into(), value.into())).into()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("text")
}
