//! Conversations: how they are made, what they are, how they change (contract: server §3).

use indexmap::IndexMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeMap as _};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    agent::{Agent, SecretSource, SecretValue},
    confirmation::{ConfirmationPolicy, SecurityAnalyzer},
    id::ConversationId,
    message::{Content, Message, Role},
    metrics::{Metrics, MetricsSnapshot, Stats},
    sandbox::SandboxOptions,
    secret::Opaque,
    time::UtcTime,
    tool::ClientToolSpec,
};

/// What a conversation is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, Default)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionStatus {
    /// Waiting for a message or a run.
    #[default]
    Idle,
    /// The agent works.
    Running,
    /// The user stopped the run.
    Paused,
    /// Actions wait for the user.
    WaitingForConfirmation,
    /// The agent is done.
    Finished,
    /// The run failed.
    Error,
    /// The agent went in circles.
    Stuck,
    /// About to be gone; only told to webhooks.
    Deleting,
}

impl ExecutionStatus {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::WaitingForConfirmation => "waiting_for_confirmation",
            Self::Finished => "finished",
            Self::Error => "error",
            Self::Stuck => "stuck",
            Self::Deleting => "deleting",
        }
    }
}

/// Where an agent works.
#[derive(Debug, Clone, PartialEq, Eq, ToSchema)]
#[schema(as = LocalWorkspace)]
pub struct LocalWorkspace {
    /// The folder.
    pub working_dir: String,
    /// What the conversation's own box is made from; without it the conversation works where all others of its user do. Not
    /// in the official contract, so it is absent and not null where there is none.
    pub sandbox: Option<SandboxOptions>,
    /// The workspace, among those that the user made, that the conversation works in. Not in the official contract either.
    pub workspace_id: Option<Uuid>,
}

impl Serialize for LocalWorkspace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        fields.serialize_entry("kind", "LocalWorkspace")?;
        fields.serialize_entry("working_dir", &self.working_dir)?;
        if let Some(sandbox) = &self.sandbox {
            fields.serialize_entry("sandbox", sandbox)?;
        }
        if let Some(id) = &self.workspace_id {
            fields.serialize_entry("workspace_id", id)?;
        }
        fields.end()
    }
}

impl LocalWorkspace {
    /// A folder where the user works.
    pub fn new(working_dir: impl Into<String>) -> Self {
        Self { working_dir: working_dir.into(), sandbox: None, workspace_id: None }
    }
}

impl<'de> Deserialize<'de> for LocalWorkspace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Input {
            working_dir: String,
            kind: Option<String>,
            #[serde(default)]
            sandbox: Option<SandboxOptions>,
            #[serde(default)]
            workspace_id: Option<Uuid>,
        }
        let input = Input::deserialize(deserializer)?;
        match input.kind.as_deref() {
            None | Some("LocalWorkspace") if input.working_dir.is_empty() => {
                Err(de::Error::custom("working_dir must not be empty"))
            }
            None | Some("LocalWorkspace") if input.sandbox.is_some() && input.workspace_id.is_some() => {
                Err(de::Error::custom("sandbox is for a place of the conversation's own: leave it or workspace_id out"))
            }
            None | Some("LocalWorkspace") => {
                let Input { working_dir, sandbox, workspace_id, .. } = input;
                Ok(Self { working_dir, sandbox, workspace_id })
            }
            Some(kind) => Err(de::Error::custom(format_args!(
                "Unknown kind '{kind}' for a workspace; Expected one of: ['LocalWorkspace']"
            ))),
        }
    }
}

/// Body of `POST /api/conversations/{id}/events`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct SendMessage {
    /// Only `user` may send.
    pub role: Role,
    /// What is said.
    pub content: Vec<Content>,
    /// Whether the agent is to begin.
    pub run: bool,
}

impl SendMessage {
    /// The message without the wish to run.
    pub fn into_message(self) -> Message {
        Message::new(self.role, self.content)
    }
}

