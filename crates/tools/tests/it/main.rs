//! The tools over a real workspace, as an agent uses them.

mod file_editor;
mod lost;
mod registry;
mod task_tracker;
mod terminal;

use std::{path::PathBuf, sync::Arc, time::Duration};

use longshore_protocol::{Action, Content, Observation, tool::ToolSpec};
use longshore_tools::{Call, Context, Error, Registry, Tool};
use longshore_workspace::{Local, LocalOptions};
use serde_json::{Map, Value};
use tempfile::TempDir;

/// Waiting longer than this for anything is a failure.
const DEADLINE: Duration = Duration::from_mins(1);

/// A tool in a workspace of its own, with an empty home.
struct Bench {
    folder: TempDir,
    tool: Arc<dyn Tool>,
}

impl Bench {
    fn new(tool: &str) -> Self {
        Self::with(tool, Value::Null, &[])
    }

    /// With settings, and with files in the home folder.
    fn with(tool: &str, params: Value, home: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().expect("a folder");
        for name in ["home", "work"] {
            std::fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        for (name, content) in home {
            std::fs::write(folder.path().join("home").join(name), content).expect("a file");
        }
        let tool = make(tool, params, &context(&folder));
        Self { folder, tool }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("work").join(name)
    }

    async fn run(&self, action: impl Into<Action>) -> Result<Observation, Error> {
        self.call(action, Call::default()).await
    }

    async fn call(&self, action: impl Into<Action>, call: Call) -> Result<Observation, Error> {
        tokio::time::timeout(DEADLINE, self.tool.run(action.into(), call)).await.expect("the tool answers in time")
    }
}

/// A workspace in `folder`.
fn context(folder: &TempDir) -> Context {
    let mut options = LocalOptions::new(folder.path().join("work"));
    options.env.push(("HOME".into(), folder.path().join("home").into()));
    Context {
        workspace: Arc::new(Local::new(options).expect("a workspace")),
        persistence_dir: folder.path().join("state"),
    }
}

fn make(name: &str, params: Value, context: &Context) -> Arc<dyn Tool> {
    let params = params.as_object().cloned().unwrap_or_else(Map::new);
    let mut tools = Registry::new().create(&ToolSpec { name: name.to_owned(), params }, context).expect("a tool");
    assert_eq!(tools.len(), 1);
    tools.remove(0)
}

fn text(content: &[Content]) -> &str {
    content.first().and_then(Content::as_text).unwrap_or_default()
}
