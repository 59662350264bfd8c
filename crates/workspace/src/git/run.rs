//! Runs git.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::Error;
use crate::{Command, FileKind, Workspace};

/// How long a command may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How much of a command's answer is held in memory.
const MAX_OUTPUT: usize = 32 * 1024 * 1024;

/// How much of what git complains is kept.
const MAX_COMPLAINT: u64 = 4096;

/// What every command starts with. `safe.directory` comes as a variable, see [`Git::open`].
const HARDENED: [&str; 9] = [
    "--no-pager",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "protocol.allow=never",
    "-c",
    "core.quotePath=false",
];

const VARIABLES: [(&str, &str); 6] = [
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_NO_LAZY_FETCH", "1"),
    ("LC_ALL", "C"),
];

/// Git in a folder of a workspace.
pub(super) struct Git<'a> {
    workspace: &'a dyn Workspace,
    folder: PathBuf,
    trusted: Vec<(String, PathBuf)>,
}

/// What a command answered.
pub(super) struct Output {
    pub(super) success: bool,
    pub(super) stdout: Vec<u8>,
    complaint: String,
}

impl<'a> Git<'a> {
    /// Git in `folder`, if there is such a folder. Its repository is trusted whoever owns it: a container's files often
    /// belong to somebody else.
    ///
    /// A repository that has `folder` in it starts there or above, so those folders are what is trusted, and not
    /// everything.
    pub(super) async fn open(workspace: &'a dyn Workspace, folder: &Path) -> Result<Option<Self>, Error> {
        let (folder, metadata) = tokio::join!(workspace.canonicalize(folder), workspace.metadata(folder));
        let folder = match folder.and_then(|folder| Ok((folder, metadata?))) {
            Ok((folder, metadata)) if metadata.kind == FileKind::Directory => folder,
            Ok(_) | Err(crate::Error::NotFound { .. } | crate::Error::NotADirectory { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let folders = folder.ancestors().enumerate();
        let trusted = folders.map(|(index, folder)| (format!("GIT_CONFIG_VALUE_{index}"), folder.to_owned())).collect();
        Ok(Some(Self { workspace, folder, trusted }))
    }

    /// The path from the top of the repository to the folder, with a slash at its end; none if no repository's files are
    /// there.
    pub(super) async fn prefix(&self) -> Result<Option<Vec<u8>>, Error> {
        let output = self.run(&["rev-parse", "--is-inside-work-tree", "--show-prefix"]).await?;
        let prefix = output.stdout.strip_prefix(b"true\n").filter(|_| output.success);
        Ok(prefix.map(|prefix| prefix.strip_suffix(b"\n").unwrap_or(prefix).to_owned()))
    }

    /// What a command answers, if it succeeds.
    pub(super) async fn bytes(&self, args: &[impl AsRef<OsStr> + Sync]) -> Result<Vec<u8>, Error> {
        let output = self.run(args).await?;
        if output.success { Ok(output.stdout) } else { Err(output.failed(args)) }
    }

    /// The one line that a command answers, if it succeeds.
    pub(super) async fn line(&self, args: &[impl AsRef<OsStr> + Sync]) -> Result<Option<String>, Error> {
        let output = self.run(args).await?;
        Ok(output.success.then(|| output.line()))
    }

    /// Runs a command to its end.
    pub(super) async fn run(&self, args: &[impl AsRef<OsStr> + Sync]) -> Result<Output, Error> {
        self.run_limited(args, MAX_OUTPUT).await
    }

    /// Runs a command to its end unless it answers more than `limit` bytes.
    pub(super) async fn run_limited(&self, args: &[impl AsRef<OsStr> + Sync], limit: usize) -> Result<Output, Error> {
        match tokio::time::timeout(TIMEOUT, self.collect(args, limit)).await {
            Ok(output) => output,
            Err(_) => Err(Error::TimedOut { command: shown(args), limit: TIMEOUT }),
        }
    }

    async fn collect(&self, args: &[impl AsRef<OsStr> + Sync], limit: usize) -> Result<Output, Error> {
        let mut process = self.workspace.spawn(self.command(args)).await.map_err(|error| match error {
            crate::Error::NotFound { path } if path == Path::new("git") => Error::NotInstalled,
            error => Error::Workspace(error),
        })?;
        process.stdin = None;
        let stdout = async {
            let bytes = read(&mut process.stdout, limit as u64 + 1).await?;
            if bytes.len() > limit { Err(Error::TooMuchOutput { command: shown(args), limit }) } else { Ok(bytes) }
        };
        let stderr = async {
            let complaint = read(&mut process.stderr, MAX_COMPLAINT).await?;
            tokio::io::copy(&mut process.stderr, &mut tokio::io::sink()).await.map_err(unreadable)?;
            Ok(complaint)
        };
        let (stdout, complaint) = tokio::try_join!(stdout, stderr)?;
        let success = process.control.wait().await?.success();
        Ok(Output { success, stdout, complaint: String::from_utf8_lossy(&complaint).into_owned() })
    }

    fn command(&self, args: &[impl AsRef<OsStr>]) -> Command {
        let count = self.trusted.len();
        let keys = (0..count).map(|index| (format!("GIT_CONFIG_KEY_{index}"), "safe.directory"));
        Command::new("git")
            .args(HARDENED)
            .args(args)
            .cwd(&self.folder)
            .envs(VARIABLES)
            .env("GIT_CONFIG_COUNT", count.to_string())
            .envs(keys)
            .envs(self.trusted.iter().map(|(name, folder)| (name, folder)))
    }
}

impl Output {
    /// The error that this is.
    pub(super) fn failed(&self, args: &[impl AsRef<OsStr>]) -> Error {
        let reason = self.complaint.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let reason = reason.trim().trim_start_matches("fatal: ");
        let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        Error::Failed { command: shown(args), reason }
    }

    /// The answer without the line feed at its end.
    pub(super) fn line(&self) -> String {
        let line = String::from_utf8_lossy(&self.stdout);
        line.strip_suffix('\n').unwrap_or(&line).to_owned()
    }
}

async fn read(source: &mut (impl AsyncRead + Unpin), limit: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    source.take(limit).read_to_end(&mut bytes).await.map_err(unreadable)?;
    Ok(bytes)
}

fn unreadable(cause: std::io::Error) -> Error {
    Error::Workspace(crate::Error::io("read what git answers", cause))
}

/// A command as a person would type it.
fn shown(args: &[impl AsRef<OsStr>]) -> String {
    let plain = |arg: &str| arg.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_=./:,%@+".contains(&byte));
    let mut text = String::from("git");
    for arg in args {
        let arg = arg.as_ref().to_string_lossy();
        text.push(' ');
        if plain(&arg) && !arg.is_empty() {
            text.push_str(&arg);
        } else {
            text.push('\'');
            text.push_str(&arg.replace('\'', r"'\''"));
            text.push('\'');
        }
    }
    text
}
