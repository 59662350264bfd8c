//! How much is in a folder.

use std::{io, os::fd::OwnedFd, path::Path, time::Instant};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, StatxFlags, openat, statx};

/// How deep folders are entered. Each level holds a descriptor.
const DEPTH: usize = 128;

/// How many bytes the files in a folder take on disk, counted until `deadline`. What is deeper than 128 folders is not seen,
/// so this tells of use, and is no barrier.
///
/// # Errors
/// What the system says of the folder itself.
pub fn folder_usage(folder: &Path, deadline: Instant) -> io::Result<u64> {
    let mut bytes = 0;
    let mut open = vec![Dir::new(enter(CWD, folder)?)?];
    while let Some(here) = open.last_mut() {
        if Instant::now() >= deadline {
            break;
        }
        let Some(Ok(entry)) = here.read() else {
            open.pop();
            continue;
        };
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        // What vanishes meanwhile counts nothing.
        let wanted = StatxFlags::MODE | StatxFlags::NLINK | StatxFlags::BLOCKS;
        let Ok(facts) = statx(here.fd()?, name, AtFlags::SYMLINK_NOFOLLOW, wanted) else { continue };
        let taken = facts.stx_blocks * 512;
        if FileType::from_raw_mode(facts.stx_mode.into()) != FileType::Directory {
            bytes += taken / u64::from(facts.stx_nlink.max(1));
            continue;
        }
        bytes += taken;
        if open.len() < DEPTH
            && let Some(here) = open.last()
            && let Ok(inner) = enter(here.fd()?, name)
        {
            open.push(Dir::new(inner)?);
        }
    }
    Ok(bytes)
}

fn enter(at: impl std::os::fd::AsFd, path: impl rustix::path::Arg) -> Result<OwnedFd, rustix::io::Errno> {
    openat(at, path, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}
