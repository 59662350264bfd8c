//! Boxes, as this machine knows them. Everything here may wait, and runs where that holds nobody up.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::OnceLock,
    time::Duration,
};

use longshore_protocol::sandbox::ByteSize;
use parking_lot::{Mutex, MutexGuard};
use rustix::process::Pid;

use super::{
    Options,
    folder::{self, Folder},
    launch::Log,
    options,
    processes::{self, Marked, Tree, halt},
    users::Users,
};
use crate::{
    Deployment, Error, Found, Limits, Running, SandboxId, Spec, Stats,
    host::{
        cgroup::{Cgroups, Group, Usage},
        disk::{Disk, Resized, folder_bytes},
        end_all,
    },
};

/// How long a box's files are counted at first.
const COUNT_LIMIT: Duration = Duration::from_secs(2);

/// The processes of bubblewrap itself, which a box's limit leaves out.
const OWN_PROCESSES: u32 = 2;

/// The processes and threads of a box without a limit: those of all boxes are numbers of the one machine, and a program that
/// only starts itself must not take them all.
const USUAL_PROCESSES: u32 = 4096;

/// Locks of boxes: two that share one wait for each other now and then.
const LOCKS: usize = 1024;

/// The boxes of one deployment.
#[derive(Debug)]
pub(super) struct Boxes {
    pub(super) deployment: Deployment,
    pub(super) bubblewrap: PathBuf,
    pub(super) users: Users,
    roots: BTreeMap<String, PathBuf>,
    cgroups: OnceLock<Result<Cgroups, String>>,
    disks: OnceLock<Result<(), String>>,
    locks: [Mutex<()>; LOCKS],
}

/// The processes of a box that runs: those of its control group, or those that descend from its first.
enum Live {
    Group(Box<dyn Group>),
    Tree(Pid),
}

impl Boxes {
    pub(super) fn new(deployment: Deployment, options: Options) -> Self {
        let users = Users::new(options.uids, &deployment.dir);
        Self {
            users,
            roots: options.roots,
            bubblewrap: options.program,
            deployment,
            cgroups: OnceLock::new(),
            disks: OnceLock::new(),
            locks: [const { Mutex::new(()) }; LOCKS],
        }
    }

    /// Whether there could be such a box.
    pub(super) fn validate(&self, spec: &Spec) -> Result<(), Error> {
        options::check(spec)?;
        self.root(spec).map(drop)
    }

    /// Makes what outlives a box's processes.
    pub(super) fn create(&self, id: SandboxId, spec: &Spec) -> Result<(), Error> {
        let _lock = self.lock(id);
        // What cannot start is not made.
        self.validate(spec)?;
        let folder = self.folder(id);
        let user = self.users.of(id)?;
        folder.create(user)?;
        let disk = folder.limited_disk();
        if let Some(bytes) = spec.limits.disk
            && self.try_disks().is_ok()
        {
            disk.create(bytes, (user.unwrap_or(0), user.unwrap_or(0)))?;
        }
        if disk.exists() {
            disk.mount(spec.limits.disk)?;
        }
        folder.furnish(user)
    }

    /// What stands in for control groups in a box that has just come up.
    pub(super) fn limit_without_group(&self, id: SandboxId, limits: &Limits) {
        if self.cgroups().is_none()
            && let Some(Live::Tree(init)) = self.live(id, &self.folder(id))
        {
            Tree::of(init).limit(&bounded(limits));
        }
    }

    /// Halts a box or lets it go on.
    pub(super) fn halt(&self, id: SandboxId, halted: bool) -> Result<(), Error> {
        let _lock = self.lock(id);
        match self.live(id, &self.existing(id)?) {
            Some(Live::Group(group)) => group.freeze(halted),
            Some(Live::Tree(init)) => {
                halt(init, halted);
                Ok(())
            }
            None => Err(Error::Gone("it does not run".to_owned())),
        }
    }

    /// Ends a box's processes, and what they had.
    pub(super) fn stop(&self, id: SandboxId) -> Result<(), Error> {
        let _lock = self.lock(id);
        let folder = self.folder(id);
        self.end(id, &folder)?;
        if folder.exists() { folder.limited_disk().unmount() } else { Ok(()) }
    }

    /// Removes a box.
    pub(super) fn destroy(&self, id: SandboxId) -> Result<(), Error> {
        let _lock = self.lock(id);
        let folder = self.folder(id);
        self.end(id, &folder)?;
        folder.remove()?;
        self.users.free(id);
        Ok(())
    }

