//! The names of actions.

use axum::http::Method;

/// What a route does that is not in [`ACTIONS`].
pub(super) const UNNAMED: &str = "request";

/// Every route that changes something, without `/api` and without the conversation that it may be below.
const ACTIONS: [(&str, &str, &str); 36] = [
    ("POST", "/admin/users", "user.create"),
    ("PATCH", "/admin/users/{name}", "user.update"),
    ("POST", "/admin/users/{name}/keys", "key.create"),
    ("DELETE", "/admin/keys/{key_id}", "key.revoke"),
    ("POST", "/keys", "key.create"),
    ("DELETE", "/keys/{key_id}", "key.revoke"),
    ("POST", "/bash/bash_commands/{command_id}/stop", "command.stop"),
    ("DELETE", "/bash/bash_events", "command.clear"),
    ("POST", "/bash/execute_bash_command", EXECUTE),
    ("POST", "/bash/start_bash_command", EXECUTE),
    ("POST", "/conversations", "conversation.create"),
    ("PATCH", "/conversations/{conversation_id}", "conversation.update"),
    ("DELETE", "/conversations/{conversation_id}", "conversation.delete"),
    ("POST", "/conversations/{conversation_id}/confirmation_policy", "conversation.set_confirmation_policy"),
    ("POST", "/conversations/{conversation_id}/events", MESSAGE),
    ("POST", "/conversations/{conversation_id}/events/respond_to_confirmation", "conversation.confirm"),
    ("POST", "/conversations/{conversation_id}/interrupt", "conversation.interrupt"),
    ("POST", "/conversations/{conversation_id}/pause", "conversation.pause"),
    ("POST", "/conversations/{conversation_id}/run", "conversation.run"),
    ("POST", "/conversations/{conversation_id}/secrets", "conversation.set_secrets"),
    ("POST", "/conversations/{conversation_id}/security_analyzer", "conversation.set_security_analyzer"),
    ("POST", "/file/create_directory", "file.create_directory"),
    ("POST", "/file/upload", "file.upload"),
    ("PATCH", "/sandbox", "sandbox.update"),
    ("DELETE", "/sandbox", "sandbox.delete"),
    ("POST", "/sandbox/pause", "sandbox.pause"),
    ("POST", "/sandbox/resume", "sandbox.resume"),
    ("POST", "/conversations/{conversation_id}/messages", MESSAGE),
    ("POST", "/workspaces", "workspace.create"),
    ("PATCH", "/workspaces/{workspace_id}", "workspace.update"),
    ("DELETE", "/workspaces/{workspace_id}", "workspace.delete"),
    ("POST", "/workspaces/{workspace_id}/execute", EXECUTE),
    ("POST", "/workspaces/{workspace_id}/pause", "workspace.pause"),
    ("POST", "/workspaces/{workspace_id}/resume", "workspace.resume"),
    ("PUT", "/workspaces/{workspace_id}/files/{*path}", "file.write"),
    ("DELETE", "/workspaces/{workspace_id}/files/{*path}", "file.delete"),
];

/// A command of a user is started.
pub(super) const EXECUTE: &str = "command.execute";

/// A user says something to an agent.
pub(super) const MESSAGE: &str = "conversation.message";

/// A socket is open.
pub(super) const SOCKET: &str = "socket.open";

/// An agent's tool is at work.
pub(super) const AGENT: &str = "agent.action";

/// Somebody shows no key, or one that nobody has.
pub(super) const REFUSED: &str = "auth.refused";

/// Somebody reads what they may not.
pub(super) const FORBIDDEN: &str = "auth.forbidden";

/// Records were lost because they could not be written in time.
pub(super) const LOST: &str = "audit.lost";

/// The name of what a route does.
pub(super) fn of(method: &Method, route: &str) -> &'static str {
    let route = route.strip_prefix("/api").unwrap_or(route);
    let find = |route: &str| ACTIONS.iter().find(|(its, path, _)| *its == method.as_str() && *path == route);
    let found = find(route).or_else(|| find(route.strip_prefix("/conversations/{conversation_id}")?));
    found.map_or(UNNAMED, |(_, _, action)| action)
}

/// Whether requests of this method change something.
pub(super) fn changes(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH | Method::DELETE)
}

/// The thing that a path names last: its kind, and which one.
pub(super) fn target<'a>(route: &'a str, path: &'a str) -> Option<(&'a str, &'a str)> {
    let mut rest = path;
    let mut target = None;
    for segment in route.split('/') {
        let name = segment.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
        if let Some(kind) = name.and_then(|name| name.strip_prefix('*')) {
            return Some((kind, rest));
        }
        let (value, following) = rest.split_once('/').unwrap_or((rest, ""));
        rest = following;
        if let Some(name) = name {
            let kind = if name == "name" { "user" } else { name.strip_suffix("_id").unwrap_or(name) };
            target = Some((kind, value));
        }
    }
    target
}
