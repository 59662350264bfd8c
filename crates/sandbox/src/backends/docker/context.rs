//! The folder that an image is built from, without what `.dockerignore` names.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use globset::{GlobBuilder, GlobMatcher};

use super::archive::{self, Archive};
use crate::Error;

/// The most bytes that are sent.
const BYTE_LIMIT: u64 = 2 << 30;
/// The most files that are sent.
const FILE_LIMIT: usize = 1_000_000;
/// The file with patterns of what is not sent.
const IGNORE_FILE: &str = ".dockerignore";

/// What is sent.
#[derive(Debug)]
pub(super) struct Context {
    folder: PathBuf,
    /// Relative paths, folders before what is in them.
    entries: Vec<String>,
    bytes: u64,
}

impl Context {
    /// Looks through a folder. `dockerfile` and `.dockerignore` are taken in any case, because the engine reads them.
    pub(super) fn gather(folder: &Path, dockerfile: &str) -> Result<Self, Error> {
        let failed = |cause| Error::failed(format!("read the folder {}", folder.display()), cause);
        let is_inside =
            Path::new(dockerfile).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !is_inside || !folder.join(dockerfile).is_file() {
            return Err(Error::Invalid(format!("there is no file {dockerfile} in the folder {}", folder.display())));
        }
        let rules = Rules::read(folder)?;
        let dockerfile = dockerfile.trim_start_matches("./");
        let mut context = Self { folder: folder.to_owned(), entries: Vec::new(), bytes: 0 };
        let mut folders = vec![String::new()];
        while let Some(inner) = folders.pop() {
            for entry in fs::read_dir(folder.join(&inner)).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let name = entry.file_name().into_string().map_err(|name| {
                    Error::Invalid(format!(
                        "the name of the file {} in {} is not UTF-8",
                        name.display(),
                        folder.join(&inner).display()
                    ))
                })?;
                let path = if inner.is_empty() { name } else { format!("{inner}/{name}") };
                let kind = entry.file_type().map_err(failed)?;
                let is_needed = path == dockerfile || path == IGNORE_FILE;
                let is_excluded = !is_needed && rules.exclude(&path);
                if kind.is_dir()
                    && (!is_excluded || rules.have_exceptions || dockerfile.starts_with(&format!("{path}/")))
                {
                    folders.push(path.clone());
                }
                if !is_excluded && (kind.is_dir() || kind.is_file() || kind.is_symlink()) {
                    context.bytes += if kind.is_file() { entry.metadata().map_err(failed)?.len() } else { 0 };
                    context.entries.push(path);
                    context.check()?;
                }
            }
        }
        context.entries.sort_unstable();
        Ok(context)
    }

    pub(super) fn files(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn write(&self, archive: &mut Archive) -> io::Result<()> {
        self.entries.iter().try_for_each(|path| archive::add(archive, path, &self.folder.join(path)))
    }

    fn check(&self) -> Result<(), Error> {
        let excess = if self.bytes > BYTE_LIMIT {
            "more than 2 GiB"
        } else if self.entries.len() > FILE_LIMIT {
            "more than 1000000 files"
        } else {
            return Ok(());
        };
        let folder = self.folder.display();
        Err(Error::Invalid(format!(
            "the folder {folder} has {excess}: name what the image does not need in {IGNORE_FILE}"
        )))
    }
}

/// What `.dockerignore` says: the last pattern that fits a path or a folder above it decides.
#[derive(Debug, Default)]
struct Rules {
    patterns: Vec<(GlobMatcher, Verdict)>,
    have_exceptions: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Excluded,
    Included,
}

impl Rules {
    fn read(folder: &Path) -> Result<Self, Error> {
        let text = match fs::read_to_string(folder.join(IGNORE_FILE)) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            text => text.map_err(|cause| Error::failed(format!("read {IGNORE_FILE}"), cause))?,
        };
        let mut rules = Self::default();
        for line in text.trim_start_matches('\u{feff}').lines().map(str::trim) {
            let (pattern, verdict) = match line.strip_prefix('!') {
                Some(rest) => (rest.trim(), Verdict::Included),
                None => (line, Verdict::Excluded),
            };
            let pattern = clean(pattern);
            if line.starts_with('#') || pattern.is_empty() {
                continue;
            }
            let glob = GlobBuilder::new(&pattern).literal_separator(true).backslash_escape(true).build();
            let glob =
                glob.map_err(|cause| Error::Invalid(format!("the line '{line}' in {IGNORE_FILE} is wrong: {cause}")))?;
            rules.have_exceptions |= verdict == Verdict::Included;
            rules.patterns.push((glob.compile_matcher(), verdict));
        }
        Ok(rules)
    }

    fn exclude(&self, path: &str) -> bool {
        let fits =
            |glob: &GlobMatcher| Path::new(path).ancestors().any(|path| path != Path::new("") && glob.is_match(path));
        let last = self.patterns.iter().rev().find(|(glob, _)| fits(glob));
        last.is_some_and(|(_, verdict)| *verdict == Verdict::Excluded)
    }
}

/// A pattern without what means nothing. Braces are ordinary characters there.
fn clean(pattern: &str) -> String {
    let parts: Vec<&str> = pattern.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    parts.join("/").replace('{', "\\{").replace('}', "\\}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(ignore: &str, files: &[&str]) -> Vec<String> {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join(IGNORE_FILE), ignore).unwrap();
        for file in files {
            let path = place.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "1").unwrap();
        }
        let context = Context::gather(place.path(), "Dockerfile").unwrap();
        context.entries.into_iter().filter(|path| place.path().join(path).is_file()).collect()
    }

    #[test]
    fn what_dockerignore_names_stays_here() {
        let files = ["Dockerfile", "a.log", "keep.log", "src/a.rs", "src/deep/b.log", "target/x/y", "notes/{a}.txt"];
        let sent = gathered("# comment\n\n/target/\n*.log\n!keep.log\n**/b.log\nnotes/{a}.txt\nDockerfile\n", &files);
        assert_eq!(sent, [".dockerignore", "Dockerfile", "keep.log", "src/a.rs"]);
    }

    #[test]
    fn an_exception_reaches_into_an_excluded_folder() {
        let sent = gathered("*\n!src/keep\n", &["Dockerfile", "src/a", "src/keep/b", "other"]);
        assert_eq!(sent, [".dockerignore", "Dockerfile", "src/keep/b"]);
    }

    #[test]
    fn too_much_is_refused() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("Dockerfile"), "FROM scratch").unwrap();
        let huge = fs::File::create(place.path().join("huge")).unwrap();
        huge.set_len(BYTE_LIMIT).unwrap();
        let error = Context::gather(place.path(), "Dockerfile").unwrap_err().to_string();
        assert!(error.contains("more than 2 GiB") && error.contains(IGNORE_FILE), "{error}");
        fs::write(place.path().join(IGNORE_FILE), "huge").unwrap();
        Context::gather(place.path(), "Dockerfile").unwrap();
        for missing in ["None", "../Dockerfile", "/etc/passwd"] {
            Context::gather(place.path(), missing).unwrap_err();
        }
    }
}
