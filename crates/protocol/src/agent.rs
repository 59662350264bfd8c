//! The agent that a client sends (contract: agent §1.1, §1.3, §4, §6.1).

use indexmap::IndexMap;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    kinds::kinds,
    llm::Llm,
    secret::{self, Opaque, Secret},
    tool::ToolSpec,
};

/// Keeps the whole history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, Default)]
pub struct NoOpCondenser {}

/// Replaces the middle of a long history by a summary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LLMSummarizingCondenser {
    /// The model that writes summaries.
    pub llm: Box<Llm>,
    /// Events after which the history is too long.
    #[serde(default = "default_max_size")]
    pub max_size: u64,
    /// Tokens after which the history is too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// Events at the start that stay.
    #[serde(default = "default_keep_first")]
    pub keep_first: u64,
    /// The smallest part worth forgetting.
    #[serde(default = "default_minimum_progress")]
    pub minimum_progress: f64,
    /// Attempts of a hard reset.
    #[serde(default = "default_hard_context_reset_max_retries")]
    pub hard_context_reset_max_retries: u64,
    /// How much shorter each attempt is.
    #[serde(default = "default_hard_context_reset_context_scaling")]
    pub hard_context_reset_context_scaling: f64,
}

fn default_max_size() -> u64 {
    240
}

fn default_keep_first() -> u64 {
    2
}

fn default_minimum_progress() -> f64 {
    0.1
}

fn default_hard_context_reset_max_retries() -> u64 {
    5
}

fn default_hard_context_reset_context_scaling() -> f64 {
    0.8
}

/// Several condensers, one after the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PipelineCondenser {
    /// In the order they run.
    #[schema(no_recursion)]
    pub condensers: Vec<Condenser>,
}

kinds! {
    /// How a long history is shortened.
    pub enum Condenser { NoOpCondenser, LLMSummarizingCondenser, PipelineCondenser }
}

/// When a skill applies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Trigger {
    /// A word in the user's message.
    Keyword {
        /// The words.
        keywords: Vec<String>,
    },
    /// A command in the user's message.
    Task {
        /// The commands.
        triggers: Vec<String>,
    },
    /// A file that the agent touches.
    Path {
        /// Glob patterns.
        paths: Vec<String>,
    },
}

/// Knowledge for the agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Skill {
    /// The name, unique in a context.
    pub name: String,
    /// What the agent is to know.
    pub content: String,
    /// When it applies; always if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Trigger>,
    /// Where it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// MCP servers that it brings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mcp_tools: Option<Opaque>,
    /// Values that a task asks for.
    #[serde(default)]
    pub inputs: Vec<Value>,
    /// Whether it is a folder with a `SKILL.md`.
    #[serde(default)]
    pub is_agentskills_format: bool,
    /// Its version.
    #[serde(default = "default_skill_version")]
    pub version: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its licence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// What it needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compatibility: Option<String>,
    /// Other facts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<IndexMap<String, String>>,
    /// Tools that it may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_tools: Option<Vec<String>>,
    /// Whether the model may not call for it.
    #[serde(default)]
    pub disable_model_invocation: bool,
    /// Files beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Value>,
}

fn default_skill_version() -> String {
    "1.0.0".to_owned()
}

/// What an agent knows besides its instructions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct AgentContext {
    /// Skills.
    pub skills: Vec<Skill>,
    /// Text at the end of the instructions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_message_suffix: Option<String>,
    /// Text at the end of each user message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_message_suffix: Option<String>,
    /// Whether to load the user's skills.
    pub load_user_skills: bool,
    /// Whether to load public skills.
    pub load_public_skills: bool,
    /// The marketplace of public skills.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marketplace_path: Option<String>,
    /// Other marketplaces.
    pub registered_marketplaces: Vec<Value>,
    /// Whether to load the project's skills.
    pub load_project_skills: bool,
    /// Whether to load memory files.
    pub load_memory: bool,
    /// Skills to leave out.
    pub disabled_skills: Vec<String>,
    /// Secrets by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secrets: Option<IndexMap<String, SecretValue>>,
    /// The time to tell the agent: a date and time, or any text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_datetime: Option<String>,
}

impl Default for AgentContext {
    fn default() -> Self {
        Self {
            skills: Vec::new(),
            system_message_suffix: None,
            user_message_suffix: None,
            load_user_skills: false,
            load_public_skills: false,
            marketplace_path: Some("marketplaces/default.json".to_owned()),
            registered_marketplaces: Vec::new(),
            load_project_skills: false,
            load_memory: false,
            disabled_skills: Vec::new(),
            secrets: None,
            current_datetime: None,
        }
    }
}

/// A secret that is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StaticSecret {
    /// What it is for; the agent reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The value; absent where a client sent it redacted.
    #[serde(default, deserialize_with = "secret::optional", skip_serializing_if = "Option::is_none")]
    pub value: Option<Secret>,
}

/// A secret to ask another server for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LookupSecret {
    /// What it is for; the agent reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The address that answers with the value.
    pub url: String,
    /// Headers of the request.
    #[serde(default)]
    pub headers: Headers,
}

/// Headers by name. The values of secret-looking ones are secrets.
#[derive(Clone, PartialEq, Default)]
pub struct Headers(pub IndexMap<String, String>);

impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Serialize for Headers {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = self.0.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
        Opaque(Value::Object(fields)).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let opaque = Opaque::deserialize(deserializer)?;
        serde_json::from_value(opaque.0).map(Self).map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for Headers {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        std::collections::BTreeMap::<String, String>::schema()
    }
}

impl ToSchema for Headers {}

kinds! {
    /// Where a secret's value comes from.
    pub enum SecretSource { StaticSecret, LookupSecret }
}

