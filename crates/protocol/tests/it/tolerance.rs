//! What this version does not know: unknown kinds are kept, unknown fields are ignored.

use longshore_protocol::{Action, Agent, ConversationId, Event, EventBody, Observation, nulls, secret};
use serde_json::{Value, json};

use crate::golden::{keeps_compact, read};

/// Kinds of the official server that have no place in [`EventBody`].
fn foreign_events() -> Vec<Value> {
    let bodies = [
        json!({"kind": "HookExecutionEvent", "hook_event_type": "PreToolUse", "hook_command": "true", "success": true,
               "blocked": false, "exit_code": 0, "hook_input": {"a": [1, 2.5, null]}, "reason": null}),
        json!({"kind": "LLMCompletionLogEvent", "filename": "a.json", "log_data": "{}", "model_name": "m", "usage_id": "u"}),
        json!({"kind": "TokenEvent", "prompt_token_ids": [1, 2], "response_token_ids": []}),
        json!({"kind": "ACPToolCallEvent", "tool_call_id": "c", "title": "t", "status": "completed", "raw_input": {"k": 1.0}}),
        json!({"kind": "SomethingOfTomorrow"}),
        json!({"no_kind": true}),
    ];
    let header = json!({"id": "e1", "timestamp": "2026-11-20T04:16:46.351862", "source": "hook", "parent_id": "e0"});
    bodies
        .into_iter()
        .map(|body| {
            let mut event = header.clone();
            event.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
            event
        })
        .collect()
}

#[test]
fn events_of_unknown_kinds_survive_unchanged() {
    for event in foreign_events() {
        let typed: Event = read(&event);
        assert!(matches!(typed.body, EventBody::Unknown(_)), "{event}");
        assert_eq!(typed.kind(), event["kind"].as_str().unwrap_or_default());
        assert_eq!(serde_json::to_value(&typed).unwrap(), event);
        assert_eq!(serde_json::from_str::<Value>(&typed.to_json()).unwrap(), event);
        assert_eq!(read::<Event>(&nulls::to_value(&typed).unwrap()), typed);
    }
}

#[test]
fn an_event_without_a_parent_has_a_null_parent_where_nulls_are_written() {
    let event = json!({"id": "e", "timestamp": "2026-11-20T04:16:46.351862", "source": "user", "kind": "PauseEvent"});
    keeps_compact::<Event>(&event);
    let with_nulls = nulls::to_value(&read::<Event>(&event)).unwrap();
    assert_eq!(with_nulls.get("parent_id"), Some(&Value::Null), "{with_nulls}");
}

#[test]
fn actions_and_observations_of_unknown_kinds_survive_unchanged() {
    for object in [
        json!({"kind": "MCPToolAction", "data": {"path": "/a", "n": 3.0, "none": null}}),
        json!({"kind": "ClientAction_ask_ui", "q": "hello?"}),
        json!({"kind": "BrowserNavigateAction", "url": "u", "new_tab": false}),
    ] {
        keeps_compact::<Action>(&object);
        assert!(matches!(read::<Action>(&object), Action::Unknown(_)));
    }
    let observation = json!({"kind": "MCPToolObservation", "content": [], "is_error": true, "tool_name": "t"});
    keeps_compact::<Observation>(&observation);
    assert!(read::<Observation>(&observation).is_error());
}

#[test]
fn unknown_fields_of_known_shapes_are_left_out() {
    let event = json!({"id": "e", "timestamp": "2026-11-20T04:16:46.351862", "source": "user", "kind": "PauseEvent",
                       "tomorrow": 1});
    let written = serde_json::to_value(read::<Event>(&event)).unwrap();
    assert_eq!(written.get("tomorrow"), None, "clients reject events with fields that they do not know");

    let agent =
        json!({"llm": {"model": "m", "tomorrow": 1}, "tools": [{"name": "terminal", "tomorrow": 1}], "tomorrow": 1});
    let written = serde_json::to_string(&read::<Agent>(&agent)).unwrap();
    assert!(!written.contains("tomorrow"), "{written}");
}

#[test]
fn a_known_kind_with_a_wrong_field_is_an_error() {
    let event = json!({"id": "e", "timestamp": "2026-11-20T04:16:46.351862", "source": "user", "kind": "Condensation"});
    let error = serde_json::from_value::<Event>(event).unwrap_err();
    assert!(error.to_string().contains("forgotten_event_ids"), "{error}");
}

#[test]
fn ids_are_read_with_and_without_dashes_in_any_case() {
    let dashed = "4f4f2f67-a770-4a4b-92b7-1a6c391f3ca3";
    let id: ConversationId = dashed.parse().unwrap();
    for form in [dashed.to_uppercase(), id.hex(), id.hex().to_uppercase()] {
        assert_eq!(read::<ConversationId>(&json!(form)), id);
    }
    assert_eq!(json!(id), dashed);
    for wrong in ["", "x", "4f4f2f67", "4f4f2f67-a770-4a4b-92b7-1a6c391f3ca3x"] {
        assert!(serde_json::from_value::<ConversationId>(json!(wrong)).is_err(), "{wrong:?}");
    }
}

#[test]
fn numbers_keep_their_kind() {
    let agent: Agent = read(&json!({"llm": {"model": "m"}}));
    let text = serde_json::to_string(&agent).unwrap();
    for number in
        ["\"retry_multiplier\":8.0", "\"stream_idle_timeout\":300.0", "\"timeout\":300,", "\"retry_min_wait\":8,"]
    {
        assert!(text.contains(number), "{number} is not in {text}");
    }
}

#[test]
fn secrets_leave_only_where_they_are_asked_for() {
    let agent: Agent = read(&json!({
        "llm": {"model": "m", "api_key": "sk-1"},
        "agent_context": {"secrets": {"TOKEN": "sk-2", "OTHER": {"kind": "StaticSecret", "value": "sk-3"},
                                      "FAR": {"kind": "LookupSecret", "url": "u", "headers": {"X-Api-Key": "sk-4"}}}},
        "mcp_config": {"s": {"url": "u", "headers": {"Authorization": "sk-5"}, "env": {"A": "sk-6"}}},
    }));
    let keys = ["sk-1", "sk-2", "sk-3", "sk-4", "sk-5", "sk-6"];
    let redacted = serde_json::to_string(&agent).unwrap();
    let omitted = secret::omitted(|| String::from_utf8(nulls::to_vec(&agent).unwrap()).unwrap());
    let debug = format!("{agent:?}");
    for key in keys {
        for text in [&redacted, &omitted, &debug] {
            assert!(!text.contains(key), "{key} is in {text}");
        }
    }
    let exposed = secret::exposed(|| serde_json::to_string(&agent).unwrap());
    assert!(keys.iter().all(|key| exposed.contains(key)), "{exposed}");
    assert_eq!(read::<Agent>(&serde_json::from_str(&exposed).unwrap()), agent);
}
