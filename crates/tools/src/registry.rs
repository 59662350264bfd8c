//! Tools by the names that agents use.

use std::{sync::Arc, time::Duration};

use longshore_protocol::{Agent, Llm, agent::AgentContext, tool::ToolSpec};

use crate::{Context, Tool, file_editor::FileEditor, task_tracker::TaskTracker, terminal};

/// The names that make a tool, in the order that clients are told.
const NAMES: [&str; 3] = ["terminal", "file_editor", "task_tracker"];

/// An agent of `llm` with what agents have for whom nobody chose: all tools of this crate.
pub fn usual_agent(llm: Llm) -> Agent {
    let tools = NAMES.map(ToolSpec::new).to_vec();
    Agent { agent_context: Some(AgentContext::default()), ..Agent::new(llm, tools) }
}

/// Makes tools by name.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    max_timeout: Option<Duration>,
}

impl Registry {
    /// A registry of the tools of this crate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Refuses terminal commands that ask to be waited for longer than 90 % of `idle`, the time after which whoever hosts
    /// the server takes it for unused and stops it.
    #[must_use]
    pub fn with_idle_timeout(self, idle: Duration) -> Self {
        Self { max_timeout: Some(idle.mul_f64(0.9)) }
    }

    /// The names of the tools that agents can use here.
    pub fn names(&self) -> Vec<&'static str> {
        NAMES.to_vec()
    }

    /// Makes the tools that `spec` names: none for a browser, which cannot be started here, else one.
    ///
    /// # Errors
    /// [`UnknownTool`] for a name that is not known and for settings that make no sense.
    pub fn create(&self, spec: &ToolSpec, context: &Context) -> Result<Vec<Arc<dyn Tool>>, UnknownTool> {
        let context = context.clone();
        let tool: Arc<dyn Tool> = match spec.name.as_str() {
            "terminal" | "TerminalTool" => {
                let settings = terminal::Settings::read(&spec.params, self.max_timeout)
                    .map_err(|reason| UnknownTool::Params { name: spec.name.clone(), reason })?;
                Arc::new(terminal::Terminal::new(context, settings))
            }
            "file_editor" | "FileEditorTool" => Arc::new(FileEditor::new(context)),
            "task_tracker" | "TaskTrackerTool" => Arc::new(TaskTracker::new(context)),
            "browser_tool_set" | "BrowserToolSet" => {
                tracing::warn!(tool = spec.name, "there is no browser here: the agent gets no browser tools");
                return Ok(Vec::new());
            }
            _ => return Err(UnknownTool::Name { name: spec.name.clone() }),
        };
        Ok(vec![tool])
    }
}

/// Why a tool could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownTool {
    /// No tool has the name.
    #[error("ToolDefinition '{name}' is not registered. Available: {}", NAMES.join(", "))]
    Name {
        /// The name.
        name: String,
    },
    /// The tool cannot be set up that way.
    #[error("the settings of tool '{name}' are wrong: {reason}")]
    Params {
        /// The tool.
        name: String,
        /// What is wrong with which setting.
        reason: String,
    },
}
