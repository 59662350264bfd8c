//! `/server_info`: what clients and orchestrators want to know of a server (contract: server §1.4).

use axum::extract::State;
use longshore_protocol::server::ServerInfo;
use longshore_tools::Registry;
use utoipa_axum::routes;

use crate::{respond::JsonWithNulls, routing::Routes, state::AppState};

pub(super) fn router() -> Routes {
    Routes::default().route(|| routes!(server_info)).route(|| routes!(root))
}

/// What this server is and can do.
#[utoipa::path(get, path = "/server_info", tag = "Server", responses((status = 200, body = ServerInfo)))]
async fn server_info(State(state): State<AppState>) -> JsonWithNulls<ServerInfo> {
    JsonWithNulls(describe(&state))
}

/// The same as `/server_info`.
#[utoipa::path(get, path = "/", tag = "Server", responses((status = 200, body = ServerInfo)))]
async fn root(State(state): State<AppState>) -> JsonWithNulls<ServerInfo> {
    JsonWithNulls(describe(&state))
}

fn describe(state: &AppState) -> ServerInfo {
    let options = state.options();
    // Who runs a command uses the server, however long it takes.
    if state.bash().running() > 0 {
        state.activity().touch();
    }
    ServerInfo {
        uptime: state.activity().uptime().as_secs_f64().floor(),
        // Conversations are used by their agents too.
        idle_time: state.activity().idle().min(state.engine().idle()).as_secs_f64().floor(),
        title: "Longshore".to_owned(),
        version: options.version.clone(),
        sdk_version: options.version.clone(),
        tools_version: options.version.clone(),
        workspace_version: options.version.clone(),
        build_git_sha: options.build_sha.clone(),
        build_git_ref: options.build_ref.clone(),
        python_version: String::new(),
        usable_tools: Registry::new().names().into_iter().map(str::to_owned).collect(),
        runtime_idle_timeout_seconds: options.runtime_idle_timeout,
        conversation_runtime: "local".to_owned(),
        available_conversation_runtimes: Vec::new(),
        capabilities: options.capabilities.clone(),
        app_backend_ingress_url: None,
        max_foreground_terminal_timeout_seconds: options.runtime_idle_timeout.map(|seconds| seconds * 0.9),
        docs: "/docs".to_owned(),
        redoc: "/redoc".to_owned(),
    }
}