    pub(super) fn set_limits(&self, id: SandboxId, limits: &Limits) -> Result<(), Error> {
        let _lock = self.lock(id);
        let folder = self.existing(id)?;
        let disk = folder.limited_disk();
        if let Some(bytes) = limits.disk
            && disk.exists()
            && disk.resize(bytes)? == Resized::AtNextMount
        {
            tracing::info!(%id, "a disk gets its new size when its box is started the next time");
        }
        match self.live(id, &folder) {
            Some(Live::Group(group)) => group.limit(&with_own(limits)),
            Some(Live::Tree(init)) => {
                Tree::of(init).limit(&bounded(limits));
                Ok(())
            }
            // The next start sets them.
            None => Ok(()),
        }
    }

    pub(super) fn stats(&self, id: SandboxId) -> Result<Stats, Error> {
        let folder = self.existing(id)?;
        let usage = match self.live(id, &folder) {
            Some(Live::Group(group)) => group.usage(),
            Some(Live::Tree(init)) => Tree::of(init).usage(),
            None => Usage::default(),
        };
        let disk = folder.limited_disk();
        let disk_is_enforced = disk.exists();
        let used = if disk_is_enforced { disk.usage().ok() } else { folder_bytes(&folder.disk(), COUNT_LIMIT).ok() };
        Ok(Stats { memory: usage.memory, cpu_micros: usage.cpu_micros, pids: usage.pids, disk: used, disk_is_enforced })
    }

    /// All boxes, with a process of each that runs.
    pub(super) fn list(&self) -> Result<Vec<(Found, Option<Pid>)>, Error> {
        Disk::clear_trial(&self.deployment.dir)?;
        let mut ids: BTreeSet<_> = folder::ids(&self.deployment.dir)
            .map_err(|cause| Error::failed("list the boxes", cause))?
            .into_iter()
            .collect();
        let marked = self.marked();
        ids.extend(marked.iter().map(|process| process.id));
        if let Some(cgroups) = self.cgroups() {
            ids.extend(cgroups.names().iter().filter_map(|name| folder::id(name)));
        }
        let found = ids.into_iter().map(|id| {
            let own = || marked.iter().filter(move |process| process.id == id);
            let init = own().find(|process| process.is_init).map(|process| process.pid);
            let running = match init {
                None => Running::No,
                Some(init) if self.is_halted(id, init) => Running::Paused,
                Some(_) => Running::Yes,
            };
            // The one outside knows how the box ends; without it, the first one inside will do.
            let watched = own().find(|process| !process.is_init).map(|process| process.pid).or(init);
            (Found { id, running }, watched.filter(|_| init.is_some()))
        });
        Ok(found.collect())
    }

    /// Why a box ended: `status` is how, if it is known, and `log` what it said.
    pub(super) fn reason(
        &self,
        id: SandboxId,
        limits: Option<Limits>,
        status: Option<ExitStatus>,
        log: Option<&Log>,
    ) -> String {
        // Bubblewrap ends with this code when what runs in the box is killed.
        let was_killed = status.is_none_or(|status| status.code() == Some(137));
        let kills = || self.group(id, &self.folder(id)).map_or(0, |group| group.memory_kills());
        if was_killed && kills() > 0 {
            let limit = limits.and_then(|limits| limits.memory).map(|bytes| format!(" of {}", ByteSize(bytes)));
            return format!("it used more memory than its limit{}", limit.unwrap_or_default());
        }
        match (log.and_then(Log::last_line), status) {
            (Some(line), _) => format!("it ended: {line}"),
            (None, Some(status)) => format!("it ended with {}", in_words(status)),
            (None, None) => "it ended".to_owned(),
        }
    }

    /// Ends what is left of a box that ended by itself, unless it was started again meanwhile, as `is_over` tells.
    pub(super) fn clear(&self, id: SandboxId, is_over: impl Fn() -> bool) -> Result<(), Error> {
        let _lock = self.lock(id);
        if is_over() { self.kill(id, &self.folder(id)) } else { Ok(()) }
    }

    pub(super) fn folder(&self, id: SandboxId) -> Folder {
        Folder::new(&self.deployment.dir, id)
    }

    /// The control groups that boxes get, or why there are none. The first call looks for them.
    pub(super) fn find_cgroups(&self) -> &Result<Cgroups, String> {
        self.cgroups.get_or_init(|| {
            let found = Cgroups::find(&format!("longshore-{}", self.deployment.name));
            match found.as_ref().map(Cgroups::missing) {
                Ok(missing) if missing.is_empty() => {}
                Ok(missing) => tracing::warn!(?missing, "limits of these kinds do not hold for boxes on this machine"),
                Err(reason) => tracing::warn!(
                    reason,
                    "there are no control groups: limits of memory and processes hold for each process of a box alone, \
                     and limits of processor time do not hold"
                ),
            }
            found
        })
    }

