//! The file system on a disk.
//!
//! Without a journal: after a crash of the machine the check at the next mount mends it, and what a box was just writing
//! is lost either way. It saves a tenth of a small disk and half of the writes.

use std::{ffi::OsStr, fs::File, io, os::unix::fs::FileExt as _, path::Path};

use super::tool;

/// Where the description of the file system begins, and where its parts are from there.
const SUPERBLOCK: u64 = 1024;
const BLOCKS_LOW: usize = 0x04;
const BLOCK_SIZE: usize = 0x18;
const MAGIC: usize = 0x38;
const BLOCKS_HIGH: usize = 0x150;

pub(super) fn make(image: &Path, (user, group): (u32, u32)) -> io::Result<()> {
    let owner = format!("root_owner={user}:{group}");
    let args = ["-q", "-F", "-m", "0", "-O", "^has_journal", "-E", &owner].map(OsStr::new);
    succeed("mkfs.ext4", args.into_iter().chain([image.as_os_str()]), 0)
}

/// Mends what can be mended without a question; `fully` also when it was left in order, which a change of size wants.
pub(super) fn check(image: &Path, fully: bool) -> io::Result<()> {
    // The exit code 1 says that errors were corrected.
    succeed("e2fsck", [OsStr::new(if fully { "-fp" } else { "-p" }), image.as_os_str()], 1)
}

/// Makes the file system so many bytes large, on an image or on a device that is mounted.
pub(super) fn resize(target: &Path, bytes: u64) -> io::Result<()> {
    let kilobytes = format!("{}K", bytes / 1024);
    succeed("resize2fs", [target.as_os_str(), OsStr::new(&kilobytes)], 0)
}

/// Mounts through a loop device that goes with the mount. What is deleted gives its place back to the machine.
pub(super) fn mount(image: &Path, point: &Path) -> io::Result<()> {
    let args = ["-t", "ext4", "-o", "loop,nodev,nosuid,discard"].map(OsStr::new);
    succeed("mount", args.into_iter().chain([image.as_os_str(), point.as_os_str()]), 0)
}

/// The bytes of the file system.
pub(super) fn size(image: &Path) -> io::Result<u64> {
    let (blocks, block_size) = geometry(image)?;
    Ok(blocks * block_size)
}

/// The largest size of the file system in so many bytes.
pub(super) fn rounded(image: &Path, bytes: u64) -> io::Result<u64> {
    let (_, block_size) = geometry(image)?;
    Ok(bytes / block_size * block_size)
}

fn geometry(image: &Path) -> io::Result<(u64, u64)> {
    let mut block = [0; 1024];
    File::open(image)?.read_exact_at(&mut block, SUPERBLOCK)?;
    let number = |at: usize| u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    if block[MAGIC..MAGIC + 2] != [0x53, 0xef] {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no ext4 file system"));
    }
    let blocks = u64::from(number(BLOCKS_HIGH)) << 32 | u64::from(number(BLOCKS_LOW));
    Ok((blocks, 1024 << number(BLOCK_SIZE).min(6)))
}

fn succeed<A: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = A>, highest: i32) -> io::Result<()> {
    let (code, words) = tool::run(program, args)?;
    if (0..=highest).contains(&code) {
        return Ok(());
    }
    Err(io::Error::other(format!("{program} ended with {code}: {words}")))
}