/// A secret as clients write it: a source, an object with a `value`, or the value alone.
#[derive(Debug, Clone, PartialEq)]
pub struct SecretValue(pub SecretSource);

impl Serialize for SecretValue {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SecretValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let as_static = |value: Value| serde_json::from_value::<StaticSecret>(value).map(SecretSource::from);
        let source = match Value::deserialize(deserializer)? {
            text @ Value::String(_) => {
                let fields = Map::from_iter([("value".to_owned(), text)]);
                as_static(Value::Object(fields))
            }
            Value::Object(fields) if fields.contains_key("kind") => SecretSource::from_object(fields),
            fields @ Value::Object(_) => as_static(fields),
            _ => return Err(serde::de::Error::custom("a secret is a text or a SecretSource object")),
        };
        match source {
            Ok(SecretSource::Unknown(fields)) => Err(serde::de::Error::custom(format_args!(
                "Unknown kind {} for a secret; expected one of {:?}",
                fields.get("kind").unwrap_or(&Value::Null),
                SecretSource::KINDS
            ))),
            Ok(source) => Ok(Self(source)),
            // The cause may quote the value, so only its place is said.
            Err(_) => Err(serde::de::Error::custom("a secret's value, url or headers have the wrong type")),
        }
    }
}

impl utoipa::PartialSchema for SecretValue {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        SecretSource::schema()
    }
}

impl ToSchema for SecretValue {
    fn schemas(schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::schema::Schema>)>) {
        SecretSource::schemas(schemas);
    }
}

/// An agent: a model, tools and instructions.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(tag = "kind")]
pub struct Agent {
    /// The model.
    pub llm: Llm,
    /// Tools besides the built-in ones.
    pub tools: Vec<ToolSpec>,
    /// MCP servers by name.
    pub mcp_config: IndexMap<String, Opaque>,
    /// Only tools whose name matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_tools_regex: Option<String>,
    /// Class names of built-in tools.
    pub include_default_tools: Vec<String>,
    /// What the agent knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_context: Option<AgentContext>,
    /// Instructions that replace ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_prompt: Option<String>,
    /// A named set of instructions.
    pub system_prompt_filename: String,
    /// A named security policy; empty for none.
    pub security_policy_filename: String,
    /// Values for the instructions.
    pub system_prompt_kwargs: Map<String, Value>,
    /// How a long history is shortened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condenser: Option<Condenser>,
    /// A judge of the agent's work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub critic: Option<Opaque>,
    /// How many tool calls of one reply run at the same time.
    pub tool_concurrency_limit: usize,
    /// Who the agent is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persona: Option<String>,
}

impl Agent {
    /// An agent with the built-in tools and the official defaults.
    pub fn new(llm: Llm, tools: Vec<ToolSpec>) -> Self {
        AgentInput { llm: Some(llm), tools, ..AgentInput::default() }.into_agent().expect("a model is given")
    }
}

/// The fields of [`Agent`] as clients may leave them out.
#[derive(Deserialize)]
#[serde(default)]
struct AgentInput {
    kind: Option<String>,
    llm: Option<Llm>,
    tools: Vec<ToolSpec>,
    mcp_config: IndexMap<String, Opaque>,
    filter_tools_regex: Option<String>,
    include_default_tools: Vec<String>,
    agent_context: Option<AgentContext>,
    system_prompt: Option<String>,
    system_prompt_filename: String,
    security_policy_filename: Option<String>,
    system_prompt_kwargs: Map<String, Value>,
    condenser: Option<Condenser>,
    critic: Option<Opaque>,
    tool_concurrency_limit: usize,
    persona: Option<String>,
}

impl Default for AgentInput {
    fn default() -> Self {
        Self {
            kind: None,
            llm: None,
            tools: Vec::new(),
            mcp_config: IndexMap::new(),
            filter_tools_regex: None,
            include_default_tools: vec!["FinishTool".to_owned(), "ThinkTool".to_owned()],
            agent_context: None,
            system_prompt: None,
            system_prompt_filename: "system_prompt.j2".to_owned(),
            security_policy_filename: Some("security_policy.j2".to_owned()),
            system_prompt_kwargs: Map::new(),
            condenser: None,
            critic: None,
            tool_concurrency_limit: 1,
            persona: None,
        }
    }
}

impl AgentInput {
    fn into_agent(self) -> Result<Agent, String> {
        if let Some(kind) = self.kind.filter(|kind| kind != "Agent") {
            return Err(format!("Unknown kind '{kind}' for an agent; Expected one of: ['Agent']"));
        }
        if self.tool_concurrency_limit == 0 {
            return Err("tool_concurrency_limit: Input should be greater than or equal to 1".to_owned());
        }
        if let Some(blank) = self.tools.iter().position(|tool| tool.name.trim().is_empty()) {
            return Err(format!("tools[{blank}].name: must not be blank"));
        }
        let mut system_prompt_kwargs = self.system_prompt_kwargs;
        system_prompt_kwargs.entry("llm_security_analyzer").or_insert(Value::Bool(true));
        Ok(Agent {
            llm: self.llm.ok_or("missing field `llm`")?,
            tools: self.tools,
            mcp_config: self.mcp_config,
            filter_tools_regex: self.filter_tools_regex,
            include_default_tools: self.include_default_tools,
            agent_context: self.agent_context,
            system_prompt: self.system_prompt,
            system_prompt_filename: self.system_prompt_filename,
            security_policy_filename: self.security_policy_filename.unwrap_or_default(),
            system_prompt_kwargs,
            condenser: self.condenser,
            critic: self.critic,
            tool_concurrency_limit: self.tool_concurrency_limit,
            persona: self.persona,
        })
    }
}

impl<'de> Deserialize<'de> for Agent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        AgentInput::deserialize(deserializer)?.into_agent().map_err(serde::de::Error::custom)
    }
}
