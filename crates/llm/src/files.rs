//! Files in the operator's folder for models. Clients choose their names, so a name leads nowhere else.

use std::{
    fs::{self, File},
    io::Read,
    path::{Component, Path, PathBuf},
};

use crate::Error;

/// The most bytes of a script or a recording.
pub(crate) const SIZE_LIMIT: u64 = 64 * 1024 * 1024;

/// Reads a file of the folder.
pub(crate) fn read(folder: &Path, name: &str) -> Result<String, Error> {
    let path = locate(folder, name)?;
    let failed = |error: std::io::Error| {
        Error::bad_request(format!("{name:?} in the folder for models cannot be read: {error}."))
    };
    let file = File::open(&path).map_err(failed)?;
    let mut text = String::new();
    let read = file.take(SIZE_LIMIT + 1).read_to_string(&mut text).map_err(failed)?;
    if read as u64 > SIZE_LIMIT {
        return Err(Error::bad_request(format!("{name:?} is longer than {} MiB.", SIZE_LIMIT >> 20)));
    }
    Ok(text)
}

/// Where a file of the folder is, whether it exists yet or not. Its own folder must exist.
pub(crate) fn locate(folder: &Path, name: &str) -> Result<PathBuf, Error> {
    let is_plain = !name.is_empty()
        && name.len() <= 255
        && !name.chars().any(char::is_control)
        && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    if !is_plain {
        return Err(Error::bad_request(format!(
            "{:?} is not the name of a file in the folder for models: write a relative name without `..`.",
            name.chars().take(255).collect::<String>()
        )));
    }
    let outside = || Error::bad_request(format!("{name:?} leads out of the folder for models."));
    let missing = || Error::bad_request(format!("There is no {name:?} in the folder for models."));
    let root = folder.canonicalize().map_err(|error| {
        Error::bad_request(format!("The folder for models (--models-dir) cannot be opened: {error}."))
    })?;
    let path = root.join(name);
    let (Some(parent), Some(file_name)) = (path.parent(), path.file_name()) else { return Err(outside()) };
    let parent = parent.canonicalize().map_err(|_| missing())?;
    if !parent.starts_with(&root) {
        return Err(outside());
    }
    let path = parent.join(file_name);
    let Ok(metadata) = fs::symlink_metadata(&path) else { return Ok(path) };
    let path = if metadata.is_symlink() { path.canonicalize().map_err(|_| missing())? } else { path };
    if !path.starts_with(&root) {
        return Err(outside());
    }
    // Opening a pipe or a device would hang or do worse.
    if !fs::metadata(&path).map_err(|_| missing())?.is_file() {
        return Err(Error::bad_request(format!("{name:?} in the folder for models is not a file.")));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_files_inside_the_folder_are_reached() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("models");
        fs::create_dir_all(folder.join("sub")).unwrap();
        fs::write(outer.path().join("secret"), "s").unwrap();
        fs::write(folder.join("a.json"), "a").unwrap();
        fs::write(folder.join("sub/b.json"), "b").unwrap();
        symlink("a.json", folder.join("inside")).unwrap();
        symlink("../secret", folder.join("outside")).unwrap();
        symlink("../not-there", folder.join("dangling")).unwrap();
        symlink("..", folder.join("up")).unwrap();

        assert_eq!(read(&folder, "a.json").unwrap(), "a");
        assert_eq!(read(&folder, "sub/b.json").unwrap(), "b");
        assert_eq!(read(&folder, "inside").unwrap(), "a");
        assert_eq!(locate(&folder, "new.jsonl").unwrap(), folder.canonicalize().unwrap().join("new.jsonl"));
        let absolute = folder.join("a.json");
        let long = "x".repeat(256);
        let absolute = absolute.to_str().unwrap();
        for name in [
            "",
            ".",
            "..",
            "../secret",
            "sub/../../secret",
            absolute,
            "up/secret",
            "outside",
            "dangling",
            "sub",
            "a\nb",
            &long,
        ] {
            let error = locate(&folder, name).unwrap_err();
            assert!(!error.detail.contains(outer.path().to_str().unwrap()) || name == absolute, "{error}");
        }
        assert!(read(&folder, "missing").is_err());
        assert!(locate(&outer.path().join("no-folder"), "a").unwrap_err().detail.contains("--models-dir"));
    }
}
