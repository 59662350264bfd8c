//! `longshore run` on a terminal, with somebody who types.

use longshore_workspace::{Command, Local, LocalOptions, Terminal, TerminalSize, Workspace as _};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use crate::support::{PATIENCE, PROGRAM, World, touch, until};

/// A person before a terminal.
struct Person {
    terminal: Terminal,
    seen: String,
}

impl Person {
    async fn start(world: &World, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let workspace = Local::new(LocalOptions::new(world.workspace())).unwrap();
        let command = Command::new(PROGRAM)
            .args(arguments)
            .envs(world.variables())
            .env("TERM", "xterm-256color")
            .envs(variables.iter().copied());
        let size = TerminalSize { rows: 40, columns: 120 };
        Self { terminal: workspace.open_terminal(command, size).await.unwrap(), seen: String::new() }
    }

    /// Waits until this text appears behind all that was waited for before.
    async fn sees(&mut self, text: &str) {
        let read = async {
            let mut bytes = [0; 4096];
            loop {
                if let Some(at) = self.seen.find(text) {
                    self.seen.drain(..at + text.len());
                    return;
                }
                let count = self.terminal.output.read(&mut bytes).await.unwrap_or(0);
                assert!(count > 0, "{text:?} never came; there was:\n{}", self.seen);
                self.seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        };
        let is_seen = timeout(PATIENCE, read).await.is_ok();
        assert!(is_seen, "{text:?} did not come; there was:\n{}", self.seen);
    }

    async fn types(&mut self, text: &str) {
        self.terminal.input.write_all(text.as_bytes()).await.unwrap();
        self.terminal.input.flush().await.unwrap();
    }

    async fn code(&mut self) -> Option<i32> {
        let mut rest = Vec::new();
        let _ =
            timeout(PATIENCE, self.terminal.output.read_to_end(&mut rest)).await.expect("the terminal does not close");
        self.seen.push_str(&String::from_utf8_lossy(&rest));
        timeout(PATIENCE, self.terminal.control.wait()).await.expect("the program does not end").unwrap().code()
    }
}

fn risky(command: &str) -> Value {
    json!({"tool_calls": [{"name": "terminal", "arguments": {"command": command, "security_risk": "HIGH"}}]})
}

const QUESTION: &str = "[a]lways: ";

#[tokio::test]
async fn a_person_rejects_accepts_and_accepts_for_good() {
    let world = World::new();
    let turns = json!([
        risky("touch one"),
        {"tool_calls": [{"name": "terminal", "arguments": {"command": "touch harmless", "security_risk": "LOW"}}]},
        risky("touch two"), risky("touch three"), risky("touch four"), {"text": "All asked."},
    ]);
    let model = world.model("risky.json", &turns);
    let mut person = Person::start(&world, &["run", "--model", &model, "x"], &[("NO_COLOR", "1")]).await;
    person.sees("of high risk:\r\n$ touch one").await;
    person.sees(QUESTION).await;
    person.types("maybe\n").await;
    person.sees(QUESTION).await;
    person.types("no, leave it\n").await;
    person.sees("Not done: leave it").await;
    person.sees("$ touch two").await;
    person.sees(QUESTION).await;
    person.types("y\n").await;
    person.sees("$ touch three").await;
    person.sees(QUESTION).await;
    person.types("a\n").await;
    person.sees("All asked.").await;
    assert_eq!(person.code().await, Some(0));
    let made = ["one", "harmless", "two", "three", "four"].map(|name| world.workspace().join(name).exists());
    assert_eq!(made, [false, true, true, true, true]);
}

#[tokio::test]
async fn ctrl_c_at_a_question_leaves_it_for_later() {
    let world = World::new();
    let unjudged = json!({"tool_calls": [{"name": "terminal", "arguments": {"command": "touch one"}}]});
    let model = world.model("unjudged.json", &json!([unjudged, {"text": "Made."}]));
    let mut person = Person::start(&world, &["run", "--model", &model, "x"], &[]).await;
    person.sees("of unknown risk").await;
    person.sees(QUESTION).await;
    person.types("\u{3}").await;
    assert_eq!(person.code().await, Some(130));
    assert!(person.seen.contains("--resume"), "{}", person.seen);

    let mut person = Person::start(&world, &["run", "--resume"], &[]).await;
    person.sees("Actions wait for your answer.").await;
    person.sees(QUESTION).await;
    person.types("yes\n").await;
    person.sees("Made.").await;
    assert_eq!(person.code().await, Some(0));
    assert!(world.workspace().join("one").exists());
}

#[tokio::test]
async fn what_was_typed_before_a_question_is_no_answer() {
    let world = World::new();
    let wait = "touch begun; until [ -e go ]; do sleep 0.05; done";
    let turns = json!([
        {"tool_calls": [{"name": "terminal", "arguments": {"command": wait, "security_risk": "LOW", "timeout": 60}}]},
        risky("touch one"), {"text": "Asked."},
    ]);
    let model = world.model("early.json", &turns);
    let mut person = Person::start(&world, &["run", "--model", &model, "x"], &[]).await;
    until("the command", || world.workspace().join("begun").exists()).await;
    person.types("y\n").await;
    person.sees("y\r\n").await;
    touch(&world.workspace().join("go"));
    person.sees(QUESTION).await;
    person.types("n\n").await;
    person.sees("Asked.").await;
    assert_eq!(person.code().await, Some(0));
    assert!(!world.workspace().join("one").exists());
}

#[tokio::test]
async fn an_interactive_run_asks_for_more_until_there_is_nothing() {
    let world = World::new();
    let model = world.model("talk.json", &json!([{"text": "First answer."}, {"text": "Second answer."}]));
    let mut person = Person::start(&world, &["run", "-i", "--model", &model, "first"], &[]).await;
    person.sees("First answer.").await;
    person.sees("Next message (empty to end): ").await;
    person.types("and second?\n").await;
    person.sees("Second answer.").await;
    person.sees("Next message (empty to end): ").await;
    person.types("\n").await;
    assert_eq!(person.code().await, Some(0));
}

#[tokio::test]
async fn a_terminal_gets_colours_and_a_status_line_unless_it_wants_none() {
    let world = World::new();
    let turns = json!([
        {"tool_calls": [{"name": "terminal", "arguments": {"command": "sleep 2.5", "security_risk": "LOW"}}]},
        {"text": "Done."},
    ]);
    let model = world.model("slow.json", &turns);
    let mut person = Person::start(&world, &["run", "--model", &model, "x"], &[]).await;
    person.sees("\u{1b}[1;36m$ sleep 2.5\u{1b}[0m").await;
    person.sees("running sleep 2.5").await;
    person.sees("Done.").await;
    assert_eq!(person.code().await, Some(0));

    let arguments = ["run", "--model", &model, "x"];
    let mut person = Person::start(&world, &arguments, &[("NO_COLOR", "1")]).await;
    person.sees("\n$ sleep 2.5").await;
    person.sees("Done.").await;
    assert_eq!(person.code().await, Some(0));
}
