//! `/api/models`: the models that the operator gives to all users.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::{Principal, respond::JsonWithNulls, routing::Routes, state::AppState};

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(models))
}

#[derive(Serialize, ToSchema)]
struct OperatorModels {
    items: Vec<OperatorModel>,
}

/// A model that users call without a key of their own.
#[derive(Serialize, ToSchema)]
struct OperatorModel {
    /// What to write as the `model` of an LLM: `longshore/NAME`.
    name: String,
    /// What it is.
    model: String,
    /// US dollars for a token read; null if nobody knows.
    input_cost_per_token: Option<f64>,
    /// US dollars for a token written; null if nobody knows.
    output_cost_per_token: Option<f64>,
    /// Tokens of an answer at most; null if there is no limit.
    max_output_tokens: Option<u64>,
    /// Whether it is used where nobody names a model.
    is_default: bool,
}

/// The models that the operator gives to all users.
#[utoipa::path(get, path = "/api/models", tag = "Models", responses((status = 200, body = OperatorModels)))]
async fn models(State(state): State<AppState>, _principal: Principal) -> JsonWithNulls<OperatorModels> {
    let items = state.engine().models().cards().into_iter().map(|card| OperatorModel {
        name: card.name,
        model: card.model,
        input_cost_per_token: card.input_cost_per_token,
        output_cost_per_token: card.output_cost_per_token,
        max_output_tokens: card.max_output_tokens,
        is_default: card.is_default,
    });
    JsonWithNulls(OperatorModels { items: items.collect() })
}
