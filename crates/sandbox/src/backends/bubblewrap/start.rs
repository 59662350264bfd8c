//! The start of a box.

use std::{io, os::fd::AsRawFd as _};

use longshore_workspace::boxd::PROXY_PORT;
use tokio::process::Child;

use super::{
    boxes::{Boxes, with_own},
    folder::Folder,
    launch::{Launch, Log, memory_file},
    options::{self, Options},
    processes, seccomp,
    stage::{Sources, Stage},
    view,
};
use crate::{Error, Limits, Network, SandboxId, Spec, host::cgroup::Group};

impl Boxes {
    /// Starts a box. Nothing of an earlier run is left then.
    pub(super) fn start(&self, id: SandboxId, spec: &Spec) -> Result<(Child, Log), Error> {
        let _lock = self.lock(id);
        let folder = self.existing(id)?;
        if folder.has_socket() {
            self.end(id, &folder)?;
        }
        let user = self.users.of(id)?;
        let disk = folder.limited_disk();
        if disk.exists() {
            disk.mount_anew(spec.limits.disk)?;
        }
        let failed = |cause: io::Error| Error::failed("start a box", cause);
        self.validate(spec)?;
        view::write_settings(&self.deployment.dir).map_err(failed)?;
        let listener = folder.listen().map_err(failed)?;
        let seccomp = memory_file("seccomp", &seccomp::filter()).map_err(failed)?;
        let mut options = self.options(id, spec)?;
        options.add(["--seccomp", &seccomp.as_raw_fd().to_string()]);
        let (options, sources) = options.finish();
        let stage = match sources {
            Sources::Direct => None,
            Sources::Staged(sources) => Some(Stage::new(&folder.stage(), &self.bubblewrap, &sources).map_err(failed)?),
        };
        let entrances = match self.new_group(id, &folder, &spec.limits)? {
            Some(group) => group.entrances(),
            None => Vec::new(),
        };
        let proxy_port = (spec.network != Network::Closed).then_some(PROXY_PORT);
        let launch = Launch {
            bubblewrap: &self.bubblewrap,
            mark: processes::mark(&self.deployment.name, id),
            options,
            command: options::boxd(spec, listener.as_raw_fd(), proxy_port),
            inherited: vec![listener.into(), seccomp],
            entrances,
            stage,
            user,
        };
        launch.start().map_err(failed)
    }

    /// What a box of `spec` is told, up to what is only known at its start.
    fn options(&self, id: SandboxId, spec: &Spec) -> Result<Options, Error> {
        let sources = match self.users.of(id)? {
            None => Sources::Direct,
            Some(_) => Sources::Staged(Vec::new()),
        };
        let (dir, folder) = (&self.deployment.dir, self.folder(id));
        let mut options = Options::new(sources);
        options.variables(&spec.env);
        let has_var_tmp = match self.root(spec)? {
            None => {
                view::show_machine(&mut options, dir);
                true
            }
            Some(root) => {
                view::show_root(&mut options, dir, root)?;
                root.join("var/tmp").is_dir()
            }
        };
        options.system();
        view::show_own(&mut options, &folder.disk(), &self.deployment.program, has_var_tmp);
        options.volumes(&spec.volumes);
        Ok(options)
    }

    /// A control group with limits for a box that is about to start.
    fn new_group(&self, id: SandboxId, folder: &Folder, limits: &Limits) -> Result<Option<Box<dyn Group>>, Error> {
        let Some(cgroups) = self.cgroups() else { return Ok(None) };
        let group = cgroups.group(&id.to_string());
        folder.record(&*group)?;
        group.create()?;
        group.limit(&with_own(limits))?;
        Ok(Some(group))
    }
}
