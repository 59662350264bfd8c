//! Disks of a fixed size, and folders that are counted.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use longshore_sandbox::{
    Error,
    host::disk::{Count, Disk, Resized, folder_bytes, folder_usage},
};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

/// A disk in a folder of its own, unmounted in the end.
struct Place {
    folder: TempDir,
    disk: Disk,
}

impl Place {
    /// None where there can be no disks: only root can mount them.
    fn new() -> Option<Self> {
        let folder = TempDir::new().expect("a folder");
        Disk::try_in(folder.path()).ok()?;
        let disk = Disk::new(folder.path().join("disk.img"), folder.path().join("disk"));
        Some(Self { folder, disk })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("disk").join(name)
    }

    /// Writes until the disk is full, and says how much that was.
    fn fill(&self, name: &str) -> u64 {
        let mut file = File::create(self.path(name)).expect("a file");
        let (mut written, block) = (0, vec![7; 65536]);
        loop {
            match file.write_all(&block).and_then(|()| file.sync_data()) {
                Ok(()) => written += 65536,
                Err(cause) => {
                    assert_eq!(cause.kind(), io::ErrorKind::StorageFull);
                    return written;
                }
            }
            assert!(written < 1 << 30, "nothing stops it");
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let removed = self.disk.remove();
        assert!(removed.is_ok() || std::thread::panicking(), "{removed:?}");
    }
}

#[test]
fn a_disk_is_full_at_its_limit_and_grows_without_loss() {
    let Some(place) = Place::new() else { return };
    let disk = &place.disk;
    assert!(!disk.exists() && !disk.is_mounted());
    disk.create(16 * MIB, (0, 0)).expect("a disk");
    disk.create(99 * MIB, (0, 0)).expect("the same disk");
    disk.mount(Some(16 * MIB)).expect("a mount");
    disk.mount(Some(16 * MIB)).expect("the same mount");
    let written = place.fill("first");
    assert!((8 * MIB..=16 * MIB).contains(&written), "{written}");
    assert!(disk.usage().expect("it is mounted") >= written);

    disk.unmount().expect("no mount");
    disk.unmount().expect("still none");
    assert!(disk.exists() && !disk.is_mounted() && !place.path("first").exists());
    disk.usage().expect_err("nothing to look at");
    assert_eq!(disk.resize(32 * MIB).expect("a bigger one"), Resized::Now);
    disk.mount(None).expect("a mount");
    assert_eq!(fs::metadata(place.path("first")).expect("it was kept").len() / 65536 * 65536, written);
    assert!(place.fill("second") >= 8 * MIB);
}

#[test]
fn a_mounted_disk_has_its_new_size_now_or_at_its_next_mount() {
    let Some(place) = Place::new() else { return };
    let disk = &place.disk;
    disk.create(16 * MIB, (0, 0)).expect("a disk");
    disk.mount(None).expect("a mount");
    let resized = disk.resize(32 * MIB).expect("a bigger one");
    if resized == Resized::AtNextMount {
        disk.unmount().expect("no mount");
        disk.mount(Some(32 * MIB)).expect("a mount");
    }
    assert!(place.fill("file") >= 20 * MIB);
}

#[test]
fn a_mounted_disk_that_nobody_uses_gets_its_new_size_when_somebody_is_about_to() {
    let Some(place) = Place::new() else { return };
    let disk = &place.disk;
    disk.create(16 * MIB, (0, 0)).expect("a disk");
    disk.mount(None).expect("a mount");
    disk.resize(32 * MIB).expect("a bigger one");
    disk.mount(Some(32 * MIB)).expect("the same mount");
    disk.mount_anew(Some(32 * MIB)).expect("a mount");
    disk.mount_anew(Some(32 * MIB)).expect("the same mount");
    assert!(place.fill("file") >= 20 * MIB);
    disk.mount_anew(Some(16 * MIB)).expect("as much as there was");
    assert!(disk.usage().expect("it is mounted") >= 20 * MIB);
}

#[test]
fn a_mounted_disk_keeps_its_file_whatever_its_size_was() {
    let Some(place) = Place::new() else { return };
    let (disk, image) = (&place.disk, place.folder.path().join("disk.img"));
    disk.create(16 * MIB, (0, 0)).expect("a disk");
    disk.mount(None).expect("a mount");
    disk.resize(64 * MIB).expect("a bigger one");
    assert_eq!(disk.resize(32 * MIB).expect("a smaller one"), Resized::AtNextMount);
    assert_eq!(fs::metadata(&image).expect("the image").len(), 64 * MIB);
    disk.unmount().expect("no mount");
    disk.mount(Some(32 * MIB)).expect("a mount");
    let written = place.fill("file");
    assert!((20 * MIB..=32 * MIB).contains(&written), "{written}");
}

#[test]
fn what_a_trial_has_left_is_cleared() {
    let Some(place) = Place::new() else { return };
    let folder = place.folder.path();
    let trial = folder.join(".disk-trial");
    for clear in [
        |folder: &Path| Disk::try_in(folder),
        |folder: &Path| Disk::clear_trial(folder).map_err(|error| error.to_string()),
    ] {
        fs::create_dir(&trial).expect("a folder");
        let left = Disk::new(trial.join("image"), trial.join("mount"));
        left.create(4 * MIB, (0, 0)).expect("a disk");
        left.mount(None).expect("a mount");
        clear(folder).expect("no trial is left");
        assert!(!trial.exists() && !left.is_mounted());
    }
    Disk::clear_trial(&folder.join("none")).expect("nothing to do");
}

#[test]
fn a_disk_shrinks_only_if_what_is_on_it_fits() {
    let Some(place) = Place::new() else { return };
    let disk = &place.disk;
    disk.create(64 * MIB, (0, 0)).expect("a disk");
    disk.mount(None).expect("a mount");
    fs::write(place.path("file"), vec![7; 24 << 20]).expect("a file");
    assert!(matches!(disk.resize(16 * MIB), Err(Error::Invalid(_))));
    assert_eq!(disk.resize(52 * MIB).expect("a smaller one"), Resized::AtNextMount);
    disk.unmount().expect("no mount");
    assert!(matches!(disk.resize(16 * MIB), Err(Error::Invalid(_))));
    assert!(matches!(disk.resize(1), Err(Error::Invalid(_))));
    disk.mount(Some(52 * MIB)).expect("a mount");
    assert_eq!(fs::read(place.path("file")).expect("it was kept"), vec![7; 24 << 20]);
    let written = place.fill("more");
    assert!(written < 28 * MIB, "{written}");
}

#[test]
fn what_is_deleted_goes_back_to_the_machine_and_a_crash_leaves_no_half_a_disk() {
    let Some(place) = Place::new() else { return };
    let (disk, image) = (&place.disk, place.folder.path().join("disk.img"));
    // What a server left that died while it made a disk.
    fs::write(image.with_extension("new"), "half a disk").expect("a file");
    disk.create(64 * MIB, (0, 0)).expect("a disk");
    disk.mount(None).expect("a mount");
    let taken = || {
        rustix::fs::sync();
        std::os::unix::fs::MetadataExt::blocks(&fs::metadata(&image).expect("the image")) * 512
    };
    fs::write(place.path("file"), vec![7; 32 << 20]).expect("a file");
    let full = taken();
    fs::remove_file(place.path("file")).expect("it is gone");
    disk.unmount().expect("no mount");
    assert!(full >= 32 * MIB && taken() < full - 24 * MIB, "{full} {}", taken());
}

#[test]
fn a_folder_is_counted_with_links_once_and_without_what_links_lead_to() {
    let folder = TempDir::new().expect("a folder");
    let inner = folder.path().join("a/b");
    fs::create_dir_all(&inner).expect("folders");
    fs::write(inner.join("file"), vec![7; 1 << 20]).expect("a file");
    fs::hard_link(inner.join("file"), folder.path().join("again")).expect("a link");
    std::os::unix::fs::symlink("/usr", folder.path().join("far")).expect("a link");
    let count = |seconds| folder_usage(folder.path(), Instant::now() + Duration::from_secs(seconds)).expect("a number");
    let Count { bytes, is_complete } = count(60);
    assert!(is_complete && (MIB..MIB + 100_000).contains(&bytes), "{bytes}");
    assert_eq!(count(0), Count { bytes: 0, is_complete: false });
    assert_eq!(folder_bytes(folder.path(), Duration::ZERO).expect("a number"), u64::MAX, "nobody hides behind a count");
}

#[test]
fn nothing_is_too_deep_to_be_counted() {
    let folder = TempDir::new().expect("a folder");
    let open = |at: &dyn std::os::fd::AsFd, name: &str| {
        rustix::fs::openat(at, name, rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).expect("a folder")
    };
    let mut here = open(&rustix::fs::CWD, folder.path().to_str().expect("text"));
    for _ in 0..500 {
        rustix::fs::mkdirat(&here, "d", rustix::fs::Mode::RWXU).expect("a folder");
        here = open(&here, "d");
    }
    let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
    let file = rustix::fs::openat(&here, "file", flags, rustix::fs::Mode::RWXU).expect("a file");
    File::from(file).write_all(&vec![7; 1 << 20]).expect("a file");
    let count = folder_usage(folder.path(), Instant::now() + Duration::from_mins(1)).expect("a number");
    assert!(count.is_complete && count.bytes >= MIB, "{count:?}");
}
