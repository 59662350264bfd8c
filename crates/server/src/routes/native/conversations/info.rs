//! A conversation as its user sees it.

use indexmap::IndexMap;
use longshore_engine::{Info, Skills};
use longshore_protocol::{
    ConversationId, UtcTime,
    conversation::{ExecutionStatus, LocalWorkspace},
    metrics::TokenUsage,
};
use longshore_store::Owner;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{ApiError, boxed::own_workspace_id, state::AppState};

/// A conversation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Conversation)]
pub(super) struct ConversationBody {
    /// Its id.
    id: ConversationId,
    /// Whose it is.
    user_id: String,
    /// What the agent is doing.
    status: ExecutionStatus,
    /// Where the agent works; none if the conversation has a place for itself.
    workspace_id: Option<Uuid>,
    /// What it is about.
    title: Option<String>,
    /// The agent's model.
    model: String,
    /// When it was made.
    created_at: UtcTime,
    /// When it last changed.
    updated_at: UtcTime,
    /// US dollars so far.
    cost: f64,
    /// Tokens so far.
    tokens: Tokens,
}

/// Tokens that models read and wrote.
#[derive(Debug, Default, Serialize, ToSchema)]
struct Tokens {
    /// Tokens read, those from a cache included.
    prompt: u64,
    /// Tokens written.
    completion: u64,
    /// Tokens read from a cache.
    cache_read: u64,
    /// Tokens written to a cache.
    cache_write: u64,
    /// Tokens spent on reasoning.
    reasoning: u64,
}

/// What is needed of all that is known of a conversation.
#[derive(Deserialize)]
struct Known {
    id: ConversationId,
    workspace: LocalWorkspace,
    execution_status: ExecutionStatus,
    title: Option<String>,
    created_at: UtcTime,
    updated_at: UtcTime,
    agent: KnownAgent,
    stats: KnownStats,
}

#[derive(Deserialize)]
struct KnownAgent {
    llm: KnownModel,
}

#[derive(Deserialize)]
struct KnownModel {
    model: String,
}

#[derive(Deserialize)]
struct KnownStats {
    usage_to_metrics: IndexMap<String, KnownUse>,
}

#[derive(Deserialize)]
struct KnownUse {
    accumulated_cost: f64,
    accumulated_token_usage: Option<TokenUsage>,
}

impl ConversationBody {
    /// The conversation with this id.
    pub(super) async fn find(state: &AppState, owner: &Owner, id: ConversationId) -> Result<Self, ApiError> {
        Self::of(state, owner, &state.engine().info(owner, id, Skills::Trimmed).await?)
    }

    /// What is needed of `info`.
    pub(super) fn of(state: &AppState, owner: &Owner, info: &Info) -> Result<Self, ApiError> {
        let known: Known = serde_json::from_slice(&info.0)
            .map_err(|error| ApiError::internal("A conversation could not be read", &error))?;
        let mut tokens = Tokens::default();
        for usage in known.stats.usage_to_metrics.values().filter_map(|used| used.accumulated_token_usage.as_ref()) {
            tokens.prompt += usage.prompt_tokens;
            tokens.completion += usage.completion_tokens;
            tokens.cache_read += usage.cache_read_tokens;
            tokens.cache_write += usage.cache_write_tokens;
            tokens.reasoning += usage.reasoning_tokens;
        }
        let has_own = state.workspaces().sandboxes().is_some_and(|boxes| boxes.has_own(&known.workspace));
        let own = (!has_own).then(|| own_workspace_id(owner));
        Ok(Self {
            id: known.id,
            user_id: owner.0.to_string(),
            status: known.execution_status,
            workspace_id: known.workspace.workspace_id.or(own),
            title: known.title,
            model: known.agent.llm.model,
            created_at: known.created_at,
            updated_at: known.updated_at,
            cost: known.stats.usage_to_metrics.values().map(|used| used.accumulated_cost).sum(),
            tokens,
        })
    }
}
