//! What came of an action (contract: agent §5.2).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    action::{EditorCommand, TaskItem, TaskTrackerCommand},
    kinds::kinds,
    message::Content,
};

/// What the shell said about a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct CommandMetadata {
    /// The exit code; -1 while the command runs.
    pub exit_code: i32,
    /// The last background process; -1 for none.
    pub pid: i32,
    /// The user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The folder the shell is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// The Python that `python` means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub py_interpreter_path: Option<String>,
    /// Text before the output.
    pub prefix: String,
    /// Text after the output.
    pub suffix: String,
}

impl Default for CommandMetadata {
    fn default() -> Self {
        Self {
            exit_code: -1,
            pid: -1,
            username: None,
            hostname: None,
            working_dir: None,
            py_interpreter_path: None,
            prefix: String::new(),
            suffix: String::new(),
        }
    }
}

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, Default)]
pub struct TerminalObservation {
    /// The output.
    #[serde(default)]
    pub content: Vec<Content>,
    /// Whether the call itself failed.
    #[serde(default)]
    pub is_error: bool,
    /// The command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The exit code; -1 while the command runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Never set: a command that runs on has `exit_code` -1.
    #[serde(default)]
    pub timeout: bool,
    /// What the shell said.
    #[serde(default)]
    pub metadata: CommandMetadata,
    /// Where output that was cut stands in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_output_save_dir: Option<String>,
}

/// What the file editor did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileEditorObservation {
    /// What the model reads.
    #[serde(default)]
    pub content: Vec<Content>,
    /// Whether the call failed.
    #[serde(default)]
    pub is_error: bool,
    /// What was asked.
    pub command: EditorCommand,
    /// The file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Whether the file was there before.
    #[serde(default = "yes")]
    pub prev_exist: bool,
    /// The text before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_content: Option<String>,
    /// The text after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_content: Option<String>,
}

fn yes() -> bool {
    true
}

/// The task list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskTrackerObservation {
    /// What the model reads.
    #[serde(default)]
    pub content: Vec<Content>,
    /// Whether the call failed.
    #[serde(default)]
    pub is_error: bool,
    /// What was asked.
    pub command: TaskTrackerCommand,
    /// The list.
    #[serde(default)]
    pub task_list: Vec<TaskItem>,
}

macro_rules! plain {
    ($($(#[$meta:meta])* $name:ident),* $(,)?) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, Default)]
        pub struct $name {
            /// What the model reads.
            #[serde(default)]
            pub content: Vec<Content>,
            /// Whether the call failed.
            #[serde(default)]
            pub is_error: bool,
        }
    )*};
}
plain! {
    /// The answer that ended the turn.
    FinishObservation,
    /// The thought was written down.
    ThinkObservation,
    /// The call went to the client.
    ClientToolObservation,
}

kinds! {
    /// What came of an action.
    pub enum Observation {
        TerminalObservation, FileEditorObservation, TaskTrackerObservation, FinishObservation, ThinkObservation,
        ClientToolObservation,
    }
}

impl Observation {
    /// What the model reads; nothing for an unknown kind.
    pub fn content(&self) -> &[Content] {
        match self {
            Self::TerminalObservation(it) => &it.content,
            Self::FileEditorObservation(it) => &it.content,
            Self::TaskTrackerObservation(it) => &it.content,
            Self::FinishObservation(it) => &it.content,
            Self::ThinkObservation(it) => &it.content,
            Self::ClientToolObservation(it) => &it.content,
            Self::Unknown(_) => &[],
        }
    }

    /// Whether the call failed.
    pub fn is_error(&self) -> bool {
        match self {
            Self::TerminalObservation(it) => it.is_error,
            Self::FileEditorObservation(it) => it.is_error,
            Self::TaskTrackerObservation(it) => it.is_error,
            Self::FinishObservation(it) => it.is_error,
            Self::ThinkObservation(it) => it.is_error,
            Self::ClientToolObservation(it) => it.is_error,
            Self::Unknown(fields) => fields.get("is_error").and_then(serde_json::Value::as_bool).unwrap_or(false),
        }
    }
}
