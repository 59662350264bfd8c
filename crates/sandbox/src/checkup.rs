//! What this machine can do for boxes, for people to read.

/// One thing that a backend wants of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is about: `user namespaces`.
    pub subject: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    pub advice: Option<String>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// All is well.
    Ok,
    /// Boxes can be made, but something about them is weaker.
    Warning,
    /// No box can be made.
    Missing,
}

impl Finding {
    /// All is well.
    pub(crate) fn ok(subject: &'static str, detail: impl Into<String>) -> Self {
        Self { subject, level: Level::Ok, detail: detail.into(), advice: None }
    }

    /// Something is weaker.
    pub(crate) fn warning(subject: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { subject, level: Level::Warning, detail: detail.into(), advice: Some(advice.into()) }
    }

    /// No box can be made.
    pub(crate) fn missing(subject: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { subject, level: Level::Missing, detail: detail.into(), advice: Some(advice.into()) }
    }
}
