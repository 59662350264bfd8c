//! A conversation as others see it.

use std::sync::Arc;

use bytes::Bytes;
use indexmap::IndexMap;
use longshore_protocol::{
    ConversationId, UtcTime,
    agent::SecretSource,
    conversation::{ConversationInfo, ConversationState, Definition, Progress, RuntimeInfo, SecretRegistry},
    metrics::{Call, Metrics, Stats},
    nulls, secret,
};

/// The JSON text of a [`ConversationInfo`], with null fields and without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info(pub Bytes);

/// All that is known of a conversation at one moment, model calls excepted.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) id: ConversationId,
    pub(crate) persistence_dir: Arc<str>,
    pub(crate) created_at: UtcTime,
    pub(crate) updated_at: UtcTime,
    pub(crate) parent: Option<ConversationId>,
    pub(crate) title: Option<String>,
    pub(crate) tags: Arc<IndexMap<String, String>>,
    pub(crate) secrets: Arc<IndexMap<String, SecretSource>>,
    pub(crate) definition: Arc<Definition>,
    pub(crate) progress: Progress,
}

impl Snapshot {
    pub(crate) fn of_row(row: longshore_store::Conversation, persistence_dir: Arc<str>) -> Self {
        Self {
            id: row.id,
            persistence_dir,
            created_at: row.created_at,
            updated_at: row.updated_at,
            parent: row.parent,
            title: row.title,
            tags: Arc::new(row.tags),
            secrets: Arc::new(row.secrets),
            definition: Arc::new(row.definition),
            progress: row.progress,
        }
    }

    /// The value of a `full_state` event.
    pub(crate) fn state(&self) -> ConversationState {
        let Self { definition, progress, .. } = self;
        ConversationState {
            id: self.id,
            agent: definition.agent.clone(),
            workspace: definition.workspace.clone(),
            persistence_dir: self.persistence_dir.to_string(),
            max_iterations: definition.max_iterations,
            stuck_detection: definition.stuck_detection,
            execution_status: progress.execution_status,
            confirmation_policy: progress.confirmation_policy.clone(),
            security_analyzer: progress.security_analyzer.clone(),
            activated_knowledge_skills: progress.activated_knowledge_skills.clone(),
            activated_path_rules: Vec::new(),
            invoked_skills: Vec::new(),
            blocked_actions: IndexMap::new(),
            blocked_messages: IndexMap::new(),
            last_user_message_id: progress.last_user_message_id.clone(),
            leaf_event_id: progress.leaf_event_id.clone(),
            head_is_empty: false,
            stats: progress.stats.clone(),
            secret_registry: SecretRegistry { secret_sources: (*self.secrets).clone() },
            tags: (*self.tags).clone(),
            agent_state: progress.agent_state.clone(),
            hook_config: definition.hook_config.clone(),
        }
    }

    /// The conversation as REST answers give it. Skills are left out unless they are asked for: they may be large.
    pub(crate) fn info(&self, calls: &[Call], children: Vec<ConversationId>, skills: Skills) -> Info {
        let Self { definition, progress, .. } = self;
        let mut agent = definition.agent.clone();
        if let (Skills::Trimmed, Some(context)) = (skills, &mut agent.agent_context) {
            context.skills.clear();
        }
        let stats = progress
            .stats
            .usage_to_metrics
            .iter()
            .map(|(usage, snapshot)| (usage.clone(), Metrics::new(snapshot, usage, calls)));
        let info = ConversationInfo {
            id: self.id,
            workspace: definition.workspace.clone(),
            persistence_dir: self.persistence_dir.to_string(),
            max_iterations: definition.max_iterations,
            stuck_detection: definition.stuck_detection,
            execution_status: progress.execution_status,
            confirmation_policy: progress.confirmation_policy.clone(),
            security_analyzer: progress.security_analyzer.clone(),
            activated_knowledge_skills: progress.activated_knowledge_skills.clone(),
            invoked_skills: Vec::new(),
            blocked_actions: IndexMap::new(),
            blocked_messages: IndexMap::new(),
            last_user_message_id: progress.last_user_message_id.clone(),
            leaf_event_id: progress.leaf_event_id.clone(),
            stats: Stats { usage_to_metrics: stats.collect() },
            secret_registry: SecretRegistry { secret_sources: (*self.secrets).clone() },
            agent_state: progress.agent_state.clone(),
            hook_config: definition.hook_config.clone(),
            title: self.title.clone(),
            metrics: None,
            created_at: self.created_at,
            updated_at: self.updated_at,
            forked_from_conversation_id: None,
            forked_from_event_id: None,
            parent_conversation_id: self.parent,
            sub_conversation_ids: children,
            tags: (*self.tags).clone(),
            current_model_id: None,
            available_models: Vec::new(),
            supports_runtime_model_switch: false,
            launched_agent_profile: None,
            agent,
            client_tools: definition.client_tools.clone(),
            tool_module_qualnames: definition.tool_module_qualnames.clone(),
            runtime_info: Some(RuntimeInfo::available()),
        };
        let json = secret::omitted(|| nulls::to_vec(&info)).expect("all keys of a conversation are texts");
        Info(json.into())
    }
}

/// Whether an answer has the agent's skills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Skills {
    /// All of them.
    Included,
    /// None.
    Trimmed,
}
