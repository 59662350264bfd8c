//! Showing files and folders.

use std::{ffi::OsStr, fmt::Write as _, path::Path};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use longshore_protocol::message::{Content, ImageContent};
use longshore_workspace::{FileKind, Workspace};

use super::Refusal;
use crate::{files, truncate};

/// What a model gets to read at once, in characters.
pub(super) const MAX_CHARACTERS: usize = 16_000;

/// A folder with the folders below it; nothing hidden.
pub(super) async fn folder(workspace: &dyn Workspace, path: &Path) -> Result<Vec<Content>, Refusal> {
    let shown = path.display().to_string();
    let root = shown.trim_end_matches('/');
    let (entries, hidden) = list(workspace, path).await.map_err(|error| Refusal::new(error.to_string()))?;
    let mut lines = Lines::new(format!(
        "Here's the files and directories up to 2 levels deep in {shown}, excluding hidden items:\n{root}/\n"
    ));
    for (name, is_folder) in entries {
        if !is_folder {
            lines.push(&format!("{root}/{name}\n"));
        } else if lines.push(&format!("{root}/{name}/\n")) {
            // A folder that may not be read is shown without what is in it.
            let (children, _) = list(workspace, &path.join(&name)).await.unwrap_or_default();
            for (child, is_folder) in children {
                lines.push(&format!("{root}/{name}/{child}{}\n", if is_folder { "/" } else { "" }));
            }
        }
    }
    let mut text = lines.finish(&shown);
    if hidden > 0 {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n{hidden} hidden items are not shown here; `ls -la {shown}` lists them.");
    }
    Ok(vec![Content::text(text)])
}

/// The names in a folder that are not hidden, sorted, with whether each is a folder; and how many are hidden.
async fn list(
    workspace: &dyn Workspace,
    path: &Path,
) -> Result<(Vec<(String, bool)>, usize), longshore_workspace::Error> {
    let mut entries = workspace.list(path).await?;
    let all = entries.len();
    entries.retain(|entry| !entry.name.as_encoded_bytes().starts_with(b"."));
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let hidden = all - entries.len();
    let mut named = Vec::with_capacity(entries.len());
    for entry in entries {
        let is_folder = match entry.kind {
            FileKind::Directory => true,
            FileKind::Symlink => {
                workspace.metadata(&path.join(&entry.name)).await.is_ok_and(|it| it.kind == FileKind::Directory)
            }
            FileKind::File | FileKind::Other => false,
        };
        named.push((entry.name.to_string_lossy().into_owned(), is_folder));
    }
    Ok((named, hidden))
}

/// Lines up to what a model gets to read; further ones are counted.
struct Lines {
    text: String,
    characters: usize,
    left_out: usize,
}

impl Lines {
    fn new(head: String) -> Self {
        Self { characters: head.chars().count(), text: head, left_out: 0 }
    }

    /// Adds a line; says whether it was still shown.
    fn push(&mut self, line: &str) -> bool {
        let characters = line.chars().count();
        if self.left_out > 0 || self.characters + characters > MAX_CHARACTERS {
            self.left_out += 1;
            return false;
        }
        self.characters += characters;
        self.text.push_str(line);
        true
    }

    fn finish(self, shown: &str) -> String {
        let Self { mut text, left_out, .. } = self;
        if left_out > 0 {
            let _ = writeln!(
                text,
                "[At least {left_out} more entries are not shown: list less with a folder below or `ls {shown}`.]"
            );
        }
        text
    }
}

/// The media type of a picture that models can see, by the end of its name.
pub(super) fn image_type(path: &Path) -> Option<&'static str> {
    match path.extension().and_then(OsStr::to_str)?.to_ascii_lowercase().as_str() {
        "png" => Some("image/png"),
        "jpg" | "jpeg" => Some("image/jpeg"),
        "gif" => Some("image/gif"),
        "webp" => Some("image/webp"),
        "bmp" => Some("image/bmp"),
        _ => None,
    }
}

/// A picture, for models that can see.
pub(super) async fn image(
    workspace: &dyn Workspace,
    path: &Path,
    media_type: &str,
    limit: u64,
) -> Result<Vec<Content>, Refusal> {
    let bytes = files::read(workspace, path, limit).await.map_err(|error| Refusal::file(path, error))?;
    let url = format!("data:{media_type};base64,{}", BASE64_STANDARD.encode(bytes));
    Ok(vec![
        Content::text(format!("The image {} follows.", path.display())),
        Content::Image(ImageContent { cache_prompt: false, image_urls: vec![url] }),
    ])
}

/// A text, or the lines of it that `range` asks for.
pub(super) fn text(path: &Path, text: &str, range: Option<&[i64]>) -> Result<String, Refusal> {
    let shown = path.display().to_string();
    let Some(range) = range.filter(|range| !range.is_empty()) else { return Ok(numbered(&shown, text, 1, usize::MAX)) };
    let invalid = |why: String| Refusal::parameter("view_range", &format!("{range:?}"), &why);
    let &[first, last] = range else { return Err(invalid("It should be a list of two integers.".to_owned())) };
    let count = text.lines().count();
    let Some(start) = usize::try_from(first).ok().filter(|start| (1..=count).contains(start)) else {
        return Err(invalid(format!("The first line must be between 1 and {count}, the lines of the file.")));
    };
    let end = if last == -1 { Some(count) } else { usize::try_from(last).ok().filter(|end| *end >= start) };
    let Some(end) = end else {
        return Err(invalid(format!("The last line must be {start} or more, or -1 for the end of the file.")));
    };
    let note = if end > count { format!("NOTE: the file ends at line {count}.\n") } else { String::new() };
    Ok(note + &numbered(&shown, text, start, end))
}

/// Lines `first` to `last` of a text with their numbers, cut in the middle if they are too long.
pub(super) fn numbered(of: &str, text: &str, first: usize, last: usize) -> String {
    let mut lines = String::new();
    for (number, line) in (1..).zip(text.lines()).take(last).skip(first - 1) {
        let _ = writeln!(lines, "{number:6}\t{line}");
    }
    let lines = truncate::middle(
        &lines,
        MAX_CHARACTERS,
        "\n[The middle is left out: too long to show. Use view_range for a part, or search with `grep -n`.]\n",
    );
    format!("Here's the result of running `cat -n` on {of}:\n{lines}")
}
