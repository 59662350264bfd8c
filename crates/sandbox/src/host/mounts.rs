//! What is mounted.

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _, path::PathBuf};

/// A mount, as the system's list names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// The part of the file system that is seen.
    pub(crate) root: PathBuf,
    /// Where it is seen.
    pub(crate) point: PathBuf,
    /// The kind of file system.
    pub(crate) kind: String,
    /// The device, or whatever stands for it.
    pub(crate) source: String,
    /// What the file system was mounted with, such as the controllers of a tree of control groups.
    pub(crate) options: Vec<String>,
}

/// Reads a list in the form of `/proc/self/mountinfo`. Lines that are none are left out.
pub(crate) fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let (mut before, mut after) = (before.split(' ').skip(3), after.split(' '));
    Some(Mount {
        root: path(before.next()?),
        point: path(before.next()?),
        kind: after.next()?.to_owned(),
        source: after.next()?.to_owned(),
        options: after.next()?.split(',').map(str::to_owned).collect(),
    })
}

/// Blanks and the like are written as a backslash and three octal digits.
fn path(field: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let [first, tail @ ..] = rest {
        match tail {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', next @ ..] if *first == b'\\' => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = next;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes).into()
}
