//! Folders that a box could write to, and how they go.

use std::{
    ffi::CString,
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fchmod, openat, renameat, unlinkat},
    io::Errno,
};

/// How many entries of a folder are looked at together.
const BATCH: usize = 4096;

/// Removes a folder with all that is in it; does nothing if it is not there.
///
/// Whoever filled it may have nested folders deeper than a path can be long or descriptors can be open. So a folder in
/// the folder is not entered: what is in it moves up beside it, until all is on one level. Links are never followed.
///
/// # Errors
/// What the system says.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    let top = match open(CWD, path) {
        Ok(top) => top,
        Err(Errno::NOENT) => return Ok(()),
        Err(cause) => return Err(cause.into()),
    };
    let mut moved = 0;
    // An entry that moves up while the list is read may be missed by it, so it is read until it is empty.
    while empty_once(&top, &mut moved)? {}
    std::fs::remove_dir(path)
}

/// Removes what is in `top`, with the contents of its folders moved up; whether anything was there.
fn empty_once(top: &OwnedFd, moved: &mut u64) -> io::Result<bool> {
    let mut any = false;
    for (name, kind) in entries(top)? {
        any = true;
        if kind != FileType::Directory {
            gone(unlinkat(top, &*name, AtFlags::empty()))?;
            continue;
        }
        let folder = open(top.as_fd(), &*name)?;
        while flatten(&folder, top, moved)? {}
        gone(unlinkat(top, &*name, AtFlags::REMOVEDIR))?;
    }
    Ok(any)
}

/// Removes the files in `folder` and moves its folders to `top`; whether anything was there.
fn flatten(folder: &OwnedFd, top: &OwnedFd, moved: &mut u64) -> io::Result<bool> {
    let found = entries(folder)?;
    for (name, kind) in &found {
        if *kind == FileType::Directory {
            // A folder that moves is written to, since it holds the name of the one above it.
            open(folder.as_fd(), &**name)?;
            rename_up(folder, name, top, moved)?;
        } else {
            gone(unlinkat(folder, &**name, AtFlags::empty()))?;
        }
    }
    Ok(!found.is_empty())
}

fn rename_up(from: &OwnedFd, name: &CString, top: &OwnedFd, moved: &mut u64) -> io::Result<()> {
    loop {
        *moved += 1;
        // A folder takes the place of an empty one only, so a name that is taken is skipped.
        match renameat(from, &**name, top, format!("moved-{moved}")) {
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
            result => return gone(result),
        }
    }
}

/// Opens a folder that its owner may have closed to itself.
fn open(at: BorrowedFd<'_>, path: impl rustix::path::Arg + Copy) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(at, path, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(at, path, Mode::RWXU, AtFlags::empty())?;
            openat(at, path, flags, Mode::empty())
        }
        Ok(folder) => {
            // It may be readable and yet not allow that anything in it is removed; another's folder need not be changed.
            let _ = fchmod(&folder, Mode::RWXU);
            Ok(folder)
        }
        refused => refused,
    }
}

/// Some of what is in a folder; nothing if it is empty.
fn entries(folder: &OwnedFd) -> io::Result<Vec<(CString, FileType)>> {
    let mut found = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if found.len() >= BATCH {
            break;
        }
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => {
                FileType::from_raw_mode(rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode)
            }
            kind => kind,
        };
        found.push((name.to_owned(), kind));
    }
    Ok(found)
}

/// Something that is gone already needs no removal.
fn gone(result: Result<(), Errno>) -> io::Result<()> {
    match result {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(cause) => Err(cause.into()),
    }
}
