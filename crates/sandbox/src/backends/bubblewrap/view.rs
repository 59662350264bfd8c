//! The root that a box sees: this machine's programs, or a root file system that the operator gave a name.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::{
    options::{HOME, Options, PROGRAM},
    stage::SYSTEM,
};
use crate::Error;

/// What programs read in `/etc`, and holds nothing that is private to the machine.
const SETTINGS: [&str; 19] = [
    "alternatives",
    "bash.bashrc",
    "ca-certificates",
    "crypto-policies",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "os-release",
    "pki/ca-trust",
    "pki/tls/certs",
    "profile",
    "protocols",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
    "timezone",
];

/// What a box has in `/etc` instead of the machine's.
const OWN_SETTINGS: [(&str, &str); 5] = [
    (
        "passwd",
        "root:x:0:0:root:/root:/bin/sh\nagent:x:1000:1000:agent:/home/agent:/bin/sh\n\
         nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    ),
    ("group", "root:x:0:\nagent:x:1000:\nnogroup:x:65534:\n"),
    ("hosts", "127.0.0.1 localhost box\n::1 localhost ip6-localhost ip6-loopback\n"),
    ("hostname", "box\n"),
    ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n"),
];

/// What the box has of its own in the root, whatever the rest is.
const OWN: [&str; 7] = ["dev", "home", "proc", "run", "sys", "tmp", "workspace"];

/// Where [`OWN_SETTINGS`] are kept for all boxes.
pub(super) fn settings_dir(dir: &Path) -> PathBuf {
    dir.join("etc")
}

/// Writes [`OWN_SETTINGS`] down.
pub(super) fn write_settings(dir: &Path) -> io::Result<()> {
    let folder = settings_dir(dir);
    fs::create_dir_all(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    for (name, content) in OWN_SETTINGS {
        let (path, new) = (folder.join(name), folder.join(format!("{name}.new")));
        if fs::read_to_string(&path).is_ok_and(|current| current == content) {
            continue;
        }
        fs::write(&new, content)?;
        // Other users read it, whatever the server's files are like.
        fs::set_permissions(&new, fs::Permissions::from_mode(0o644))?;
        fs::rename(new, path)?;
    }
    Ok(())
}

/// Shows this machine's programs, with what they need in `/etc`. They are in the same place for bubblewrap.
pub(super) fn show_machine(options: &mut Options, dir: &Path) {
    for name in SYSTEM {
        let path = Path::new("/").join(name);
        show(options, &path, &path, &path);
    }
    for name in SETTINGS {
        let path = Path::new("/etc").join(name);
        show(options, &path, &path, &path);
    }
    let own = options.sources.find(&settings_dir(dir));
    for (name, _) in OWN_SETTINGS {
        options.bind_found(&own.join(name), Path::new("/etc").join(name), true);
    }
    options.add(["--dir", "/var"]);
}

/// Shows the root file system in the folder `root`, read-only: nothing in it would belong to the box's user.
pub(super) fn show_root(options: &mut Options, dir: &Path, root: &Path) -> Result<(), Error> {
    let failed = |cause: io::Error| Error::failed(format!("read the root file system {}", root.display()), cause);
    let found = options.sources.find(root);
    for entry in fs::read_dir(root).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if OWN.iter().any(|own| name == *own) {
            continue;
        }
        show(options, &root.join(&name), &found.join(&name), &Path::new("/").join(&name));
    }
    let own = options.sources.find(&settings_dir(dir));
    for (name, _) in OWN_SETTINGS {
        // Where the root has no such file, none can be put.
        let path = Path::new("etc").join(name);
        if root.join(&path).symlink_metadata().is_ok_and(|facts| facts.is_file()) {
            options.bind_found(&own.join(name), Path::new("/").join(path), true);
        }
    }
    Ok(())
}

/// Shows what the box keeps, and its program.
pub(super) fn show_own(options: &mut Options, disk: &Path, program: &Path, has_var_tmp: bool) {
    options.bind(&disk.join("workspace"), "/workspace", false);
    options.bind(&disk.join("home"), HOME, false);
    let tmp = options.sources.find(&disk.join("tmp"));
    options.bind_found(&tmp, "/tmp", false);
    if has_var_tmp {
        options.bind_found(&tmp, "/var/tmp", false);
    }
    options.bind(program, PROGRAM, true);
}

/// Shows `real`, which bubblewrap finds at `found`, at `path`: a link as a link. What is not there, or not for everybody,
/// is left out.
fn show(options: &mut Options, real: &Path, found: &Path, path: &Path) {
    match fs::read_link(real) {
        Ok(target) => options.link(&target, path),
        Err(_) if real.metadata().is_ok_and(|facts| facts.permissions().mode() & 0o004 != 0) => {
            options.bind_found(found, path, true);
        }
        Err(_) => {}
    }
}
