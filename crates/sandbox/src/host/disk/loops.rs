//! Loop devices: files that stand for disks.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::{ext4, tool};

/// Makes the file system at `point` as large as its file, while it is in use.
pub(super) fn grow(point: &Path) -> io::Result<()> {
    let number = fs::metadata(point)?.dev();
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let name = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}"))?;
    let name = name.file_name().ok_or(io::ErrorKind::NotFound)?;
    let device = Path::new("/dev").join(name);
    // The device learns of the file's size, and then the file system of the device's.
    let (code, words) = tool::run("losetup", ["-c".as_ref(), device.as_os_str()])?;
    if code != 0 {
        return Err(io::Error::other(words));
    }
    let sectors = fs::read_to_string(Path::new("/sys/class/block").join(name).join("size"))?;
    let sectors: u64 = sectors.trim().parse().map_err(io::Error::other)?;
    ext4::resize(&device, sectors * 512)
}

/// Waits until no loop device has `image`: the last mount, which may be in a namespace that is just going, is gone then.
pub(super) fn wait_until_free(image: &Path, deadline: Instant) -> io::Result<()> {
    let image = fs::canonicalize(image)?;
    while backing_files().any(|file| file == image) {
        if Instant::now() >= deadline {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "the disk is still in use"));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// The files behind the loop devices.
fn backing_files() -> impl Iterator<Item = PathBuf> {
    let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    devices.filter_map(|device| {
        let file = fs::read_to_string(device.path().join("loop/backing_file")).ok()?;
        Some(PathBuf::from(file.trim_end_matches('\n')))
    })
}
