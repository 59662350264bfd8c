//! The folders that runs keep their things in, one for each, so that several runs and a server never meet.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use longshore_protocol::{ConversationId, UtcTime, sandbox::SandboxOptions};
use serde::{Deserialize, Serialize};

use crate::{failure::usage, render::in_one_line};

/// The file that says what a run is about.
const CARD: &str = "run.json";
/// Where the folder is in a box.
pub(crate) const IN_BOX: &str = "/workspace";
/// Characters of the task that the card keeps.
const TASK: usize = 100;
/// Hexadecimal digits of an id that tell one run from another in practice.
const SHORT: usize = 8;
/// Runs that a message lists.
const LISTED: usize = 5;

/// All runs of a data folder.
#[derive(Debug)]
pub(crate) struct Runs {
    folder: PathBuf,
}

/// A run's folder and what is known of it.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    pub(crate) id: ConversationId,
    pub(crate) path: PathBuf,
    card: Card,
}

/// What a run is about: enough to find it again without opening its database.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Card {
    workspace: PathBuf,
    task: String,
    used_at: UtcTime,
    /// The box that the agent works in; none for this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sandbox: Option<SandboxOptions>,
}

impl Runs {
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self { folder: data_dir.join("runs") }
    }

    /// A folder for a new run.
    pub(crate) fn create(
        &self,
        id: ConversationId,
        workspace: &Path,
        sandbox: Option<SandboxOptions>,
        task: &str,
    ) -> Result<Folder> {
        let path = self.folder.join(id.to_string());
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("the run's folder {} cannot be made", path.display()))?;
        let used_at = UtcTime(Timestamp::now());
        let card = Card { workspace: workspace.to_owned(), task: in_one_line(task, TASK), used_at, sandbox };
        let folder = Folder { id, path, card };
        folder.write_card()?;
        Ok(folder)
    }

    /// The run whose id begins with `prefix`; the latest in `workspace` if that is empty.
    pub(crate) fn find(&self, prefix: &str, workspace: &Path) -> Result<Folder> {
        if prefix.is_empty() {
            return self.latest(workspace);
        }
        let digits = prefix.replace('-', "").to_ascii_lowercase();
        if digits.is_empty() || digits.len() > 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(usage(format!(
                "--resume: {prefix:?} is not the id of a run. To go on with the latest run, put the task first: \
                 longshore run \"TASK\" --resume"
            )));
        }
        let mut found: Vec<_> = self.all()?.into_iter().filter(|run| run.id.hex().starts_with(&digits)).collect();
        match (found.pop(), found.is_empty()) {
            (Some(run), true) => Ok(run),
            (None, _) => Err(usage(format!("--resume: there is no run {prefix}.{}", self.list_of(self.all()?)))),
            (Some(run), false) => {
                found.push(run);
                Err(usage(format!(
                    "--resume: several runs begin with {prefix}: give more of the id.{}",
                    self.list_of(found)
                )))
            }
        }
    }

    fn latest(&self, workspace: &Path) -> Result<Folder> {
        let all = self.all()?;
        let here = all.iter().filter(|run| run.card.workspace == workspace).max_by_key(|run| run.card.used_at);
        here.cloned().ok_or_else(|| {
            let place = workspace.display();
            usage(format!("--resume: there is no earlier run in {place}.{}", self.list_of(all.clone())))
        })
    }

    /// All runs whose card can be read.
    fn all(&self) -> Result<Vec<Folder>> {
        let context = || format!("the runs in {} cannot be listed", self.folder.display());
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(context)?,
        };
        let mut runs = Vec::new();
        for entry in entries {
            let path = entry.with_context(context)?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let id = name.and_then(|name| name.parse().ok());
            let card = File::open(path.join(CARD)).ok().and_then(|file| serde_json::from_reader(file).ok());
            if let (Some(id), Some(card)) = (id, card) {
                runs.push(Folder { id, path, card });
            }
        }
        Ok(runs)
    }

    fn list_of(&self, mut runs: Vec<Folder>) -> String {
        if runs.is_empty() {
            return format!(" There are none in {}", self.folder.display());
        }
        runs.sort_by_key(|run| std::cmp::Reverse(run.card.used_at));
        let lines: Vec<_> = runs
            .iter()
            .take(LISTED)
            .map(|run| format!("\n  {}  {}  {}", run.short_id(), run.card.workspace.display(), run.card.task))
            .collect();
        format!(" The latest are:{}", lines.concat())
    }
}

impl Folder {
    /// The folder that the agent works in.
    pub(crate) fn workspace(&self) -> &Path {
        &self.card.workspace
    }

    /// The box that the agent works in; none for this machine.
    pub(crate) fn sandbox(&self) -> Option<&SandboxOptions> {
        self.card.sandbox.as_ref()
    }

    /// The folder as the agent sees it.
    pub(crate) fn working_dir(&self) -> &Path {
        if self.card.sandbox.is_some() { Path::new(IN_BOX) } else { self.workspace() }
    }

    /// What the run was begun for, in a line.
    pub(crate) fn task(&self) -> &str {
        &self.card.task
    }

    /// As much of the id as is needed to tell the run from others.
    pub(crate) fn short_id(&self) -> String {
        self.id.hex().chars().take(SHORT).collect()
    }

    /// Notes that the run is the latest now.
    pub(crate) fn touch(&mut self) -> Result<()> {
        self.card.used_at = UtcTime(Timestamp::now());
        self.write_card()
    }

    /// Writes the card so that a reader finds the old one or the new one, whole.
    fn write_card(&self) -> Result<()> {
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(&self.path)?;
            file.write_all(&serde_json::to_vec(&self.card)?)?;
            file.persist(self.path.join(CARD)).map(drop).map_err(|error| error.error)
        };
        write().with_context(|| format!("the run's folder {} cannot be written", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> ConversationId {
        text.parse().unwrap()
    }

    #[test]
    fn a_run_is_found_by_its_id_or_as_the_latest_of_its_folder() {
        let data = tempfile::tempdir().unwrap();
        let runs = Runs::new(data.path());
        let [one, two, three] = [
            "aaaa0000-0000-4000-8000-000000000001",
            "aaaa1111-0000-4000-8000-000000000002",
            "bbbb0000-0000-4000-8000-000000000003",
        ]
        .map(id);
        assert!(runs.find("", Path::new("/w")).unwrap_err().to_string().contains("no earlier run"));
        runs.create(one, Path::new("/w"), None, "first").unwrap();
        runs.create(two, Path::new("/w"), None, "second").unwrap();
        runs.create(three, Path::new("/v"), None, "third").unwrap();

        let find = |prefix: &str| runs.find(prefix, Path::new("/w")).map(|run| run.id);
        assert_eq!(find("b").unwrap(), three);
        assert_eq!(find("AAAA1").unwrap(), two);
        assert_eq!(find(&one.to_string()).unwrap(), one);
        assert_eq!(find("").unwrap(), two);
        let ambiguous = find("aaaa").unwrap_err().to_string();
        assert!(ambiguous.contains("aaaa0000") && ambiguous.contains("second"), "{ambiguous}");
        assert!(find("cc").unwrap_err().to_string().contains("bbbb0000"));
        assert!(find("fix it").unwrap_err().to_string().contains("put the task first"));

        runs.find("aaaa0", Path::new("/w")).unwrap().touch().unwrap();
        assert_eq!(find("").unwrap(), one);
    }
}