/// Body of `POST /api/conversations`.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
pub struct StartConversation {
    /// The agent.
    #[serde(default)]
    pub agent: Option<Agent>,
    /// Settings to make an agent from.
    #[serde(default)]
    pub agent_settings: Option<Map<String, Value>>,
    /// A saved agent.
    #[serde(default)]
    pub agent_profile_id: Option<String>,
    /// Where the agent works.
    pub workspace: LocalWorkspace,
    /// Whether to work in a git worktree of its own.
    #[serde(default)]
    pub worktree: bool,
    /// The id to give; the same again returns the same conversation.
    #[serde(default)]
    pub conversation_id: Option<ConversationId>,
    /// The conversation that this one helps.
    #[serde(default)]
    pub parent_conversation_id: Option<ConversationId>,
    /// Which actions wait for the user.
    #[serde(default)]
    pub confirmation_policy: ConfirmationPolicy,
    /// Who judges actions.
    #[serde(default)]
    pub security_analyzer: Option<SecurityAnalyzer>,
    /// A first message; the run starts with it.
    #[serde(default)]
    pub initial_message: Option<SendMessage>,
    /// Model calls that one run may make.
    #[serde(default = "default_max_iterations")]
    pub max_iterations: u64,
    /// Whether to stop an agent that goes in circles.
    #[serde(default = "yes")]
    pub stuck_detection: bool,
    /// Secrets by name.
    #[serde(default)]
    pub secrets: IndexMap<String, SecretValue>,
    /// Whether secrets in this request are tokens under the server's key.
    #[serde(default)]
    pub secrets_encrypted: bool,
    /// Python modules of tools; returned as they came.
    #[serde(default)]
    pub tool_module_qualnames: IndexMap<String, String>,
    /// Tools that the client runs.
    #[serde(default)]
    pub client_tools: Vec<ClientToolSpec>,
    /// Sub-agents; kept for the client.
    #[serde(default)]
    pub agent_definitions: Vec<Opaque>,
    /// Plugins; kept for the client.
    #[serde(default)]
    pub plugins: Option<Vec<Opaque>>,
    /// Hooks; kept for the client.
    #[serde(default)]
    pub hook_config: Option<Opaque>,
    /// Labels: keys of small letters and digits, values of at most 256 characters.
    #[serde(default)]
    pub tags: IndexMap<String, String>,
    /// The user on whose behalf the client works.
    #[serde(default)]
    pub user_id: Option<String>,
    /// Whether to find a title by itself.
    #[serde(default = "yes")]
    pub autotitle: bool,
    /// Where the conversation runs.
    #[serde(default)]
    pub conversation_runtime: Option<String>,
}

impl StartConversation {
    /// A conversation of `agent` in `workspace`, with nothing said yet.
    pub fn new(agent: Agent, workspace: LocalWorkspace) -> Self {
        Self {
            agent: Some(agent),
            agent_settings: None,
            agent_profile_id: None,
            workspace,
            worktree: false,
            conversation_id: None,
            parent_conversation_id: None,
            confirmation_policy: ConfirmationPolicy::default(),
            security_analyzer: None,
            initial_message: None,
            max_iterations: default_max_iterations(),
            stuck_detection: true,
            secrets: IndexMap::new(),
            secrets_encrypted: false,
            tool_module_qualnames: IndexMap::new(),
            client_tools: Vec::new(),
            agent_definitions: Vec::new(),
            plugins: None,
            hook_config: None,
            tags: IndexMap::new(),
            user_id: None,
            autotitle: true,
            conversation_runtime: None,
        }
    }
}

fn yes() -> bool {
    true
}

fn default_max_iterations() -> u64 {
    500
}

/// Secrets of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema, Default)]
pub struct SecretRegistry {
    /// By name.
    #[serde(default)]
    pub secret_sources: IndexMap<String, SecretSource>,
}

