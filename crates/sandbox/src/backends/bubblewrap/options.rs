//! What bubblewrap is told.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    path::{Component, Path},
};

use super::stage::Sources;
use crate::{Error, Spec, Volume};

/// The user and group that a box's processes are inside: an ordinary one, since some programs refuse to work as root or
/// do more than they should, and nothing that root is needed for is possible in the box anyway.
pub(super) const USER: &str = "1000";

/// Its home.
pub(super) const HOME: &str = "/home/agent";

/// The program's place.
pub(super) const PROGRAM: &str = "/.longshore/longshore";

/// Where programs are looked for.
const PATH: &str = "/home/agent/.local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What holds for every box. Namespaces in the box are off as they are in other containers: they open much of the system
/// to whoever looks for a hole in it.
const ISOLATION: [&str; 17] = [
    "--unshare-user",
    "--disable-userns",
    "--uid",
    USER,
    "--gid",
    USER,
    "--unshare-pid",
    "--unshare-net",
    "--unshare-ipc",
    "--unshare-uts",
    "--unshare-cgroup-try",
    "--new-session",
    "--hostname",
    "box",
    "--chdir",
    "/",
    "--clearenv",
];

/// Memory that files in `/dev/shm` may take.
const SHARED_MEMORY: &str = "67108864";

/// Variables of a box, and bytes in one and in all: what the system lets a program begin with.
const VARIABLES: usize = 1000;
const VARIABLE_BYTES: usize = 96 << 10;
const ALL_VARIABLE_BYTES: usize = 1 << 20;

/// Options of bubblewrap, in the order in which it follows them.
#[derive(Debug)]
pub(super) struct Options {
    bytes: Vec<u8>,
    pub(super) sources: Sources,
}

impl Options {
    /// Those that every box has.
    pub(super) fn new(sources: Sources) -> Self {
        let mut options = Self { bytes: Vec::with_capacity(4096), sources };
        options.add(ISOLATION);
        options
    }

    /// Adds arguments. None of them holds a zero byte: paths and what the system said cannot, the rest was checked.
    pub(super) fn add<A: AsRef<OsStr>>(&mut self, arguments: impl IntoIterator<Item = A>) {
        for argument in arguments {
            self.bytes.extend(argument.as_ref().as_bytes().iter().filter(|byte| **byte != 0));
            self.bytes.push(0);
        }
    }

    /// Shows a folder or file of this machine, with what is mounted in it.
    pub(super) fn bind(&mut self, source: &Path, path: impl AsRef<Path>, read_only: bool) {
        let source = self.sources.find(source);
        self.bind_found(&source, path, read_only);
    }

    /// Shows what bubblewrap finds at `source`.
    pub(super) fn bind_found(&mut self, source: &Path, path: impl AsRef<Path>, read_only: bool) {
        let how = if read_only { "--ro-bind" } else { "--bind" };
        self.add([OsStr::new(how), source.as_os_str(), path.as_ref().as_os_str()]);
    }

    /// Puts a link at `path`.
    pub(super) fn link(&mut self, target: &Path, path: &Path) {
        self.add([OsStr::new("--symlink"), target.as_os_str(), path.as_os_str()]);
    }

    /// The processes and devices that a box sees.
    pub(super) fn system(&mut self) {
        self.add(["--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"]);
        self.add(["--perms", "1777", "--size", SHARED_MEMORY, "--tmpfs", "/dev/shm"]);
    }

    /// The variables of a box, those of its own last.
    pub(super) fn variables(&mut self, own: &BTreeMap<String, String>) {
        let fixed = [
            ("PATH", PATH),
            ("HOME", HOME),
            ("USER", "agent"),
            ("LOGNAME", "agent"),
            ("LANG", "C.UTF-8"),
            ("TERM", "xterm-256color"),
        ];
        let own = own.iter().map(|(name, value)| (&**name, &**value));
        for (name, value) in fixed.into_iter().chain(own) {
            self.add(["--setenv", name, value]);
        }
    }

    /// The folders of this machine that a box sees.
    pub(super) fn volumes(&mut self, volumes: &[Volume]) {
        for volume in volumes {
            self.bind(&volume.host, &volume.path, volume.read_only);
        }
    }

    /// The end of the options, in the form in which bubblewrap reads them from a file, and what they refer to.
    pub(super) fn finish(mut self) -> (Vec<u8>, Sources) {
        // What was made for mount points is memory, and nobody's to write to.
        self.add(["--remount-ro", "/"]);
        (self.bytes, self.sources)
    }
}

/// Whether a box can have such variables and volumes.
///
/// # Errors
/// [`Error::Invalid`] for variables that no program can have, and for a volume that is not there or would hide what the
/// box needs.
pub(super) fn check(spec: &Spec) -> Result<(), Error> {
    check_variables(spec)?;
    spec.volumes.iter().try_for_each(check_volume)
}

fn check_variables(spec: &Spec) -> Result<(), Error> {
    let invalid = |reason: String| Err(Error::Invalid(reason));
    if spec.env.len() > VARIABLES {
        return invalid(format!("{} variables are too many: a box has up to {VARIABLES}", spec.env.len()));
    }
    let mut all = 0;
    for (name, value) in &spec.env {
        if name.is_empty() || name.contains(['=', '\0']) {
            return invalid(format!("{name:?} cannot be the name of a variable"));
        }
        if value.contains('\0') {
            return invalid(format!("the value of the variable {name} holds a zero byte, which no variable can"));
        }
        if name.len() + value.len() > VARIABLE_BYTES {
            return invalid(format!("the variable {name} is longer than {VARIABLE_BYTES} bytes: put it into a file"));
        }
        all += name.len() + value.len();
    }
    if all > ALL_VARIABLE_BYTES {
        return invalid(format!(
            "the variables are longer than {ALL_VARIABLE_BYTES} bytes together: put some into files"
        ));
    }
    Ok(())
}

fn check_volume(volume: &Volume) -> Result<(), Error> {
    let Volume { host, path, .. } = volume;
    let plain = |path: &Path| {
        path.is_absolute() && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
    };
    if !plain(host) || !plain(path) {
        let which = if plain(host) { path } else { host };
        return Err(Error::Invalid(format!("the volume {}: write an absolute path without '..'", which.display())));
    }
    let hides = |own: &str| Path::new(own).starts_with(path) || (own != "/etc" && path.starts_with(own));
    if let Some(own) = ["/proc", "/dev", "/.longshore", "/etc"].into_iter().find(|own| hides(own)) {
        return Err(Error::Invalid(format!("a volume at {} would hide {own}: choose another path", path.display())));
    }
    if let Err(cause) = host.metadata() {
        return Err(Error::Invalid(format!("the volume {}: {cause}", host.display())));
    }
    Ok(())
}

/// The command that runs in a box: `boxd`, which listens on the descriptor `socket`.
pub(super) fn boxd(spec: &Spec, socket: i32, proxy_port: Option<u16>) -> Vec<OsString> {
    let mut command: Vec<OsString> = vec![PROGRAM.into(), "boxd".into(), "--working-dir".into()];
    command.push(spec.working_dir.clone().into());
    command.extend(["--fd".into(), socket.to_string().into()]);
    if let Some(port) = proxy_port {
        command.extend(["--proxy-port".into(), port.to_string().into()]);
    }
    command
}
