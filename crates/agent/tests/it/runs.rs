//! Runs: how they go on and how they end.

use std::sync::Arc;

use serde_json::json;

use crate::play::Play;

#[test]
fn a_run_goes_from_message_to_finish() {
    let mut play = Play::new();
    play.say("hello").run().calls(&[("terminal", json!({"command": "ls", "summary": "look"}))]).done("ls");
    play.calls(&[("finish", json!({"message": "all done"}))]);
    let story = [
        "instructions",
        "User: hello",
        "new last_user_message_id",
        "now running",
        "new stats",
        "call of terminal",
        "result: output of ls",
        "new stats",
        "call of finish",
        "result: all done",
        "now finished",
    ];
    assert_eq!(play.story(), story);
    assert_eq!(play.settled, 1);
    let usage = play.machine.progress().stats.usage_to_metrics["default"].accumulated_token_usage.clone();
    assert_eq!(usage.map(|usage| usage.prompt_tokens), Some(20), "two calls of ten tokens");
}

#[test]
fn the_timestamps_of_a_log_only_grow() {
    let mut play = Play::new();
    play.say("one").run().reply("two").say("three").run().reply("four");
    let times: Vec<_> = play.log.iter().map(|(event, _)| event.timestamp).collect();
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn a_plain_answer_ends_the_run_and_a_new_message_begins_another() {
    let mut play = Play::new();
    play.say("hello").run().reply("hi");
    assert_eq!(play.status(), "finished");
    play.run();
    assert_eq!((play.questions.len(), play.settled), (1, 2), "a finished conversation has nothing to do");
    play.say("more");
    assert_eq!(play.status(), "idle");
    play.run().reply("yes");
    assert_eq!(play.last_question(), ["user: hello", "assistant: hi", "user: more"]);
}

#[test]
fn an_empty_reply_is_answered_with_a_nudge() {
    let mut play = Play::new();
    play.say("hello").run().reply("  ");
    assert_eq!(play.status(), "running");
    assert!(play.story().last().unwrap().starts_with("Environment: Your last reply"), "{:?}", play.story());
    play.reply("done");
    assert_eq!(play.status(), "finished");
}

#[test]
fn a_message_during_a_model_call_keeps_the_run_going() {
    let mut play = Play::new();
    play.say("one").run().say("two").reply("answer to one");
    assert_eq!(play.status(), "running");
    assert_eq!(play.last_question(), ["user: one\ntwo", "assistant: answer to one"]);
    play.reply("answer to two");
    assert_eq!(play.status(), "finished");
}

#[test]
fn a_message_during_a_tool_comes_to_the_model_behind_the_result() {
    let mut play = Play::new();
    play.say("one").run().calls(&[("terminal", json!({"command": "ls"}))]).say("two").done("ls");
    let question = play.last_question();
    assert!(question[1].starts_with("assistant:") && question[2].starts_with("tool:"), "{question:?}");
    assert_eq!(question[3], "user: two");
}

#[test]
fn a_run_ends_with_an_error_after_the_allowed_model_calls() {
    let mut play = Play::with(|setup| setup.max_iterations = 2);
    play.say("go").run();
    play.calls(&[("think", json!({"thought": "a"}))]).calls(&[("think", json!({"thought": "b"}))]);
    assert_eq!(play.status(), "error");
    let story = play.story();
    let last = &story[story.len() - 2..];
    assert_eq!(last, ["MaxIterationsReached: Agent reached maximum iterations limit (2).", "now error"]);
    play.run();
    assert_eq!(play.status(), "running", "the next run has a budget of its own");
}

#[test]
fn a_model_that_fails_ends_the_run_and_the_next_run_goes_on() {
    let mut play = Play::new();
    play.say("go").run().model_fails("LLMRateLimitError");
    assert_eq!(play.status(), "error");
    assert_eq!(play.story()[4..], ["LLMRateLimitError: why", "now error"]);
    play.run().reply("recovered");
    assert_eq!(play.status(), "finished");
}

#[test]
fn an_agent_that_repeats_itself_is_stuck() {
    let mut play = Play::new();
    play.say("go").run();
    for _ in 0..4 {
        play.calls(&[("terminal", json!({"command": "false"}))]).done("false");
    }
    assert_eq!(play.status(), "stuck");
    assert_eq!(play.settled, 1);
    play.say("try something else");
    assert_eq!(play.status(), "idle");
}

#[test]
fn an_agent_that_alternates_is_stuck() {
    let mut play = Play::new();
    play.say("go").run();
    for command in ["a", "b", "a", "b", "a", "b"] {
        assert_eq!(play.status(), "running");
        play.calls(&[("terminal", json!({"command": command}))]).done(command);
    }
    assert_eq!(play.status(), "stuck");
}

#[test]
fn a_failing_call_is_pointed_out_before_the_agent_counts_as_stuck() {
    let mut play = Play::new();
    play.say("go").run();
    for _ in 0..3 {
        play.calls(&[("terminal", json!({"wrong": 1}))]);
    }
    assert!(play.story().last().unwrap().starts_with("Environment: The same call failed"), "{:?}", play.story());
    play.calls(&[("terminal", json!({"wrong": 1}))]);
    assert_eq!(play.status(), "stuck");
}

#[test]
fn stuck_detection_can_be_switched_off() {
    let mut play = Play::with(|setup| setup.stuck_detection = false);
    play.say("go").run();
    for _ in 0..10 {
        play.calls(&[("terminal", json!({"command": "false"}))]).done("false");
    }
    assert_eq!(play.status(), "running");
}

#[test]
fn a_pause_during_a_model_call_keeps_the_answer_and_begins_nothing() {
    let mut play = Play::new();
    play.say("go").run().pause();
    assert_eq!((play.status(), play.settled), ("paused", 1));
    play.calls(&[("terminal", json!({"command": "ls"}))]);
    assert_eq!(play.begun(), [""; 0], "nothing begins while paused");
    play.run();
    assert_eq!(play.begun(), ["ls"]);
    play.done("ls");
    assert_eq!(play.questions.len(), 2);
}

#[test]
fn a_pause_during_a_tool_keeps_its_result() {
    let mut play = Play::new();
    play.say("go").run().calls(&[("terminal", json!({"command": "a: 1"})), ("terminal", json!({"command": "a: 2"}))]);
    play.pause().done("a: 1");
    assert_eq!(play.begun(), ["a: 1"]);
    assert_eq!((play.status(), play.questions.len()), ("paused", 1));
    play.run().done("a: 2");
    assert_eq!((play.status(), play.questions.len()), ("running", 2));
}

#[test]
fn a_run_that_goes_on_before_the_model_answered_asks_only_once() {
    let mut play = Play::new();
    play.say("go").run().pause().run().reply("hi");
    assert_eq!((play.status(), play.questions.len()), ("finished", 1));
}

#[test]
fn an_interrupt_breaks_off_what_is_under_way() {
    let mut play = Play::new();
    play.say("go").run().calls(&[("terminal", json!({"command": "sleep"}))]).interrupt();
    assert_eq!((play.status(), play.aborted, play.settled), ("paused", 1, 1));
    let story = play.story();
    assert!(story[story.len() - 3].starts_with("error: Tool call interrupted"), "{story:?}");
    assert_eq!(story[story.len() - 2..], ["now paused", "InterruptEvent"]);
    play.done("sleep");
    assert_eq!(play.story(), story, "a late result is dropped");
    play.run().reply("went on");
    assert_eq!(play.status(), "finished");
}

#[test]
fn an_answer_that_comes_after_an_interrupt_is_dropped() {
    let mut play = Play::new();
    play.say("go").run().interrupt().reply("too late");
    assert_eq!(play.status(), "paused");
    assert_eq!(play.story().last().unwrap(), "InterruptEvent");
}

#[test]
fn a_second_run_at_the_same_time_is_refused() {
    let mut play = Play::new();
    play.say("go").run();
    assert!(play.machine.run(&mut play.world).is_err());
}

#[test]
fn a_conversation_goes_on_after_a_restart_as_if_there_had_been_none() {
    let mut play = Play::new();
    play.say("one").run().calls(&[("terminal", json!({"command": "ls"}))]).done("ls").reply("done");
    let mut again = play.restarted();
    for play in [&mut play, &mut again] {
        play.say("two").run().reply("fine");
    }
    assert_eq!(again.last_question(), play.last_question());
    assert_eq!(again.story(), play.story());
}

#[test]
fn a_call_that_a_restart_cut_off_gets_its_error_and_the_next_run_goes_on() {
    let mut play = Play::new();
    play.say("go").run().calls(&[("terminal", json!({"command": "sleep"}))]);
    let mut again = play.restarted();
    again.recover();
    assert_eq!(again.status(), "error");
    let story = again.story();
    assert!(story[story.len() - 2].starts_with("error: A restart"), "{story:?}");
    again.run();
    assert_eq!(again.begun(), [""; 0], "the call is not repeated");
    again.reply("went on");
    assert_eq!(again.status(), "finished");
}

#[test]
fn results_come_in_the_order_of_the_calls_however_they_end() {
    let mut play = Play::with(|setup| Arc::make_mut(&mut setup.agent).tool_concurrency_limit = 2);
    let call = |command: &str| ("terminal", json!({"command": command}));
    play.say("go").run().calls(&[call("a: 1"), call("a: 2"), call("b: 1"), call("c: 1")]);
    assert_eq!(play.begun(), ["a: 1", "b: 1"], "two at a time, and not two that share something");
    play.done("b: 1");
    assert_eq!(play.begun(), ["a: 1", "b: 1", "c: 1"]);
    play.fails("a: 1");
    assert_eq!(play.begun(), ["a: 1", "b: 1", "c: 1", "a: 2"]);
    play.done("a: 2").done("c: 1");
    let results: Vec<_> =
        play.story().into_iter().filter(|line| line.contains("error:") || line.contains("result:")).collect();
    assert_eq!(
        results,
        [
            "error: Error executing tool 'terminal': broken",
            "result: output of a: 2",
            "result: output of b: 1",
            "result: output of c: 1"
        ]
    );
    assert_eq!(play.questions.len(), 2, "the model is asked when all are there");
}

#[test]
fn calls_behind_finish_are_not_carried_out() {
    let mut play = Play::new();
    let call = |command: &str| ("terminal", json!({"command": command}));
    play.say("go").run().calls(&[call("1"), ("finish", json!({"message": "bye"})), call("2")]).done("1");
    assert_eq!((play.status(), play.begun()), ("finished", vec!["1".to_owned()]));
    assert!(play.story().iter().any(|line| line.starts_with("error: Not carried out")));
    let mut again = play.restarted();
    again.say("more").run();
    assert_eq!(again.begun(), [""; 0], "nor in the next run");
}
