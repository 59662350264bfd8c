//! The agent's task list (contract: agent §5.5).

use std::{fmt::Write as _, path::PathBuf};

use async_trait::async_trait;
use longshore_protocol::{
    Action, Content, Observation,
    action::{TaskItem, TaskStatus, TaskTrackerAction, TaskTrackerCommand},
    observation::TaskTrackerObservation,
    tool::{ToolAnnotations, ToolDefinition, ToolSchema},
};
use serde_json::json;

use crate::{Call, Context, Error, Tool, files, schema};

const DESCRIPTION: &str = "Keeps a task list for work of several steps. `plan` replaces the whole list, `view` shows it. \
    Keep one task in_progress; set a task to done as soon as it is.";

/// A list longer than this is no plan any more, and every event would carry it.
const MAX_TASKS: usize = 500;

/// What a list on disk may take.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// The tool: the list is a file, so it outlives the process.
#[derive(Debug)]
pub(crate) struct TaskTracker {
    context: Context,
    path: PathBuf,
}

impl TaskTracker {
    pub(crate) fn new(context: Context) -> Self {
        let path = context.persistence_dir.join("TASKS.json");
        Self { context, path }
    }

    async fn view(&self) -> Result<(Vec<TaskItem>, String), Error> {
        let tasks = self.load().await?;
        let text = if tasks.is_empty() {
            "No task list found. Use the \"plan\" command to create one.".to_owned()
        } else {
            show(&tasks)
        };
        Ok((tasks, text))
    }

    async fn plan(&self, tasks: Vec<TaskItem>) -> Result<(Vec<TaskItem>, String), Error> {
        if tasks.len() > MAX_TASKS {
            return Err(Error::Invalid(format!(
                "a task list has at most {MAX_TASKS} tasks; this one has {}",
                tasks.len()
            )));
        }
        // A damaged list is kept for whoever wants to save it: a plan does not write over it.
        self.load().await?;
        let bytes = serde_json::to_vec_pretty(&tasks).map_err(|error| Error::Failed(error.to_string()))?;
        files::write(&*self.context.workspace, &self.path, &bytes).await.map_err(|error| {
            Error::Failed(format!("the task list cannot be saved in {}: {error}", self.path.display()))
        })?;
        let text = format!("Task list has been updated with {} item(s).", tasks.len());
        Ok((tasks, text))
    }

    async fn load(&self) -> Result<Vec<TaskItem>, Error> {
        let path = self.path.display();
        let Some(bytes) = files::read_if_there(&*self.context.workspace, &self.path, MAX_BYTES)
            .await
            .map_err(|error| Error::Failed(format!("the task list in {path} cannot be read: {error}")))?
        else {
            return Ok(Vec::new());
        };
        serde_json::from_slice(&bytes).map_err(|error| {
            Error::Failed(format!(
                "the task list in {path} is damaged ({error}); it was left as it is: repair or move it"
            ))
        })
    }
}

fn show(tasks: &[TaskItem]) -> String {
    let mut text = "# Task List\n".to_owned();
    for (number, TaskItem { title, notes, status }) in (1..).zip(tasks) {
        let icon = match status {
            TaskStatus::Todo => "⏳",
            TaskStatus::InProgress => "🔄",
            TaskStatus::Done => "✅",
        };
        // Writing to a string cannot fail.
        let _ = write!(text, "\n{number}. {icon} {title}");
        if !notes.is_empty() {
            let _ = write!(text, "\n   {notes}");
        }
    }
    text
}

#[async_trait]
impl Tool for TaskTracker {
    fn definition(&self) -> ToolDefinition {
        ToolDefinition {
            description: DESCRIPTION.to_owned(),
            action_type: "TaskTrackerAction".to_owned(),
            observation_type: Some("TaskTrackerObservation".to_owned()),
            annotations: Some(ToolAnnotations {
                title: None,
                read_only: false,
                destructive: false,
                idempotent: true,
                open_world: false,
            }),
            client_tool_name: None,
            input_schema: None,
            kind: "TaskTrackerTool".to_owned(),
            title: "task_tracker".to_owned(),
        }
    }

    fn schema(&self) -> ToolSchema {
        schema::tool(
            "task_tracker",
            DESCRIPTION,
            json!({
                "type": "object",
                "properties": {
                    "command": {"type": "string", "enum": ["view", "plan"], "description": "Default: view."},
                    "task_list": {
                        "type": "array",
                        "description": "The whole new list; for plan.",
                        "items": {
                            "type": "object",
                            "properties": {
                                "title": {"type": "string", "description": "What is to be done."},
                                "notes": {"type": "string", "description": "Details."},
                                "status": {"type": "string", "enum": ["todo", "in_progress", "done"],
                                    "description": "Default: todo."},
                            },
                            "required": ["title"],
                        },
                    },
                },
            }),
        )
    }

    fn resource(&self, _action: &Action) -> Option<String> {
        Some("tool:task_tracker".to_owned())
    }

    async fn run(&self, action: Action, _call: Call) -> Result<Observation, Error> {
        let Action::TaskTrackerAction(TaskTrackerAction { command, task_list }) = action else {
            return Err(schema::wrong_action("task_tracker", &action));
        };
        let done = match command {
            TaskTrackerCommand::View => self.view().await,
            TaskTrackerCommand::Plan => self.plan(task_list).await,
        };
        let (is_error, task_list, text) = match done {
            Ok((tasks, text)) => (false, tasks, text),
            Err(error) => (true, Vec::new(), error.to_string()),
        };
        Ok(TaskTrackerObservation { content: vec![Content::text(text)], is_error, command, task_list }.into())
    }
}
