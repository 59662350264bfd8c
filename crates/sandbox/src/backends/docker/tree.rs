//! Folders whose content somebody hostile has made: as deep as they like, and changing meanwhile.

use std::{collections::HashSet, ffi::CStr, io, os::fd::OwnedFd, path::Path};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags},
    io::Errno,
    path::Arg,
};
use uuid::Uuid;

/// How deep a tree may be to be measured; each level takes a descriptor. No program that means well gets near.
const DEPTH_LIMIT: usize = 256;
/// How many entries are measured at most; the rest is not counted.
const ENTRY_LIMIT: u64 = 5_000_000;

/// Bytes on disk below `path`, which may be missing. A tree that is too deep to be measured counts as boundless.
pub(super) fn measure(path: &Path) -> io::Result<u64> {
    let root = match open_dir(CWD, path) {
        Err(Errno::NOENT) => return Ok(0),
        root => root?,
    };
    let mut levels = vec![Dir::new(root)?];
    let mut linked = HashSet::new();
    let (mut bytes, mut entries) = (0, 0);
    while let Some(dir) = levels.last_mut() {
        let Some(entry) = dir.read() else {
            levels.pop();
            continue;
        };
        // What goes away meanwhile is not counted.
        let Ok(entry) = entry else { continue };
        if is_dots(entry.file_name()) {
            continue;
        }
        let parent = dir.fd()?;
        let Ok(stat) = rustix::fs::statat(parent, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let is_dir = FileType::from_raw_mode(stat.st_mode).is_dir();
        if is_dir || stat.st_nlink == 1 || linked.insert(stat.st_ino) {
            bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        }
        entries += 1;
        if entries == ENTRY_LIMIT {
            return Ok(bytes);
        }
        if is_dir && let Ok(inner) = open_dir(parent, entry.file_name()) {
            if levels.len() == DEPTH_LIMIT {
                return Ok(u64::MAX);
            }
            levels.push(Dir::new(inner)?);
        }
    }
    Ok(bytes)
}

/// Removes a folder with all that is in it; does nothing if it is not there.
///
/// A folder inside another is first moved up beside it, so that neither the stack nor the descriptors grow with the depth.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let root = match open_dir(CWD, path) {
        Err(Errno::NOENT) => return Ok(()),
        root => root?,
    };
    loop {
        let mut is_empty = true;
        for_each(&root, |name| {
            is_empty = false;
            if unlink(&root, name)? {
                return Ok(());
            }
            let folder = open_dir(&root, name)?;
            for_each(&folder, |inner| {
                if unlink(&folder, inner)? {
                    return Ok(());
                }
                rustix::fs::renameat(&folder, inner, &root, Uuid::new_v4().simple().to_string())
            })?;
            rustix::fs::unlinkat(&root, name, AtFlags::REMOVEDIR)
        })?;
        if is_empty {
            return std::fs::remove_dir(path);
        }
    }
}

/// Removes a file or an empty folder. False: it is a folder with something in it.
fn unlink(parent: &OwnedFd, name: &CStr) -> Result<bool, Errno> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY) => Ok(false),
            result => result.map(|()| true),
        },
        result => result.map(|()| true),
    }
}

fn for_each(folder: &OwnedFd, mut visit: impl FnMut(&CStr) -> Result<(), Errno>) -> Result<(), Errno> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if !is_dots(entry.file_name()) {
            visit(entry.file_name())?;
        }
    }
    Ok(())
}

fn is_dots(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

fn open_dir(parent: impl std::os::fd::AsFd, name: impl Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_tree_of_any_depth_is_measured_and_removed() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("root");
        fs::create_dir(&root).unwrap();
        assert_eq!(measure(&root).unwrap(), 0);
        fs::write(root.join("file"), vec![1; 1 << 20]).unwrap();
        fs::hard_link(root.join("file"), root.join("the same file")).unwrap();
        std::os::unix::fs::symlink("/", root.join("elsewhere")).unwrap();
        let measured = measure(&root).unwrap();
        assert!((1 << 20..1 << 21).contains(&measured), "{measured}");

        let mut folder = open_dir(CWD, root.as_path()).unwrap();
        for _ in 0..5_000 {
            rustix::fs::mkdirat(&folder, "deeper", Mode::RWXU).unwrap();
            folder = open_dir(&folder, "deeper").unwrap();
        }
        assert_eq!(measure(&root).unwrap(), u64::MAX);

        remove(&root).unwrap();
        assert!(!root.exists());
        remove(&root).unwrap();
        assert_eq!(measure(&root).unwrap(), 0);
    }
}
