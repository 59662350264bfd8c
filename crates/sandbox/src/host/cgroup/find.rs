//! Which control groups this process may make.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::{Group, make, v1, v2, write};
use crate::{
    Error,
    host::mounts::{self, Mount},
};

/// The group that this process moves to, since a group of version 2 has processes or groups with limits, not both.
const LEAF: &str = "longshore-server";

/// The control groups of one deployment's boxes. When this is dropped, what is not in use goes.
#[derive(Debug)]
pub struct Cgroups {
    tree: Tree,
}

/// The folders that hold a folder for each box.
#[derive(Debug)]
enum Tree {
    V1(BTreeMap<&'static str, PathBuf>),
    V2(PathBuf),
}

impl Cgroups {
    /// Looks for control groups that this process may make, and makes one called `name` for those of all boxes.
    ///
    /// With version 2, this process moves to a group of its own inside the one it is in.
    ///
    /// # Errors
    /// Why there are none, and what to do.
    pub fn find(name: &str) -> Result<Self, String> {
        let read = |path: &str| fs::read_to_string(path).map_err(|cause| format!("{path} cannot be read: {cause}"));
        Self::find_in(name, &read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?)
    }

    /// As [`Cgroups::find`], in the trees that `mountinfo` lists and the groups that `membership` names, in the form of the
    /// files of these names in `/proc`.
    ///
    /// # Errors
    /// Why there are none, and what to do.
    pub fn find_in(name: &str, mountinfo: &str, membership: &str) -> Result<Self, String> {
        let mounts = mounts::parse(mountinfo);
        let v1 = v1_folders(&mounts, membership);
        if v1.is_empty() { find_v2(name, &mounts, membership) } else { find_v1(name, v1) }
    }

    /// The group of one box, which need not exist.
    pub fn group(&self, id: &str) -> Box<dyn Group> {
        match &self.tree {
            Tree::V1(folders) => {
                Box::new(v1::Folders(folders.iter().map(|(name, folder)| (*name, folder.join(id))).collect()))
            }
            Tree::V2(folder) => Box::new(v2::Folder(folder.join(id))),
        }
    }

    /// What the boxes' groups are called.
    pub fn names(&self) -> Vec<String> {
        let entries = self.folders().into_iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
        entries
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect()
    }

    /// The version: 1 or 2.
    pub fn version(&self) -> u8 {
        match self.tree {
            Tree::V1(_) => 1,
            Tree::V2(_) => 2,
        }
    }

    fn folders(&self) -> Vec<&PathBuf> {
        match &self.tree {
            Tree::V1(folders) => folders.values().collect(),
            Tree::V2(folder) => vec![folder],
        }
    }

    /// The limits that this machine cannot enforce.
    pub fn missing(&self) -> Vec<&'static str> {
        let has = |controller: &str| match &self.tree {
            Tree::V1(folders) => folders.contains_key(controller),
            Tree::V2(folder) => words(&parent(folder).join(CONTROL)).iter().any(|word| word == controller),
        };
        v2::CONTROLLERS.into_iter().filter(|controller| !has(controller)).collect()
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for folder in self.folders() {
            // One with boxes in it stays.
            let _ = fs::remove_dir(folder);
        }
    }
}

const CONTROL: &str = "cgroup.subtree_control";

/// The folder of this process's group for each controller that is in use with version 1.
fn v1_folders(mounts: &[Mount], membership: &str) -> BTreeMap<&'static str, PathBuf> {
    let mut folders = BTreeMap::new();
    for controller in v1::CONTROLLERS {
        let own = membership.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            controllers.split(',').any(|name| name == controller).then_some(path)
        });
        let trees =
            mounts.iter().filter(|mount| mount.kind == "cgroup" && mount.options.iter().any(|o| o == controller));
        if let Some(folder) = own.and_then(|own| own_folder(trees, own)) {
            folders.insert(controller, folder);
        }
    }
    folders
}

/// The folder of the group `own` in the first of `trees` that shows it.
fn own_folder<'m>(mut trees: impl Iterator<Item = &'m Mount>, own: &str) -> Option<PathBuf> {
    trees.find_map(|mount| {
        let below = Path::new(own).strip_prefix(&mount.root).ok()?;
        Some(mount.point.join(below)).filter(|folder| folder.is_dir())
    })
}

fn find_v1(name: &str, own: BTreeMap<&'static str, PathBuf>) -> Result<Cgroups, String> {
    let mut folders = BTreeMap::new();
    let mut refused = None;
    for (controller, folder) in own {
        let folder = folder.join(name);
        match make(&folder) {
            Ok(()) => {
                folders.insert(controller, folder);
            }
            Err(cause) => refused = Some(cause),
        }
    }
    match refused {
        Some(cause) if folders.is_empty() => {
            Err(format!("{cause}; with version 1 of control groups only root may make them"))
        }
        _ => Ok(Cgroups { tree: Tree::V1(folders) }),
    }
}

fn find_v2(name: &str, mounts: &[Mount], membership: &str) -> Result<Cgroups, String> {
    let own = membership.lines().find_map(|line| line.strip_prefix("0::"));
    let own = own.and_then(|own| own_folder(mounts.iter().filter(|mount| mount.kind == "cgroup2"), own));
    let own = own.ok_or("no tree of control groups is mounted at /sys/fs/cgroup")?;
    let own = if own.ends_with(LEAF) { parent(&own).to_owned() } else { own };
    let delegate = |cause: Error| {
        format!(
            "{cause}; as an ordinary user, run the server as a systemd service with Delegate=yes, or below systemd-run --user --scope -p Delegate=yes"
        )
    };
    let boxes = own.join(name);
    make(&boxes).map_err(delegate)?;
    let wanted = |folder: &Path| -> Vec<String> {
        let enabled = words(&folder.join(CONTROL));
        let mut there = words(&folder.join("cgroup.controllers"));
        there.retain(|word| v2::CONTROLLERS.contains(&&**word) && !enabled.contains(word));
        there
    };
    if !wanted(&own).is_empty() {
        leave(&own).map_err(delegate)?;
    }
    for folder in [&own, &boxes] {
        for controller in wanted(folder) {
            write(folder, CONTROL, format_args!("+{controller}")).map_err(delegate)?;
        }
    }
    let found = Cgroups { tree: Tree::V2(boxes) };
    match found.missing().as_slice() {
        [_, _, _] => {
            Err(format!("{} has no controller for memory, cpu or pids; delegate them: Delegate=yes", own.display()))
        }
        _ => Ok(found),
    }
}

/// Moves the processes of a group that is not the tree's root into a group inside it.
fn leave(own: &Path) -> Result<(), Error> {
    // The root alone has no such file, and may have processes beside groups.
    if !own.join("cgroup.type").exists() {
        return Ok(());
    }
    let leaf = own.join(LEAF);
    make(&leaf)?;
    for process in words(&own.join(super::MEMBERS)) {
        // One that has ended meanwhile needs no move.
        if let Err(cause) = write(&leaf, super::MEMBERS, &process)
            && Path::new("/proc").join(&process).exists()
        {
            return Err(cause);
        }
    }
    Ok(())
}

fn words(file: &Path) -> Vec<String> {
    fs::read_to_string(file).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

fn parent(folder: &Path) -> &Path {
    folder.parent().unwrap_or(folder)
}
