//! The kinds of boxes: one file or folder each.

pub(crate) mod bubblewrap;
