//! The key that the server makes for itself.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use aws_lc_rs::rand;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use longshore_protocol::Secret;

use super::is_blank;
use crate::{Error, directory};

const NAME: &str = "secret.key";
const MAX_SIZE: u64 = 4096;

pub(super) fn load_or_create(directory: &Path) -> Result<Secret, Error> {
    match load(directory)? {
        Some(key) => Ok(key),
        None => create(directory),
    }
}

pub(super) fn load(directory: &Path) -> Result<Option<Secret>, Error> {
    let path = directory.join(NAME);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("open", path)(error)),
    };
    if file.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0) {
        tracing::warn!(path = %path.display(), "other users can read the secret key; run chmod 600 on it");
    }
    let mut text = String::new();
    file.take(MAX_SIZE + 1).read_to_string(&mut text).map_err(Error::io("read", &path))?;
    if text.len() as u64 > MAX_SIZE {
        return Err(Error::damaged(path.display(), format_args!("a key has at most {MAX_SIZE} bytes")));
    }
    if is_blank(&text) {
        return Err(Error::damaged(path.display(), "the file is empty"));
    }
    Ok(Some(Secret::new(text.trim())))
}

/// Makes the file complete or not at all. If another process made it meanwhile, that one counts.
fn create(directory: &Path) -> Result<Secret, Error> {
    directory::create(directory)?;
    let path = directory.join(NAME);
    let [key, draft] = [random_text(), random_text()];
    let draft = directory.join(format!("{NAME}.{draft}"));
    let written = write(&draft, &key).and_then(|()| match fs::hard_link(&draft, &path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied) => {
            fs::rename(&draft, &path)
        }
        other => other,
    });
    let _ = fs::remove_file(&draft);
    written.map_err(Error::io("create", &path))?;
    directory::flush(directory)?;
    load(directory)?.ok_or_else(|| Error::damaged(path.display(), "it vanished while it was made"))
}

fn random_text() -> String {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).expect("the operating system has random bytes");
    URL_SAFE_NO_PAD.encode(bytes)
}

fn write(path: &Path, key: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(key.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}