    /// Whether a disk can have a limit, or why not. The first call tries it.
    pub(super) fn try_disks(&self) -> &Result<(), String> {
        self.disks.get_or_init(|| {
            let dir = &self.deployment.dir;
            let made = std::fs::create_dir_all(dir).map_err(|cause| format!("{}: {cause}", dir.display()));
            let tried = made.and_then(|()| Disk::try_in(dir));
            if let Err(reason) = &tried {
                tracing::warn!(reason, "limits of disks do not hold by themselves on this machine");
            }
            tried
        })
    }

    pub(super) fn cgroups(&self) -> Option<&Cgroups> {
        self.find_cgroups().as_ref().ok()
    }

    /// The root file system that is asked for; none if it is this machine's.
    pub(super) fn root(&self, spec: &Spec) -> Result<Option<&Path>, Error> {
        let Some(name) = &spec.image else { return Ok(None) };
        if let Some(root) = self.roots.get(name) {
            return Ok(Some(root));
        }
        let known: Vec<_> = self.roots.keys().map(String::as_str).collect();
        let known =
            if known.is_empty() { "none is set up".to_owned() } else { format!("there are {}", known.join(", ")) };
        Err(Error::Invalid(format!("there is no root file system called {name}: {known}")))
    }

    pub(super) fn existing(&self, id: SandboxId) -> Result<Folder, Error> {
        let folder = self.folder(id);
        if folder.exists() { Ok(folder) } else { Err(Error::Gone(format!("there is no box {id}"))) }
    }

    /// The box's control group, whether or not it is there; none if there are no control groups.
    fn group(&self, id: SandboxId, folder: &Folder) -> Option<Box<dyn Group>> {
        folder.group().or_else(|| Some(self.cgroups()?.group(&id.to_string())))
    }

    /// Ends a box's processes and removes its control group and its socket.
    pub(super) fn end(&self, id: SandboxId, folder: &Folder) -> Result<(), Error> {
        self.kill(id, folder)?;
        if let Some(group) = self.group(id, folder) {
            group.remove()?;
        }
        folder.remove_socket();
        Ok(())
    }

    fn kill(&self, id: SandboxId, folder: &Folder) -> Result<(), Error> {
        let Some(group) = self.group(id, folder).filter(|group| group.exists()) else {
            return end_all(|| self.marked_of(id), || ());
        };
        group.kill();
        let thaw = || {
            let _ = group.freeze(false);
        };
        end_all(|| group.processes(), thaw)?;
        // Those that a group of another server has, or none.
        end_all(|| self.marked_of(id), || ())
    }

    fn marked_of(&self, id: SandboxId) -> HashSet<Pid> {
        self.marked().into_iter().filter(|process| process.id == id).map(|process| process.pid).collect()
    }

    fn marked(&self) -> Vec<Marked> {
        processes::marked(&self.deployment.name, &self.users)
    }

    /// What runs of a box. A look into its control group is enough for most.
    fn live(&self, id: SandboxId, folder: &Folder) -> Option<Live> {
        match self.group(id, folder).filter(|group| !group.processes().is_empty()) {
            Some(group) => Some(Live::Group(group)),
            None => Some(Live::Tree(self.marked().into_iter().find(|it| it.id == id && it.is_init)?.pid)),
        }
    }

    fn is_halted(&self, id: SandboxId, init: Pid) -> bool {
        match self.group(id, &self.folder(id)).filter(|group| !group.processes().is_empty()) {
            Some(group) => group.is_frozen(),
            None => Tree::of(init).is_halted(),
        }
    }

    pub(super) fn lock(&self, id: SandboxId) -> MutexGuard<'_, ()> {
        let [.., high, low] = id.0.into_bytes();
        self.locks[usize::from(u16::from_be_bytes([high, low])) % LOCKS].lock()
    }
}

pub(super) fn with_own(limits: &Limits) -> Limits {
    Limits { pids: bounded(limits).pids.map(|pids| pids.saturating_add(OWN_PROCESSES)), ..*limits }
}

/// The same limits, with one of processes in any case.
fn bounded(limits: &Limits) -> Limits {
    Limits { pids: limits.pids.or(Some(USUAL_PROCESSES)), ..*limits }
}

fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}
