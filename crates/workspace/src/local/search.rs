//! Looking into files.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder, Sink, SinkFinish, SinkMatch};
use ignore::{DirEntry, WalkBuilder};
use rustix::fs::OFlags;

use crate::{Error, Findings, FoundFile, Incomplete, Match, Search, SearchLimits};

/// How much memory a line and a compiled pattern may take.
const MAX_MEMORY: usize = 10 << 20;

/// How many globs there may be.
const MAX_GLOBS: usize = 100;

/// Searches until `given_up`.
pub(super) fn search(search: &Search, given_up: &Arc<AtomicBool>) -> Result<Findings, Error> {
    std::fs::metadata(&search.folder).map_err(|cause| Error::at("search", &search.folder, cause))?;
    let matcher = search.pattern.as_deref().map(|pattern| matcher(pattern, search.case_insensitive)).transpose()?;
    let filter = Filter::new(search)?;
    let limits = SearchLimits {
        matches: search.limits.matches.min(SearchLimits::MAX_FOUND),
        files: search.limits.files.min(SearchLimits::MAX_FOUND),
        line: search.limits.line.min(SearchLimits::MAX_LINE),
        time: search.limits.time.min(SearchLimits::MAX_TIME),
    };
    let time = Time { end: Instant::now() + limits.time, given_up: given_up.clone() };
    let mut finder = Finder { limits, time, size: 0, with_matches: 0, found: Findings::default() };
    let mut searcher = SearcherBuilder::new()
        .line_number(true)
        .binary_detection(BinaryDetection::quit(0))
        .heap_limit(Some(MAX_MEMORY))
        .build();
    for entry in walk(search, filter.clone()) {
        if finder.time.is_over() {
            finder.stop(Incomplete::Time);
        }
        match entry {
            Err(_) => finder.found.unreadable += 1,
            Ok(entry) if !filter.takes(&entry) => {}
            Ok(entry) => match &matcher {
                None => finder.list(entry),
                Some(matcher) => finder.look_into(entry.into_path(), matcher, &mut searcher),
            },
        }
        if finder.found.incomplete.is_some() {
            break;
        }
    }
    Ok(finder.found)
}

fn matcher(pattern: &str, case_insensitive: bool) -> Result<RegexMatcher, Error> {
    let invalid = |reason: String| Error::Invalid { what: "the pattern".into(), reason };
    // Tells where an error is; the matcher would tell it of a pattern that it has already changed.
    regex_syntax::ParserBuilder::new()
        .utf8(false)
        .build()
        .parse(pattern)
        .map_err(|cause| invalid(cause.to_string()))?;
    let mut builder = RegexMatcherBuilder::new();
    // The end of a line may be that of other systems; the order of the two matters.
    builder.case_insensitive(case_insensitive).multi_line(true).crlf(true).line_terminator(Some(b'\n'));
    builder.size_limit(MAX_MEMORY).dfa_size_limit(MAX_MEMORY);
    builder.build(pattern).map_err(|cause| invalid(cause.to_string()))
}

/// All files and folders, each folder's in the order of their names, so that what a limit cuts off is always the same.
fn walk(search: &Search, filter: Filter) -> ignore::Walk {
    WalkBuilder::new(&search.folder)
        .standard_filters(search.ignore_files)
        // What the user of this process ignores elsewhere has no meaning here.
        .git_global(false)
        .require_git(false)
        .hidden(!search.hidden)
        .sort_by_file_name(Ord::cmp)
        .filter_entry(move |entry| filter.enters(entry))
        .build()
}

/// Which files and folders are wanted.
#[derive(Clone)]
struct Filter {
    root: PathBuf,
    include: Option<GlobSet>,
    exclude: GlobSet,
    git: bool,
}

impl Filter {
    fn new(search: &Search) -> Result<Self, Error> {
        Ok(Self {
            root: search.folder.clone(),
            include: if search.include.is_empty() { None } else { Some(globs(&search.include)?) },
            exclude: globs(&search.exclude)?,
            git: !search.ignore_files,
        })
    }

    /// Whether a file or folder is looked at, as far as it is not asked for in particular.
    fn enters(&self, entry: &DirEntry) -> bool {
        let is_git = entry.file_name() == ".git" && !self.git;
        entry.depth() == 0 || (!is_git && !self.exclude.is_match(self.relative(entry)))
    }

    /// Whether it is a file that is asked for.
    fn takes(&self, entry: &DirEntry) -> bool {
        // A file that is searched by its own path may be a symbolic link.
        let is_file = if entry.depth() == 0 {
            entry.path().is_file()
        } else {
            entry.file_type().is_some_and(|kind| kind.is_file())
        };
        is_file && self.include.as_ref().is_none_or(|include| include.is_match(self.relative(entry)))
    }

    /// The path below the folder, or a file's name if that is what is searched.
    fn relative<'a>(&self, entry: &'a DirEntry) -> &'a Path {
        match entry.path().strip_prefix(&self.root) {
            Ok(path) if path != Path::new("") => path,
            _ => Path::new(entry.file_name()),
        }
    }
}

