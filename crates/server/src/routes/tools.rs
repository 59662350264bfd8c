//! `/api/tools`: the tools that agents can use (contract: server §7).

use longshore_tools::Registry;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::{respond::Json, routing::Routes};

pub(super) fn router() -> Routes {
    Routes::default()
        .route(|| routes!(tools))
        .route(|| routes!(catalog))
        // Clients send the slash or leave it out, and follow no redirect.
        .alias("/api/tools", || routes!(tools))
}

#[derive(Serialize, ToSchema)]
struct ToolCatalogResponse {
    tools: Vec<ToolCatalogEntry>,
}

/// A tool as a user interface offers it.
#[derive(Serialize, ToSchema)]
struct ToolCatalogEntry {
    /// The name that agents use.
    name: &'static str,
    /// Whether users choose it themselves.
    user_selectable: bool,
    /// Whether it works on this server.
    usable: bool,
    /// What it does, in a few words.
    description: &'static str,
    /// Whether a new agent has it.
    in_default_set: bool,
}

/// The names of the tools that agents can use.
#[utoipa::path(get, path = "/api/tools/", tag = "Tools", responses((status = 200, body = [String])))]
async fn tools() -> Json<Vec<&'static str>> {
    Json(Registry::new().names())
}

/// The tools that agents can use, with what a user interface shows of them.
#[utoipa::path(get, path = "/api/tools/catalog", tag = "Tools", responses((status = 200, body = ToolCatalogResponse)))]
async fn catalog() -> Json<ToolCatalogResponse> {
    let tools = Registry::new().names().into_iter().map(|name| ToolCatalogEntry {
        name,
        user_selectable: true,
        usable: true,
        description: description(name),
        in_default_set: true,
    });
    Json(ToolCatalogResponse { tools: tools.collect() })
}

fn description(name: &str) -> &'static str {
    match name {
        "terminal" => "Runs commands in a shell that keeps its state.",
        "file_editor" => "Shows, creates and changes files.",
        "task_tracker" => "Keeps a list of what is to be done.",
        _ => "",
    }
}
