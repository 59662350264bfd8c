//! What to look for in files, and what was found.

use std::{path::PathBuf, time::Duration, time::SystemTime};

use serde::{Deserialize, Serialize};

use crate::wire;

/// What to look for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Search {
    /// A folder, in which everything is looked at, or a file.
    #[serde(with = "wire::path")]
    pub folder: PathBuf,
    /// A regular expression that a line must match, in the syntax of the crate `regex`. Without one, files are listed and not
    /// looked into.
    pub pattern: Option<String>,
    /// Globs of which a file must match one, if there are any. One without a slash is for names at any depth, others are
    /// for paths below the folder: `*.rs`, `src/**/*.{js,ts}`.
    pub include: Vec<String>,
    /// Globs of which a file, and every folder that it is in, must match none.
    pub exclude: Vec<String>,
    /// Whether the pattern is for letters in either case.
    pub case_insensitive: bool,
    /// Whether names that begin with a dot count.
    pub hidden: bool,
    /// Whether what `.gitignore` and `.ignore` files name is left out, and git's own folder.
    pub ignore_files: bool,
    /// When to stop.
    pub limits: SearchLimits,
}

impl Search {
    /// Lists the files of a folder that are neither hidden nor ignored.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            pattern: None,
            include: Vec::new(),
            exclude: Vec::new(),
            case_insensitive: false,
            hidden: false,
            ignore_files: true,
            limits: SearchLimits::default(),
        }
    }

    /// Looks for lines that match a regular expression.
    #[must_use]
    pub fn pattern(mut self, pattern: impl Into<String>) -> Self {
        self.pattern = Some(pattern.into());
        self
    }

    /// Adds a glob of which a file must match one.
    #[must_use]
    pub fn include(mut self, glob: impl Into<String>) -> Self {
        self.include.push(glob.into());
        self
    }

    /// Adds a glob that no file may match.
    #[must_use]
    pub fn exclude(mut self, glob: impl Into<String>) -> Self {
        self.exclude.push(glob.into());
        self
    }
}

/// When a search stops, and how much of a line it gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchLimits {
    /// Lines; at most [`SearchLimits::MAX_FOUND`].
    pub matches: usize,
    /// Files that are listed, or that have such lines; at most [`SearchLimits::MAX_FOUND`].
    pub files: usize,
    /// Bytes of a line; at most [`SearchLimits::MAX_LINE`]. What is longer is cut.
    pub line: usize,
    /// The time that it may take; at most [`SearchLimits::MAX_TIME`].
    pub time: Duration,
}

impl SearchLimits {
    /// The most lines and files that are ever found.
    pub const MAX_FOUND: usize = 100_000;
    /// The most that is ever given of a line.
    pub const MAX_LINE: usize = 16 << 10;
    /// The most text and names that are ever found, in bytes.
    pub const MAX_SIZE: usize = 8 << 20;
    /// The longest time that a search ever takes.
    pub const MAX_TIME: Duration = Duration::from_mins(5);
}

impl Default for SearchLimits {
    fn default() -> Self {
        Self { matches: 1000, files: 1000, line: 1000, time: Duration::from_secs(20) }
    }
}

/// What was found: files in the order of their paths, folder by folder, and lines in their order in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// Lines that match.
    #[serde(deserialize_with = "wire::at_most::<_, _, { SearchLimits::MAX_FOUND }>")]
    pub matches: Vec<Match>,
    /// Files, if there is no pattern.
    #[serde(deserialize_with = "wire::at_most::<_, _, { SearchLimits::MAX_FOUND }>")]
    pub files: Vec<FoundFile>,
    /// Why there may be more, if so.
    pub incomplete: Option<Incomplete>,
    /// How many files and folders could not be looked at, for want of permission or because a line has no end.
    pub unreadable: usize,
}

/// A line that matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Match {
    /// The file: an absolute path.
    #[serde(with = "wire::path")]
    pub path: PathBuf,
    /// The line's number, from 1 on.
    pub line: u64,
    /// The line without its end; what is no text is replaced.
    pub text: String,
}

/// A file that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundFile {
    /// An absolute path.
    #[serde(with = "wire::path")]
    pub path: PathBuf,
    /// When it last changed.
    #[serde(with = "wire::time")]
    pub modified: Option<SystemTime>,
}

/// Why a search stopped before it had seen everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Incomplete {
    /// There are more lines than were asked for.
    Matches,
    /// There are more files than were asked for.
    Files,
    /// There is more than [`SearchLimits::MAX_SIZE`].
    Size,
    /// The time was over.
    Time,
}
