//! Who this server is to the boxes that it makes, over restarts, restored backups and copied data folders.

use std::{fs, io::Write as _, os::unix::fs::MetadataExt as _, path::Path};

use anyhow::{Context as _, Result, bail};
use longshore_store::{Owner, Store};
use serde_json::Value;
use uuid::Uuid;

/// The file with the deployment's name and the folder that it is the name for.
const NAME_FILE: &str = "deployment";
/// The file with the number of the latest start, beside the boxes; the setting has the same number in the database.
const START_FILE: &str = "start";
const START_SETTING: &str = "latest_start";

/// The deployment's name, so that the next start finds the boxes of this one.
///
/// A copy of a data folder must not take the boxes of the original for its own, so a name goes with one folder.
pub(crate) fn name(data_dir: &Path) -> Result<String> {
    let path = data_dir.join(NAME_FILE);
    let context = || format!("the file {} cannot be used", path.display());
    let metadata = fs::metadata(data_dir).with_context(context)?;
    let folder = format!("{}:{}", metadata.dev(), metadata.ino());
    match fs::read_to_string(&path) {
        Ok(text) => {
            let mut words = text.split_whitespace();
            let name = words.next().filter(|name| is_name(name)).map(str::to_owned);
            let Some(name) = name else {
                bail!("the file {} does not hold a name: remove it if this server has no boxes", path.display())
            };
            if words.next().is_none_or(|known| known == folder) {
                write(data_dir, &path, &format!("{name} {folder}\n")).with_context(context)?;
                return Ok(name);
            }
            tracing::warn!(
                former = name,
                "the data folder is a copy, or was moved: boxes that were made in its former place are left alone there, \
                 and made again here. If nobody needs them, remove what is labelled longshore.deployment={name}"
            );
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(context),
    }
    let name = Uuid::new_v4().simple().to_string()[..12].to_owned();
    write(data_dir, &path, &format!("{name} {folder}\n")).with_context(context)?;
    Ok(name)
}

/// Counts this start, and tells whether the database is older than the boxes: lost, or restored from a backup.
pub(crate) async fn has_older_database(boxes_dir: &Path, store: &dyn Store) -> Result<bool> {
    let path = boxes_dir.join(START_FILE);
    let context = || format!("the file {} cannot be used", path.display());
    let system = Owner("".into());
    let stored =
        store.setting(&system, START_SETTING).await.context("the number of the latest start cannot be read")?;
    let stored = stored.as_ref().and_then(Value::as_u64).unwrap_or(0);
    fs::create_dir_all(boxes_dir).with_context(context)?;
    let beside = match fs::read_to_string(&path) {
        // What cannot be read is taken for the later number: boxes are rather kept than removed.
        Ok(text) => text.trim().parse().unwrap_or(u64::MAX - 1),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error).with_context(context),
    };
    let next = stored.max(beside) + 1;
    // The database first: a start that is broken off in between must not look like an older database.
    let counted = store.set_setting(&system, START_SETTING, Some(next.into())).await;
    counted.context("the number of this start cannot be stored")?;
    write(boxes_dir, &path, &format!("{next}\n")).with_context(context)?;
    Ok(beside > stored)
}

/// Writes a file so that a reader finds the old one or the new one, whole.
fn write(folder: &Path, path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

fn is_name(name: &str) -> bool {
    (1..=32).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use longshore_protocol::Secret;
    use longshore_store::{Keys, Sqlite};

    use super::*;

    #[test]
    fn a_name_stays_with_its_folder_and_not_with_a_copy() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        for data_dir in [&one, &two] {
            fs::create_dir(data_dir).unwrap();
        }
        let first = name(&one).unwrap();
        assert_eq!(name(&one).unwrap(), first);
        fs::copy(one.join(NAME_FILE), two.join(NAME_FILE)).unwrap();
        let second = name(&two).unwrap();
        assert_ne!(second, first);
        assert_eq!((name(&one).unwrap(), name(&two).unwrap()), (first, second));
        fs::rename(&one, folder.path().join("moved")).unwrap();
        fs::write(two.join(NAME_FILE), "???\n").unwrap();
        name(&two).unwrap_err();
    }

    #[tokio::test]
    async fn a_database_that_was_lost_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let boxes = folder.path().join("boxes");
        let open = |name: &str| Sqlite::open(&folder.path().join(name), Keys::new(&Secret::new("k"), &[])).unwrap();
        let store = open("a.db");
        for _ in 0..3 {
            assert!(!has_older_database(&boxes, &store).await.unwrap());
        }
        store.close().await;
        let another = open("b.db");
        assert!(has_older_database(&boxes, &another).await.unwrap());
        assert!(!has_older_database(&boxes, &another).await.unwrap());
        another.close().await;
    }
}
