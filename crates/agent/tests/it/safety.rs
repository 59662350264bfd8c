//! What must not happen without the user, and what nobody may read.

use longshore_agent::mask::Mask;
use longshore_protocol::confirmation::{AlwaysConfirm, ConfirmRisky, LLMSecurityAnalyzer};
use serde_json::json;

use crate::play::{Play, says};

fn careful() -> Play {
    let mut play = Play::new();
    let effects = play.machine.set_confirmation_policy(&mut play.world, AlwaysConfirm {}.into());
    play.take(effects);
    play
}

#[test]
fn actions_wait_and_run_means_yes() {
    let mut play = careful();
    play.say("go").run().calls(&[("terminal", json!({"command": "rm"}))]);
    assert_eq!((play.status(), play.begun().len(), play.settled), ("waiting_for_confirmation", 0, 1));
    play.run();
    assert_eq!((play.status(), play.begun()), ("running", vec!["rm".to_owned()]));
}

#[test]
fn accepting_is_the_same_as_running() {
    let mut play = careful();
    play.say("go").run().calls(&[("terminal", json!({"command": "rm"}))]).confirm(true);
    assert_eq!(play.begun(), ["rm"]);
}

#[test]
fn actions_that_wait_can_be_carried_out_after_a_restart() {
    let mut play = careful();
    play.say("go").run().calls(&[("terminal", json!({"command": "rm"}))]);
    let mut again = play.restarted();
    again.recover();
    assert_eq!(again.status(), "waiting_for_confirmation");
    again.run();
    assert_eq!(again.begun(), ["rm"]);
}

#[test]
fn a_rejection_reaches_the_model_and_starts_nothing() {
    let mut play = careful();
    let call = ("terminal", json!({"command": "rm"}));
    play.say("go").run().calls(&[call.clone(), call]).confirm(false);
    assert_eq!(play.status(), "idle");
    let story = play.story();
    assert_eq!(story[story.len() - 3..], ["now idle", "rejected: no thanks", "rejected: no thanks"]);
    play.confirm(false);
    assert_eq!(play.story(), story, "there is nothing more to reject");
    play.run();
    assert!(play.last_question().contains(&"tool: Action rejected: no thanks".to_owned()));
    assert_eq!(play.begun(), [""; 0]);
}

#[test]
fn a_new_message_rejects_what_waits() {
    let mut play = careful();
    play.say("go").run().calls(&[("terminal", json!({"command": "rm"}))]).say("do nothing").run();
    assert_eq!(play.begun(), [""; 0]);
    let question = play.last_question();
    assert_eq!(question[2..], ["tool: Action rejected: Superseded by a new user message", "user: do nothing"]);
}

#[test]
fn a_message_during_the_call_that_would_wait_rejects_it_too() {
    let mut play = careful();
    play.say("go").run().say("stop that").calls(&[("terminal", json!({"command": "rm"}))]);
    assert_eq!((play.status(), play.begun().len(), play.questions.len()), ("running", 0, 2));
}

#[test]
fn a_finish_alone_needs_no_confirmation() {
    let mut play = careful();
    play.say("go").run().calls(&[("finish", json!({"message": "done"}))]);
    assert_eq!(play.status(), "finished");
}

#[test]
fn only_risky_actions_wait_if_that_is_the_policy() {
    let mut play = Play::new();
    let policy = ConfirmRisky::default();
    let effects = play.machine.set_confirmation_policy(&mut play.world, policy.into());
    play.take(effects);
    let effects = play.machine.set_security_analyzer(&mut play.world, Some(LLMSecurityAnalyzer {}.into()));
    play.take(effects);
    play.say("go").run().calls(&[("terminal", json!({"command": "ls", "security_risk": "LOW"}))]);
    assert_eq!(play.status(), "running");
    play.done("ls").calls(&[("terminal", json!({"command": "rm", "security_risk": "HIGH"}))]);
    assert_eq!(play.status(), "waiting_for_confirmation");
    assert!(play.story().contains(&"SecurityAnalysisEvent".to_owned()));
}

#[test]
fn secrets_are_hidden_from_readers_and_reach_the_tool_and_the_model() {
    let mut play = Play::new();
    play.machine.set_mask(Mask::new(["s3cr3t-value".to_owned()]));
    play.say("go").run().calls(&[("terminal", json!({"command": "echo s3cr3t-value", "summary": "say s3cr3t-value"}))]);
    assert_eq!(play.begun(), ["echo s3cr3t-value"]);
    play.result("echo s3cr3t-value", Ok(says("it is s3cr3t-value")));
    play.calls(&[("finish", json!({"message": "s3cr3t-value it was"}))]);
    for (event, _) in &play.log {
        assert!(!event.to_json().contains("s3cr3t"), "{}", event.to_json());
    }
    assert!(play.last_question()[1].contains("s3cr3t-value"), "the model reads its own call as it wrote it");
    assert!(!play.last_question()[2].contains("s3cr3t-value"), "but no result");
    assert!(play.story().contains(&"result: <secret-hidden> it was".to_owned()));
}

#[test]
fn an_action_with_a_secret_that_waits_is_carried_out_unhidden_after_a_restart() {
    let mut play = careful();
    play.machine.set_mask(Mask::new(["s3cr3t-value".to_owned()]));
    play.say("go").run().calls(&[("terminal", json!({"command": "echo s3cr3t-value"}))]);
    let mut again = play.restarted();
    again.run();
    assert_eq!(again.begun(), ["echo s3cr3t-value"]);
}
