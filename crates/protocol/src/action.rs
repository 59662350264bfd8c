//! What an agent does: the arguments of its tool calls (contract: agent §5.2).

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::kinds::kinds;

/// Runs a command in the agent's shell, or types into the running one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema, Default)]
pub struct TerminalAction {
    /// The command, the input, or a key such as `C-c`; empty to read more output.
    pub command: String,
    /// Whether `command` is input for the running process.
    #[serde(default)]
    pub is_input: bool,
    /// Seconds after which to stop waiting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
    /// Whether to start the shell anew.
    #[serde(default)]
    pub reset: bool,
}

/// What the file editor can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EditorCommand {
    /// Show a file or a folder.
    View,
    /// Write a new file.
    Create,
    /// Replace a text that occurs once.
    StrReplace,
    /// Insert after a line.
    Insert,
    /// Take back the last edit.
    UndoEdit,
}

impl EditorCommand {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Create => "create",
            Self::StrReplace => "str_replace",
            Self::Insert => "insert",
            Self::UndoEdit => "undo_edit",
        }
    }
}

/// Looks at or changes a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileEditorAction {
    /// What to do.
    pub command: EditorCommand,
    /// An absolute path.
    pub path: String,
    /// The text of a new file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_text: Option<String>,
    /// The text to replace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_str: Option<String>,
    /// The text to put there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_str: Option<String>,
    /// The line after which to insert; 0 for the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub insert_line: Option<usize>,
    /// The first and last line to show; -1 for the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view_range: Option<Vec<i64>>,
}

/// Whether to read or write the task list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, Default)]
#[serde(rename_all = "lowercase")]
pub enum TaskTrackerCommand {
    /// Show the list.
    #[default]
    View,
    /// Replace the list.
    Plan,
}

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema, Default)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    /// Not begun.
    #[default]
    Todo,
    /// Begun.
    InProgress,
    /// Done.
    Done,
}

impl<'de> Deserialize<'de> for TaskStatus {
    /// Reads a status as models write it: any case, words joined by anything, and the usual other words.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.trim().to_lowercase().replace([' ', '-'], "_").as_str() {
            "todo" | "to_do" | "pending" => Ok(Self::Todo),
            "in_progress" => Ok(Self::InProgress),
            "done" | "completed" | "complete" => Ok(Self::Done),
            _ => Err(serde::de::Error::unknown_variant(&text, &["todo", "in_progress", "done"])),
        }
    }
}

/// An entry of the task list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskItem {
    /// What is to be done.
    pub title: String,
    /// Remarks.
    #[serde(default)]
    pub notes: String,
    /// How far it is.
    #[serde(default)]
    pub status: TaskStatus,
}

/// Reads or replaces the task list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, Default)]
pub struct TaskTrackerAction {
    /// What to do.
    #[serde(default)]
    pub command: TaskTrackerCommand,
    /// The new list.
    #[serde(default)]
    pub task_list: Vec<TaskItem>,
}

/// Ends the turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FinishAction {
    /// The answer to the user.
    pub message: String,
}

/// Writes a thought down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ThinkAction {
    /// The thought.
    pub thought: String,
}

kinds! {
    /// What an agent does. Tools of clients and MCP servers have kinds of their own, which are kept as they are.
    pub enum Action { TerminalAction, FileEditorAction, TaskTrackerAction, FinishAction, ThinkAction }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_status_is_read_in_the_words_that_models_use() {
        for (text, status) in [
            ("todo", TaskStatus::Todo),
            ("To-Do", TaskStatus::Todo),
            ("pending", TaskStatus::Todo),
            ("In Progress", TaskStatus::InProgress),
            ("Completed", TaskStatus::Done),
            ("complete", TaskStatus::Done),
            (" DONE ", TaskStatus::Done),
        ] {
            assert_eq!(serde_json::from_value::<TaskStatus>(text.into()).unwrap(), status, "{text}");
        }
        assert!(serde_json::from_value::<TaskStatus>("later".into()).is_err());
    }
}