/// What a conversation is: set when it is made, and large. Secrets in it are encrypted at rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// The agent.
    pub agent: Agent,
    /// Where it works.
    pub workspace: LocalWorkspace,
    /// Model calls that one run may make.
    pub max_iterations: u64,
    /// Whether to stop an agent that goes in circles.
    pub stuck_detection: bool,
    /// Tools that the client runs.
    pub client_tools: Vec<ClientToolSpec>,
    /// Python modules of tools, as the client sent them.
    pub tool_module_qualnames: IndexMap<String, String>,
    /// Sub-agents; kept for the client.
    pub agent_definitions: Vec<Opaque>,
    /// Plugins; kept for the client.
    pub plugins: Option<Vec<Opaque>>,
    /// Hooks; kept for the client.
    pub hook_config: Option<Opaque>,
    /// The user on whose behalf the client works.
    pub user_id: Option<String>,
    /// Whether to find a title by itself.
    pub autotitle: bool,
}

/// How far a conversation is: changes with nearly every event, and small.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(default)]
pub struct Progress {
    /// What it is doing.
    pub execution_status: ExecutionStatus,
    /// Which actions wait for the user.
    pub confirmation_policy: ConfirmationPolicy,
    /// Who judges actions.
    pub security_analyzer: Option<SecurityAnalyzer>,
    /// Skills that messages set off.
    pub activated_knowledge_skills: Vec<String>,
    /// The latest message of the user.
    pub last_user_message_id: Option<String>,
    /// The event that the next one follows.
    pub leaf_event_id: Option<String>,
    /// What it cost.
    pub stats: Stats,
    /// What the agent keeps between runs.
    pub agent_state: Map<String, Value>,
}

/// The state of a conversation: the value of a `full_state` event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConversationState {
    /// The conversation.
    pub id: ConversationId,
    /// The agent.
    pub agent: Agent,
    /// Where it works.
    pub workspace: LocalWorkspace,
    /// Where full outputs and task lists are kept.
    pub persistence_dir: String,
    /// Model calls that one run may make.
    pub max_iterations: u64,
    /// Whether to stop an agent that goes in circles.
    pub stuck_detection: bool,
    /// What it is doing.
    pub execution_status: ExecutionStatus,
    /// Which actions wait for the user.
    pub confirmation_policy: ConfirmationPolicy,
    /// Who judges actions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_analyzer: Option<SecurityAnalyzer>,
    /// Skills that messages set off.
    #[serde(default)]
    pub activated_knowledge_skills: Vec<String>,
    /// Skills that files set off.
    #[serde(default)]
    pub activated_path_rules: Vec<String>,
    /// Skills that the model called for.
    #[serde(default)]
    pub invoked_skills: Vec<String>,
    /// Actions that a hook rejected, with reasons.
    #[serde(default)]
    pub blocked_actions: IndexMap<String, String>,
    /// Messages that a hook rejected, with reasons.
    #[serde(default)]
    pub blocked_messages: IndexMap<String, String>,
    /// The latest message of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_user_message_id: Option<String>,
    /// The event that the next one follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaf_event_id: Option<String>,
    /// Whether the next event begins a new tree.
    #[serde(default)]
    pub head_is_empty: bool,
    /// What it cost.
    #[serde(default)]
    pub stats: Stats,
    /// Its secrets.
    #[serde(default)]
    pub secret_registry: SecretRegistry,
    /// Labels.
    #[serde(default)]
    pub tags: IndexMap<String, String>,
    /// What the agent keeps between runs.
    #[serde(default)]
    pub agent_state: Map<String, Value>,
    /// Hooks; kept for the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook_config: Option<Opaque>,
}

