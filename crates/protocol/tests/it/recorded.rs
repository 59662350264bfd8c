//! Every recorded object, read and written again.

use std::collections::BTreeSet;

use longshore_protocol::{
    Event, EventBody, bash, confirmation, conversation, error, file, git, metrics::Stats, server, tool::ToolDefinition,
};
use serde_json::{Value, json};

use crate::golden::{keeps_compact, keeps_nulls, read, recorded};

#[test]
fn events_keep_their_compact_form() {
    let events = recorded("events.json", None);
    for event in &events {
        if event["value"].to_string().contains("**********") {
            // The value of a state update is kept as it came, redacted secrets included.
            assert_eq!(serde_json::to_value(read::<Event>(event)).unwrap(), *event);
        } else {
            keeps_compact::<Event>(event);
        }
        assert!(!matches!(read::<Event>(event).body, EventBody::Unknown(_)), "unknown kind: {event}");
    }
    let kinds: BTreeSet<_> = events.iter().filter_map(|event| event["kind"].as_str()).collect();
    assert!(kinds.len() >= 13, "the recordings lack kinds: {kinds:?}");
}

#[test]
fn events_keep_their_form_with_nulls() {
    for event in recorded("events_with_nulls.json", None) {
        keeps_nulls::<Event>(&event);
        // The same event goes out without nulls elsewhere, and is read again from there.
        let typed: Event = read(&event);
        assert_eq!(read::<Event>(&serde_json::to_value(&typed).unwrap()), typed);
    }
}

#[test]
fn compact_events_and_events_with_nulls_are_the_same_events() {
    for event in recorded("events.json", None) {
        let typed: Event = read(&event);
        let with_nulls = longshore_protocol::nulls::to_value(&typed).unwrap();
        assert_eq!(read::<Event>(&with_nulls), typed);
    }
}

#[test]
fn states_keep_their_form() {
    for mut state in recorded("states.json", Some("ConversationState")) {
        // Totals only: lists that grow with every model call would grow the frame beyond what clients take.
        for metrics in state["stats"]["usage_to_metrics"].as_object_mut().unwrap().values_mut() {
            for list in ["costs", "response_latencies", "token_usages"] {
                metrics.as_object_mut().unwrap().remove(list);
            }
        }
        keeps_compact::<conversation::ConversationState>(&state);
    }
    for stats in recorded("states.json", Some("Stats")) {
        // The value of an event is written with its nulls on every surface.
        keeps_nulls::<Stats>(&stats);
    }
}

#[test]
fn conversations_keep_their_form() {
    for info in recorded("conversations.json", Some("ConversationInfo")) {
        keeps_nulls::<conversation::ConversationInfo>(&info);
    }
}

#[test]
fn only_client_tools_have_the_fields_of_client_tools() {
    let event = recorded("events_with_nulls.json", None).into_iter().find(|event| event["tools"].is_array()).unwrap();
    let mut tool = event["tools"][0].clone();
    keeps_nulls::<ToolDefinition>(&tool);
    tool["client_tool_name"] = "ask_ui".into();
    tool["input_schema"] = json!({"type": "object", "properties": {"q": {"default": null}}});
    keeps_nulls::<ToolDefinition>(&tool);
}

#[test]
fn answers_keep_their_form() {
    macro_rules! keep {
        ($($path:path: $name:literal),* $(,)?) => {$(
            recorded("answers.json", Some($name)).iter().for_each(keeps_nulls::<$path>);
        )*};
    }
    keep! {
        bash::BashCleared: "BashCleared", bash::BashEvent: "BashEvent", bash::BashEventPage: "BashEventPage",
        file::FileUploaded: "FileUploaded", file::FolderPage: "FolderPage", file::Home: "Home",
        git::GitChange: "GitChange", git::GitCommitPage: "GitCommitPage", git::GitDiff: "GitDiff",
        conversation::FinalResponse: "FinalResponse", error::Success: "Success",
        server::ServerInfo: "ServerInfo", server::ServerStatus: "ServerStatus",
    }
}

#[test]
fn error_bodies_keep_their_form() {
    for body in recorded("answers.json", Some("ErrorBody")) {
        keeps_compact::<error::ErrorBody>(&body);
        if let Value::Array(problems) = &body["detail"] {
            problems.iter().for_each(keeps_compact::<error::ValidationError>);
        }
    }
}

#[test]
fn requests_of_official_clients_are_read() {
    for request in recorded("requests.json", Some("StartConversation")) {
        let start: conversation::StartConversation = read(&request);
        assert_eq!(start.workspace.working_dir, request["workspace"]["working_dir"], "{request}");
        assert_eq!(start.agent.is_some(), request["agent"].is_object(), "{request}");
        assert_eq!(start.max_iterations, request["max_iterations"].as_u64().unwrap_or(500), "{request}");
        assert_eq!(start.autotitle, request["autotitle"].as_bool().unwrap_or(true), "{request}");
        assert_eq!(start.secrets.len(), request["secrets"].as_object().map_or(0, serde_json::Map::len), "{request}");
        let key = start.agent.and_then(|agent| agent.llm.api_key);
        assert_eq!(key.as_ref().map(|key| key.expose().into()), request.pointer("/agent/llm/api_key").cloned());
    }
    for request in recorded("requests.json", Some("SendMessage")) {
        let message: conversation::SendMessage = read(&request);
        assert_eq!(message.content.len(), request["content"].as_array().map_or(0, Vec::len), "{request}");
        assert_eq!(message.run, request["run"].as_bool().unwrap_or(false), "{request}");
    }
    for request in recorded("requests.json", Some("UpdateSecrets")) {
        let update: conversation::UpdateSecrets = read(&request);
        assert!(update.secrets.keys().eq(request["secrets"].as_object().unwrap().keys()), "{request}");
    }
    for request in recorded("requests.json", Some("UpdateConversation")) {
        let update: conversation::UpdateConversation = read(&request);
        assert_eq!(update.title.as_deref(), request["title"].as_str(), "{request}");
    }
}

#[test]
fn small_requests_keep_their_form() {
    macro_rules! keep {
        ($($path:path: $name:literal),* $(,)?) => {$(
            recorded("requests.json", Some($name)).iter().for_each(keeps_nulls::<$path>);
        )*};
    }
    keep! {
        bash::ExecuteBash: "ExecuteBash", confirmation::ConfirmationResponse: "ConfirmationResponse",
        confirmation::SetConfirmationPolicy: "SetConfirmationPolicy",
        confirmation::SetSecurityAnalyzer: "SetSecurityAnalyzer",
    }
}
