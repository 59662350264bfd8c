//! Calls as models write them.

use longshore_agent::{builtin, call};
use longshore_protocol::confirmation::Risk;
use serde_json::{Value, json};

use crate::play::{Play, terminal};

fn parse(name: &str, raw: &str) -> Result<Value, String> {
    let tools = [terminal(), builtin::by_class("FinishTool").unwrap()];
    call::parse(&tools, name, raw).map(|call| serde_json::to_value(call.action).unwrap()).map_err(|error| error.error)
}

fn command(name: &str, raw: &str) -> String {
    parse(name, raw).unwrap()["command"].as_str().unwrap().to_owned()
}

#[test]
fn names_that_clearly_mean_a_tool_are_understood() {
    assert_eq!(command("execute_bash", r#"{"command": "ls"}"#), "ls");
    assert_eq!(command("terminal </parameter", r#"{"command": "ls"}"#), "ls");
    assert_eq!(command("git", r#"{"command": "status"}"#), "git status");
    assert_eq!(command("git", r#"{"command": "git status"}"#), "git status");
    assert_eq!(command("pwd", "{}"), "pwd");
}

#[test]
fn arguments_with_control_characters_are_understood() {
    assert_eq!(command("terminal", "{\"command\": \"echo a\necho b\"}"), "echo a\necho b");
}

#[test]
fn arguments_of_another_type_are_fitted() {
    assert_eq!(command("terminal", r#"{"command": ["a", "b"]}"#), "a\nb");
    let action = parse("terminal", r#"{"command": "x", "is_input": "true", "timeout": "2.5"}"#).unwrap();
    assert_eq!((&action["is_input"], &action["timeout"]), (&json!(true), &json!(2.5)));
}

#[test]
fn what_is_wrong_with_a_call_is_said() {
    let cases = [
        ("terminal", "{not json", "Arguments: unparseable JSON"),
        ("terminal", "{}", "missing required parameter 'command'"),
        ("terminal", r#"{"command": "x", "wrong": 1}"#, "unexpected parameter 'wrong'"),
        ("terminal", r#"{"command": "x", "security_risk": "HUGE"}"#, "security_risk must be one of"),
        ("nosuch", "{}", "Tool 'nosuch' not found. Available: ['terminal', 'finish']"),
    ];
    for (name, raw, expected) in cases {
        let error = parse(name, raw).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn risk_and_summary_are_taken_from_the_arguments() {
    let raw = r#"{"command": "ls", "securtiy_risk": "MEDIUM", "summary": "look around"}"#;
    let call = call::parse(&[terminal()], "terminal", raw).unwrap();
    assert_eq!((call.risk, call.summary.as_str(), call.arguments.as_str()), (Risk::Medium, "look around", raw));
    let call = call::parse(&[terminal()], "terminal", r#"{"command": "ls"}"#).unwrap();
    assert_eq!(call.summary, r#"terminal: {"command":"ls"}"#);
}

#[test]
fn schemas_have_risk_and_summary_first() {
    let schemas = call::schemas(&[terminal(), builtin::by_class("ThinkTool").unwrap()], true);
    let names = |index: usize| -> Vec<String> {
        schemas[index].parameters["properties"].as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(names(0), ["security_risk", "summary", "command", "is_input", "timeout"]);
    assert_eq!(names(1), ["summary", "thought"]);
}

#[test]
fn the_model_reads_why_a_call_failed_and_the_run_goes_on() {
    let mut play = Play::new();
    play.say("go").run().calls(&[("terminal", json!("{not json")), ("nosuch", json!({"a": 1}))]);
    assert_eq!(play.status(), "running");
    let story = play.story();
    assert_eq!(story[5..7], ["bad call of terminal", "bad call of nosuch"]);
    assert!(story[7].starts_with("error: Error validating tool 'terminal'"), "{story:?}");
    let question = play.last_question();
    assert!(question[1].contains("_openhands_malformed_tool_call"), "{question:?}");
    assert_eq!(question.iter().filter(|line| line.starts_with("tool:")).count(), 2);
}
