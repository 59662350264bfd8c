//! How much is in a folder.

use std::{
    ffi::CString,
    io,
    os::fd::OwnedFd,
    path::Path,
    time::{Duration, Instant},
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, StatxFlags, fstat, openat, statx},
    io::Errno,
};

/// What was counted in a folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// How many bytes the files take on disk, as far as they were seen.
    pub bytes: u64,
    /// Whether all were seen.
    pub is_complete: bool,
}

/// How many bytes the files in a folder take. What cannot be counted in five times `limit` either, after a first try that
/// ends at `limit`, is told as more than any limit: whoever fills a folder must not hide behind how many files there are.
///
/// # Errors
/// What the system says of the folder itself.
pub fn folder_bytes(folder: &Path, limit: Duration) -> io::Result<u64> {
    for limit in [limit, limit * 5] {
        let count = folder_usage(folder, Instant::now() + limit)?;
        if count.is_complete {
            return Ok(count.bytes);
        }
    }
    tracing::warn!(folder = %folder.display(), "the files in a folder of a box cannot be counted in time");
    Ok(u64::MAX)
}

/// Counts the files in a folder until `deadline`, however deep they are. It is not complete if the time is over, if folders
/// were moved meanwhile, or if one cannot be read.
///
/// # Errors
/// What the system says of the folder itself.
pub fn folder_usage(folder: &Path, deadline: Instant) -> io::Result<Count> {
    // Whoever filled it may have nested folders deeper than descriptors can be open, so only one is. The way back is the
    // folder above, if that is still the one that was left: it may have been moved to where nothing is to be counted.
    let mut here = enter(CWD, folder)?;
    let mut count = Count { bytes: 0, is_complete: true };
    let mut levels = vec![Level::read(&here, deadline, &mut count)?];
    while let Some(level) = levels.last_mut() {
        if Instant::now() >= deadline {
            count.is_complete = false;
            break;
        }
        if let Some(name) = level.folders.pop() {
            match enter(&here, name.as_c_str()) {
                Ok(inner) => {
                    levels.push(Level::read(&inner, deadline, &mut count)?);
                    here = inner;
                }
                // What vanishes meanwhile counts nothing.
                Err(Errno::NOENT) => {}
                Err(_) => count.is_complete = false,
            }
            continue;
        }
        levels.pop();
        let Some(above) = levels.last() else { break };
        here = enter(&here, c"..")?;
        if identity(&fstat(&here)?) != above.identity {
            count.is_complete = false;
            break;
        }
    }
    Ok(count)
}

/// A folder on the way down.
struct Level {
    identity: (u64, u64),
    /// Those in it that are not counted yet.
    folders: Vec<CString>,
}

impl Level {
    /// Counts what is in a folder itself.
    fn read(folder: &OwnedFd, deadline: Instant, count: &mut Count) -> io::Result<Self> {
        let mut level = Self { identity: identity(&fstat(folder)?), folders: Vec::new() };
        for entry in Dir::read_from(folder)? {
            if Instant::now() >= deadline {
                count.is_complete = false;
                break;
            }
            let Ok(entry) = entry else {
                count.is_complete = false;
                break;
            };
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let wanted = StatxFlags::MODE | StatxFlags::NLINK | StatxFlags::BLOCKS;
            let Ok(facts) = statx(folder, name, AtFlags::SYMLINK_NOFOLLOW, wanted) else { continue };
            let taken = facts.stx_blocks * 512;
            if FileType::from_raw_mode(facts.stx_mode.into()) == FileType::Directory {
                count.bytes += taken;
                level.folders.push(name.to_owned());
            } else {
                count.bytes += taken / u64::from(facts.stx_nlink.max(1));
            }
        }
        Ok(level)
    }
}

fn identity(facts: &Stat) -> (u64, u64) {
    (facts.st_dev, facts.st_ino)
}

fn enter(at: impl std::os::fd::AsFd, path: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    openat(at, path, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}