/// A conversation as REST answers give it. Null fields are written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConversationInfo {
    /// The conversation.
    pub id: ConversationId,
    /// Where it works.
    pub workspace: LocalWorkspace,
    /// Where full outputs and task lists are kept.
    pub persistence_dir: String,
    /// Model calls that one run may make.
    pub max_iterations: u64,
    /// Whether to stop an agent that goes in circles.
    pub stuck_detection: bool,
    /// What it is doing.
    pub execution_status: ExecutionStatus,
    /// Which actions wait for the user.
    pub confirmation_policy: ConfirmationPolicy,
    /// Who judges actions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_analyzer: Option<SecurityAnalyzer>,
    /// Skills that messages set off.
    pub activated_knowledge_skills: Vec<String>,
    /// Skills that the model called for.
    pub invoked_skills: Vec<String>,
    /// Actions that a hook rejected, with reasons.
    pub blocked_actions: IndexMap<String, String>,
    /// Messages that a hook rejected, with reasons.
    pub blocked_messages: IndexMap<String, String>,
    /// The latest message of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_user_message_id: Option<String>,
    /// The event that the next one follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaf_event_id: Option<String>,
    /// What it cost, call by call.
    pub stats: Stats<Metrics>,
    /// Its secrets, redacted.
    pub secret_registry: SecretRegistry,
    /// What the agent keeps between runs.
    pub agent_state: Map<String, Value>,
    /// Hooks; kept for the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook_config: Option<Opaque>,
    /// Its title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Always null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<MetricsSnapshot>,
    /// When it was made.
    pub created_at: UtcTime,
    /// When it last changed.
    pub updated_at: UtcTime,
    /// The conversation that it is a copy of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked_from_conversation_id: Option<ConversationId>,
    /// The event that the copy ends with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked_from_event_id: Option<String>,
    /// The conversation that this one helps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_conversation_id: Option<ConversationId>,
    /// Conversations that help this one.
    pub sub_conversation_ids: Vec<ConversationId>,
    /// Labels.
    pub tags: IndexMap<String, String>,
    /// Only for ACP agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_model_id: Option<String>,
    /// Only for ACP agents.
    pub available_models: Vec<Value>,
    /// Only for ACP agents.
    pub supports_runtime_model_switch: bool,
    /// The saved agent that it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launched_agent_profile: Option<Value>,
    /// The agent.
    pub agent: Agent,
    /// Tools that the client runs.
    pub client_tools: Vec<ClientToolSpec>,
    /// Python modules of tools, as the client sent them.
    pub tool_module_qualnames: IndexMap<String, String>,
    /// Whether its workspace can be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_info: Option<RuntimeInfo>,
}

/// Whether a conversation's workspace can be used. Null fields are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuntimeInfo {
    /// `available`.
    pub runtime_status: String,
    /// Whether a run can go on.
    pub can_resume: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_error: Option<String>,
}

impl RuntimeInfo {
    /// It can be used.
    pub fn available() -> Self {
        Self { runtime_status: "available".to_owned(), can_resume: true, runtime_error: None }
    }
}

/// Body of `PATCH /api/conversations/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct UpdateConversation {
    /// A new title: 1 to 200 characters, not blank.
    pub title: Option<String>,
    /// New labels in place of all others.
    pub tags: Option<IndexMap<String, String>>,
}

/// Body of `POST /api/conversations/{id}/secrets`.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
pub struct UpdateSecrets {
    /// Secrets by name.
    pub secrets: IndexMap<String, SecretValue>,
}

/// Answer of `GET /api/conversations/{id}/agent_final_response`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FinalResponse {
    /// The last thing the agent said to the user; empty if it said nothing.
    pub response: String,
}

/// What is wrong with labels, if anything: which one and what is expected.
///
/// # Errors
/// A sentence that names the label.
pub fn check_tags(tags: &IndexMap<String, String>) -> Result<(), String> {
    const MAX_VALUE: usize = 256;
    for (key, value) in tags {
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
            return Err(format!("Tag key '{key}' is invalid: keys must be lowercase alphanumeric only"));
        }
        if value.chars().count() > MAX_VALUE {
            return Err(format!("Tag value for '{key}' exceeds {MAX_VALUE} characters"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::nulls;

    #[test]
    fn a_workspace_comes_back_from_the_store() {
        for sandbox in [None, Some(json!({})), Some(json!({"resource_limits": {}, "image": "a", "timeout": 5}))] {
            let mut text = json!({"kind": "LocalWorkspace", "working_dir": "/w"});
            if let Some(sandbox) = sandbox {
                text["sandbox"] = sandbox;
            }
            let workspace: LocalWorkspace = serde_json::from_value(text).unwrap();
            let stored = nulls::to_vec(&workspace).unwrap();
            assert_eq!(serde_json::from_slice::<LocalWorkspace>(&stored).unwrap(), workspace);
        }
    }
}
