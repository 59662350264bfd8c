//! A new conversation.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
};
use longshore_engine::{Made, Skills};
use longshore_protocol::{
    Agent, ConversationId, Llm,
    conversation::{LocalWorkspace, StartConversation},
    error::ErrorBody,
    tool::ToolSpec,
};
use longshore_tools::usual_agent;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

use super::{
    super::{here::Here, id_for},
    info::ConversationBody,
    said,
};
use crate::{
    ApiError, Principal, audit::Trail, boxed::own_workspace_id, extract::ApiJson, respond::Json,
    routes::conversations::create::within_reach, routing::Routes, state::AppState,
};

/// Tools that a conversation may name.
const MAX_TOOLS: usize = 64;

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(begin_conversation))
}

/// Body of `POST /conversations`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct CreateConversation {
    /// The agent's model; without it, the operator's.
    llm: Option<Llm>,
    /// The agent, in the form of `POST /api/conversations`; it has its own model and tools.
    agent: Option<Agent>,
    /// Where the agent works; without it, in the workspace that every user has.
    workspace_id: Option<Uuid>,
    /// What the user says first; the agent begins with it.
    #[schema(pattern = r"\S")]
    message: Option<String>,
    /// Model calls that one run may make: 500 if nothing is said.
    #[schema(minimum = 1)]
    max_iterations: Option<u64>,
    /// The agent's tools by name; without it, all that there are.
    tools: Option<Vec<String>>,
}

/// Makes a conversation, and with `message` begins it.
#[utoipa::path(post, path = "/conversations", tag = "Native conversations", request_body = CreateConversation,
    params(("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 255,
        description = "The same key again gives the same conversation.")),
    responses(
        (status = 201, body = ConversationBody, description = "It is new."),
        (status = 200, body = ConversationBody, description = "It was there before: the key was used for it."),
        (status = 404, body = ErrorBody, description = "There is no such workspace."),
        (status = 409, body = ErrorBody, description = "The workspace cannot be used."),
        (status = 429, body = ErrorBody, description = "As many conversations run as may."),
    ))]
async fn begin_conversation(
    State(state): State<AppState>,
    principal: Principal,
    trail: Trail,
    headers: HeaderMap,
    ApiJson(wish): ApiJson<CreateConversation>,
) -> Result<(StatusCode, Json<ConversationBody>), ApiError> {
    state.activity().touch();
    let CreateConversation { llm, agent, workspace_id, message, max_iterations, tools } = wish;
    let owner = principal.user();
    let agent = agent_of(&state, llm, agent, tools)?;
    let workspace_id = workspace_id.or(principal.workspace()).unwrap_or_else(|| own_workspace_id(owner));
    let here = Here::find(&state, principal.clone(), workspace_id).await?;
    let workspace = LocalWorkspace {
        workspace_id: here.row.is_some().then_some(workspace_id),
        ..LocalWorkspace::new(here.working_dir())
    };
    let mut start = StartConversation::new(agent, workspace);
    let id = ConversationId(id_for(&headers, owner, "conversation")?);
    start.conversation_id = Some(id);
    trail.about("conversation", id.to_string());
    start.initial_message = message.map(said).transpose()?;
    start.max_iterations = max_iterations.unwrap_or(start.max_iterations);
    let start = within_reach(&state, &principal, start).await?;
    let (info, made) = Box::pin(state.engine().create(owner, start, Skills::Trimmed)).await?;
    let status = match made {
        Made::New => StatusCode::CREATED,
        Made::Before => StatusCode::OK,
    };
    Ok((status, Json(ConversationBody::of(&state, owner, &info)?)))
}

fn agent_of(
    state: &AppState,
    llm: Option<Llm>,
    agent: Option<Agent>,
    tools: Option<Vec<String>>,
) -> Result<Agent, ApiError> {
    if let Some(agent) = agent {
        if llm.is_some() || tools.is_some() {
            return Err(ApiError::unprocessable("agent has its own model and tools: leave llm and tools out."));
        }
        return Ok(agent);
    }
    let llm = llm.or_else(|| state.default_model()).ok_or_else(|| {
        ApiError::unprocessable(
            "This server has no model of its own: send llm with a model, and with its key if it needs one.",
        )
    })?;
    let mut agent = usual_agent(llm);
    if let Some(tools) = tools {
        if tools.len() > MAX_TOOLS {
            return Err(ApiError::unprocessable(format!("tools has more than {MAX_TOOLS} names.")));
        }
        agent.tools = tools.into_iter().map(ToolSpec::new).collect();
    }
    Ok(agent)
}
