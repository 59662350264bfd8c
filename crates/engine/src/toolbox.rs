//! The tools of one conversation.

use std::{path::PathBuf, sync::Arc};

use longshore_agent::{Runner, ToolInfo, builtin};
use longshore_protocol::{
    Agent,
    conversation::Definition,
    tool::{ClientToolSpec, ToolDefinition, ToolSchema},
};
use longshore_tools::{Context, Registry, Tool};
use longshore_workspace::{Awake, Workspace, git};
use serde_json::{Map, Value, json};
use tokio::sync::OnceCell;

use crate::Error;

/// The tools of one conversation, and the place they work in.
#[derive(Debug)]
pub(crate) struct Toolbox {
    workspace: Arc<dyn Workspace>,
    tools: Vec<(String, Arc<dyn Tool>)>,
    is_prepared: OnceCell<()>,
}

impl Toolbox {
    /// The tools that `definition` asks for, and how the machine sees them: the agent's own, the built-in ones, the client's.
    pub(crate) fn new(
        registry: &Registry,
        workspace: Arc<dyn Workspace>,
        persistence_dir: PathBuf,
        definition: &Definition,
    ) -> Result<(Self, Vec<ToolInfo>), Error> {
        let context = Context { workspace: Arc::clone(&workspace), persistence_dir };
        let mut tools = Vec::new();
        let mut infos = Vec::new();
        for spec in &definition.agent.tools {
            if definition.client_tools.iter().any(|tool| tool.name == spec.name) {
                continue;
            }
            let made = registry.create(spec, &context).map_err(|error| Error::invalid("agent", error.to_string()))?;
            for tool in made {
                let info = describe(&tool);
                tools.push((info.schema.name.clone(), tool));
                infos.push(info);
            }
        }
        infos.extend(built_in(&definition.agent)?);
        infos.extend(definition.client_tools.iter().map(client_tool));
        check_names(&infos)?;
        Ok((Self { workspace, tools, is_prepared: OnceCell::new() }, infos))
    }

    /// The tool with this name.
    pub(crate) fn tool(&self, name: &str) -> Option<Arc<dyn Tool>> {
        self.tools.iter().find(|(tool, _)| tool == name).map(|(_, tool)| Arc::clone(tool))
    }

    /// Makes the folder and its repository when they are first needed.
    pub(crate) async fn prepare(&self) {
        let prepare = async || {
            let folder = self.workspace.working_dir();
            if let Err(error) = self.workspace.create_dir(folder).await {
                tracing::warn!(%error, "the working folder could not be made");
            } else if let Err(error) = git::init_if_needed(&*self.workspace, folder).await {
                tracing::info!(%error, "the working folder has no repository");
            }
        };
        self.is_prepared.get_or_init(prepare).await;
    }

    /// Keeps the place awake for as long as the value lives.
    pub(crate) fn stay_awake(&self) -> Awake {
        self.workspace.stay_awake()
    }

    /// Ends what the tools keep running.
    pub(crate) async fn close(&self) {
        for (_, tool) in &self.tools {
            tool.close().await;
        }
    }

    /// Lets go of what the tools keep running, which goes on without this process.
    pub(crate) async fn leave(&self) {
        for (_, tool) in &self.tools {
            tool.leave().await;
        }
    }
}

fn describe(tool: &Arc<dyn Tool>) -> ToolInfo {
    let resource = Arc::clone(tool);
    ToolInfo {
        definition: tool.definition(),
        schema: tool.schema(),
        runner: Runner::World(Arc::new(move |action| resource.resource(action))),
    }
}

fn built_in(agent: &Agent) -> Result<Vec<ToolInfo>, Error> {
    agent
        .include_default_tools
        .iter()
        .map(|class| {
            builtin::by_class(class).ok_or_else(|| {
                let reason =
                    format!("include_default_tools: '{class}' is not available. Available: FinishTool, ThinkTool");
                Error::invalid("agent", reason)
            })
        })
        .collect()
}

fn client_tool(spec: &ClientToolSpec) -> ToolInfo {
    let mut parameters = spec.parameters.clone();
    parameters.entry("type").or_insert_with(|| json!("object"));
    parameters.entry("properties").or_insert_with(|| Value::Object(Map::new()));
    ToolInfo {
        definition: ToolDefinition {
            description: spec.description.clone(),
            action_type: format!("ClientAction_{}", spec.name),
            observation_type: Some("ClientToolObservation".to_owned()),
            annotations: spec.annotations.clone(),
            client_tool_name: Some(spec.name.clone()),
            input_schema: Some(spec.parameters.clone()),
            kind: "ClientTool".to_owned(),
            title: spec.name.clone(),
        },
        schema: ToolSchema { name: spec.name.clone(), description: spec.description.clone(), parameters },
        runner: Runner::Client,
    }
}

fn check_names(tools: &[ToolInfo]) -> Result<(), Error> {
    for (index, tool) in tools.iter().enumerate() {
        let name = &tool.schema.name;
        if tools[..index].iter().any(|other| other.schema.name == *name) {
            return Err(Error::invalid("agent", format!("Duplicate tool names found: {{'{name}'}}")));
        }
    }
    Ok(())
}
