//! The document of all routes, which is committed so that a change of the interface is seen in review.

use longshore_server::Server;

#[test]
fn the_committed_document_is_that_of_the_server() {
    let committed = include_str!("../../openapi.json");
    let current = String::from_utf8(Server::openapi().to_vec()).unwrap();
    let changed = committed.lines().zip(current.lines()).position(|(old, new)| old != new);
    assert!(
        committed.trim_end() == current.trim_end(),
        "the routes differ from crates/server/openapi.json, first in line {}. If that is meant:\n\n    cargo run -- openapi \
         > crates/server/openapi.json\n",
        changed.unwrap_or_else(|| committed.lines().count().min(current.lines().count())) + 1
    );
}

#[test]
fn all_methods_of_a_path_are_described() {
    let document: serde_json::Value = serde_json::from_slice(&Server::openapi()).unwrap();
    for path in ["/api/sandbox", "/api/conversations/{conversation_id}/sandbox", "/api/conversations/{conversation_id}"]
    {
        let methods = &document["paths"][path];
        assert!(methods["get"].is_object() && methods["delete"].is_object(), "{path}: {methods}");
    }
}
