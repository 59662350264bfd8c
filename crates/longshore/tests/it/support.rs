//! A folder for a test, and the program in it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// The program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_longshore");
/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// A workspace, a data folder and a folder of models, of one test.
pub(crate) struct World {
    folder: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("longshore-it-").tempdir().unwrap();
        let world = Self { folder };
        for part in [world.workspace(), world.models()] {
            fs::create_dir(part).unwrap();
        }
        world
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    pub(crate) fn workspace(&self) -> PathBuf {
        self.path().join("workspace")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    fn models(&self) -> PathBuf {
        self.path().join("models")
    }

    /// Writes a scripted model and gives its name.
    pub(crate) fn model(&self, name: &str, turns: &Value) -> String {
        fs::write(self.models().join(name), turns.to_string()).unwrap();
        format!("scripted/{name}")
    }

    /// The variables that the program starts with.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let path = |path: PathBuf| path.to_string_lossy().into_owned();
        [
            ("PATH", std::env::var("PATH").unwrap()),
            ("HOME", path(self.path())),
            ("TMPDIR", path(self.path())),
            ("LANG", "C.UTF-8".to_owned()),
            ("LONGSHORE_DATA_DIR", path(self.data())),
            ("LONGSHORE_MODELS_DIR", path(self.models())),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    /// The program, started in the workspace, without input.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).current_dir(self.workspace()).env_clear().envs(self.variables());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Runs the program to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ended {
        end_of(self.command(arguments)).await
    }

    /// The folders of runs.
    pub(crate) fn runs(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.data().join("runs")) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// A text without what differs from test to test: folders, ids, times.
    pub(crate) fn redacted(&self, text: &str) -> String {
        let mut text = text.replace(&*self.path().to_string_lossy(), "/test").replace(PROGRAM, "longshore");
        for run in self.runs() {
            let id = run.file_name().unwrap().to_string_lossy().into_owned();
            text = text.replace(&id, "ID").replace(&id[..8], "ID");
        }
        let lines = text.lines().map(|line| match line.split_once(" s · ") {
            Some((seconds, rest)) if seconds.parse::<u64>().is_ok() => format!("N s · {rest}\n"),
            _ => format!("{line}\n"),
        });
        lines.collect()
    }
}

/// How the program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a program to its end.
pub(crate) async fn end_of(mut command: Command) -> Ended {
    ended(timeout(PATIENCE, command.output()).await.expect("the program does not end").unwrap())
}

fn ended(output: Output) -> Ended {
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Sends a signal.
pub(crate) fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id().expect("the program has ended")).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// The exit code of a program that is about to end.
pub(crate) async fn code_of(child: &mut Child) -> Option<i32> {
    timeout(PATIENCE, child.wait()).await.expect("the program does not end").unwrap().code()
}

/// Output that is read line by line.
pub(crate) struct Lines<R> {
    reader: BufReader<R>,
    /// All that was read.
    pub(crate) text: String,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(crate) fn of(output: R) -> Self {
        Self { reader: BufReader::new(output), text: String::new() }
    }

    /// The next line with this text in it.
    pub(crate) async fn find(&mut self, wanted: &str) -> String {
        let search = async {
            loop {
                let mut line = String::new();
                let read = self.reader.read_line(&mut line).await.unwrap();
                self.text.push_str(&line);
                assert!(read > 0, "{wanted:?} never came; there was:\n{}", self.text);
                if line.contains(wanted) {
                    return line;
                }
            }
        };
        timeout(PATIENCE, search).await.unwrap_or_else(|_| panic!("{wanted:?} did not come in time"))
    }

    /// All that comes until the end.
    pub(crate) async fn rest(mut self) -> String {
        timeout(PATIENCE, self.reader.read_to_string(&mut self.text)).await.expect("the output does not end").unwrap();
        self.text
    }
}

/// Waits for something to become true.
pub(crate) async fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let wait = async {
        while !is_true() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

/// Makes a file that a command of a script waits for.
pub(crate) fn touch(path: &Path) {
    fs::write(path, "").unwrap();
}