fn globs(globs: &[String]) -> Result<GlobSet, Error> {
    let invalid = |glob: &str, reason: String| Error::Invalid { what: format!("the glob '{glob}'"), reason };
    if let Some(glob) = globs.get(MAX_GLOBS) {
        return Err(invalid(glob, format!("there are more than {MAX_GLOBS}")));
    }
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        if glob.is_empty() {
            return Err(invalid(glob, "it is empty".into()));
        }
        let below = glob.trim_start_matches("./").trim_start_matches('/');
        let (path, is_folder) = below.strip_suffix('/').map_or((below, false), |path| (path, true));
        let anywhere = !path.contains('/') && !glob.starts_with('/');
        let path = if anywhere { format!("**/{path}") } else { path.to_owned() };
        let mut add = |path: &str| {
            let built = GlobBuilder::new(path).literal_separator(true).backslash_escape(true).build();
            built.map(|built| set.add(built)).map_err(|cause| invalid(glob, cause.kind().to_string())).map(drop)
        };
        add(&path)?;
        if is_folder {
            add(&format!("{path}/**"))?;
        }
    }
    set.build().map_err(|cause| invalid(cause.glob().unwrap_or_default(), cause.kind().to_string()))
}

/// When to stop, whatever is found.
#[derive(Clone)]
struct Time {
    end: Instant,
    given_up: Arc<AtomicBool>,
}

impl Time {
    fn is_over(&self) -> bool {
        self.given_up.load(Ordering::Relaxed) || Instant::now() >= self.end
    }
}

/// What was found so far.
struct Finder {
    limits: SearchLimits,
    time: Time,
    size: usize,
    /// Files with lines that match.
    with_matches: usize,
    found: Findings,
}

impl Finder {
    fn stop(&mut self, why: Incomplete) {
        self.found.incomplete.get_or_insert(why);
    }

    fn list(&mut self, entry: DirEntry) {
        let size = entry.path().as_os_str().len();
        if self.found.files.len() == self.limits.files {
            self.stop(Incomplete::Files);
        } else if self.size + size > SearchLimits::MAX_SIZE {
            self.stop(Incomplete::Size);
        } else {
            let modified = entry.metadata().ok().and_then(|metadata| metadata.modified().ok());
            self.size += size;
            self.found.files.push(FoundFile { path: entry.into_path(), modified });
        }
    }

    fn look_into(&mut self, path: PathBuf, matcher: &RegexMatcher, searcher: &mut Searcher) {
        // A pipe that took a file's place is not waited for.
        let mut options = File::options();
        options.read(true).custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed());
        let before = (self.found.matches.len(), self.size);
        let time = self.time.clone();
        let looked = options.open(&path).and_then(|file| {
            let mut lines = Lines { path, finder: self, is_binary: false };
            searcher.search_reader(matcher, Timed { file, time }, &mut lines)?;
            Ok(lines.is_binary)
        });
        if self.time.is_over() {
            self.stop(Incomplete::Time);
        } else if looked.is_err() {
            self.found.unreadable += 1;
        }
        if matches!(looked, Ok(true)) {
            self.found.matches.truncate(before.0);
            self.size = before.1;
        }
        self.with_matches += usize::from(self.found.matches.len() > before.0);
    }
}

/// A file that ends when the time is over.
struct Timed {
    file: File,
    time: Time,
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.time.is_over() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.file.read(buffer)
    }
}

/// The lines of one file.
struct Lines<'a> {
    path: PathBuf,
    finder: &'a mut Finder,
    is_binary: bool,
}

impl Sink for &mut Lines<'_> {
    type Error = io::Error;

    fn matched(&mut self, _: &Searcher, found: &SinkMatch<'_>) -> io::Result<bool> {
        let finder = &mut *self.finder;
        let text = text(found.bytes(), finder.limits.line);
        let size = text.len() + self.path.as_os_str().len();
        let stop = if finder.found.matches.len() == finder.limits.matches {
            Incomplete::Matches
        } else if finder.with_matches == finder.limits.files {
            Incomplete::Files
        } else if finder.size + size > SearchLimits::MAX_SIZE {
            Incomplete::Size
        } else {
            finder.size += size;
            let line = found.line_number().unwrap_or_default();
            finder.found.matches.push(Match { path: self.path.clone(), line, text });
            return Ok(true);
        };
        finder.stop(stop);
        Ok(false)
    }

    fn finish(&mut self, _: &Searcher, finish: &SinkFinish) -> io::Result<()> {
        self.is_binary = finish.binary_byte_offset().is_some();
        Ok(())
    }
}

/// A line without its end, as text of at most `limit` bytes.
fn text(line: &[u8], limit: usize) -> String {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    // No character is longer than four bytes, so the last one that counts is whole.
    let mut text = String::from_utf8_lossy(&line[..line.len().min(limit + 4)]).into_owned();
    text.truncate(text.floor_char_boundary(limit));
    text
}
