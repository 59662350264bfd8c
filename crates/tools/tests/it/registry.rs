use std::time::Duration;

use longshore_protocol::{action::TerminalAction, tool::ToolSpec};
use longshore_tools::{Call, Registry};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{context, make};

#[test]
fn tools_are_made_by_name_and_alias() {
    let folder = TempDir::new().unwrap();
    for (name, alias, kind) in [
        ("terminal", "TerminalTool", "TerminalTool"),
        ("file_editor", "FileEditorTool", "FileEditorTool"),
        ("task_tracker", "TaskTrackerTool", "TaskTrackerTool"),
    ] {
        for asked in [name, alias] {
            let tool = make(asked, json!({}), &context(&folder));
            let definition = tool.definition();
            assert_eq!((definition.title.as_str(), definition.kind.as_str()), (name, kind));
            assert_eq!(tool.schema().name, name);
        }
    }
    assert_eq!(Registry::new().names(), ["terminal", "file_editor", "task_tracker"]);
    assert!(Registry::new().create(&ToolSpec::new("browser_tool_set"), &context(&folder)).unwrap().is_empty());
}

#[test]
fn what_cannot_be_made_is_explained() {
    let folder = TempDir::new().unwrap();
    let error = |name: &str, params: Value| {
        let spec = ToolSpec { name: name.to_owned(), params: params.as_object().cloned().unwrap() };
        Registry::new().create(&spec, &context(&folder)).unwrap_err().to_string()
    };
    assert_eq!(
        error("nope", json!({})),
        "ToolDefinition 'nope' is not registered. Available: terminal, file_editor, task_tracker"
    );
    let wrong = error("terminal", json!({"env": 3}));
    assert!(wrong.contains("terminal") && wrong.contains("env must be"), "{wrong}");
}

/// Providers refuse other keywords, or ignore them.
#[test]
fn schemas_use_only_what_every_provider_understands() {
    fn check(schema: &Value) {
        for (keyword, value) in schema.as_object().unwrap() {
            match keyword.as_str() {
                "type" | "description" => assert!(value.is_string()),
                "required" | "enum" => assert!(value.is_array()),
                "items" => check(value),
                "properties" => value.as_object().unwrap().values().for_each(check),
                other => panic!("{other}"),
            }
        }
    }
    let folder = TempDir::new().unwrap();
    for name in Registry::new().names() {
        let tool = make(name, json!({}), &context(&folder));
        let schema = tool.schema();
        assert_eq!(schema.parameters["type"], "object");
        check(&Value::Object(schema.parameters));
        assert_eq!(schema.description, tool.definition().description);
        assert!(schema.description.len() < 1000 && !schema.description.contains("  "), "{}", schema.description);
    }
}

#[test]
fn definitions_look_as_clients_expect() {
    let folder = TempDir::new().unwrap();
    let seen = |name| {
        let mut definition = json!(make(name, json!({}), &context(&folder)).definition());
        definition.as_object_mut().unwrap().remove("description");
        definition
    };
    assert_eq!(
        seen("terminal"),
        json!({
            "action_type": "TerminalAction", "observation_type": "TerminalObservation",
            "annotations": {"title": "terminal", "readOnlyHint": false, "destructiveHint": true, "idempotentHint": false,
                "openWorldHint": true},
            "kind": "TerminalTool", "title": "terminal",
        })
    );
    assert_eq!(seen("file_editor")["annotations"]["openWorldHint"], false);
    assert_eq!(
        seen("task_tracker")["annotations"],
        json!({"readOnlyHint": false, "destructiveHint": false, "idempotentHint": true, "openWorldHint": false})
    );
}

#[tokio::test]
async fn a_server_that_is_stopped_when_idle_refuses_long_waits() {
    let folder = TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("work")).unwrap();
    let registry = Registry::new().with_idle_timeout(Duration::from_secs(100));
    let terminal = registry.create(&ToolSpec::new("terminal"), &context(&folder)).unwrap().remove(0);
    for (timeout, is_error) in [(90.0, false), (91.0, true)] {
        let action = TerminalAction { command: "true".into(), timeout: Some(timeout), ..TerminalAction::default() };
        let seen = terminal.run(action.into(), Call::default()).await.unwrap();
        assert_eq!(seen.is_error(), is_error, "{seen:?}");
    }
    terminal.close().await;
}
