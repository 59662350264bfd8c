//! What a process starts with, and why one does not start.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::{ffi::OsStrExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::Access;

use super::environment::Environment;
use crate::{Command, Error};

/// Where programs are looked for if there is no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command with all that the workspace adds to it.
pub(super) struct Launch {
    name: OsString,
    args: Vec<OsString>,
    cwd: PathBuf,
    variables: BTreeMap<OsString, OsString>,
}

impl Launch {
    pub(super) fn new(command: Command, working_dir: &Path, environment: &Environment) -> Self {
        let Command { program, args, cwd, env } = command;
        Self {
            name: program,
            args,
            cwd: cwd.map_or_else(|| working_dir.to_owned(), |cwd| working_dir.join(cwd)),
            variables: environment.with(env),
        }
    }

    /// The command for the system.
    ///
    /// The program is looked up here and not by the system: with a path, a start needs no copy of this process
    /// (`posix_spawn` and not `fork`), and a missing program is told from a missing folder.
    pub(super) fn command(&self) -> Result<std::process::Command, Error> {
        let path = self.find()?;
        let mut command = std::process::Command::new(path);
        command.arg0(&self.name).args(&self.args).env_clear().envs(&self.variables).current_dir(&self.cwd);
        Ok(command)
    }

    /// What went wrong in a start that failed with `cause`.
    pub(super) fn failure(&self, cause: io::Error) -> Error {
        match fs::metadata(&self.cwd) {
            Err(cwd) => return Error::at("start in", &self.cwd, cwd),
            Ok(cwd) if !cwd.is_dir() => return Error::NotADirectory { path: self.cwd.clone() },
            Ok(_) => {}
        }
        let program = Path::new(&self.name);
        match cause.kind() {
            io::ErrorKind::PermissionDenied => Error::PermissionDenied { path: program.to_owned() },
            // The program was there a moment ago, so the system speaks of what its first line or its header names.
            io::ErrorKind::NotFound => Error::io(
                format!("start {}", program.display()),
                io::Error::other("the interpreter or loader that it names is missing"),
            ),
            _ => Error::io(format!("start {}", program.display()), cause),
        }
    }

    /// The program's absolute path.
    fn find(&self) -> Result<PathBuf, Error> {
        let name = Path::new(&self.name);
        if self.name.is_empty() {
            return Err(Error::io("start a process", io::Error::other("the program's name is empty")));
        }
        if self.name.as_bytes().contains(&b'/') {
            let path = self.cwd.join(name);
            return match executable(&path) {
                Ok(()) => Ok(path),
                Err(cause) => Err(self.refused(name, cause)),
            };
        }
        let folders = self.variables.get(OsStr::new("PATH")).map_or(OsStr::new(DEFAULT_PATH), OsString::as_os_str);
        let mut refused = None;
        for folder in std::env::split_paths(folders) {
            // A relative folder, the empty one too, is below the one that the process starts in.
            let path = self.cwd.join(folder).join(name);
            match executable(&path) {
                Ok(()) => return Ok(path),
                Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => refused = Some(cause),
                Err(_) => {}
            }
        }
        Err(self.refused(name, refused.unwrap_or_else(|| io::ErrorKind::NotFound.into())))
    }

    fn refused(&self, name: &Path, cause: io::Error) -> Error {
        if !self.cwd.is_dir() {
            return self.failure(cause);
        }
        Error::at("start", name, cause)
    }
}

fn executable(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.is_dir() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(rustix::fs::access(path, Access::EXEC_OK)?)
}
