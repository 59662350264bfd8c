//! What the scripted model of the demo says. Everything it asks for is really done.

use std::path::Path;

use longshore_llm::Turn;
use serde_json::{Value, json};

/// The name of the script.
pub(super) const NAME: &str = "demo";

/// What the agent is asked to do, by a script or by a real model.
pub(super) const TASK: &str = "\
Write a shell script top-words.sh that prints the most frequent words of a text file, most frequent first: the first argument \
is the file, the second is how many words. `The` and `the` are the same word. Write a small test, test-top-words.sh, that \
checks it with story.txt, run it, and make it pass. Use sh, sort, uniq, tr and head only, and keep it short.";

/// A file that lies in the folder from the start.
pub(super) const STORY: (&str, &str) = (
    "story.txt",
    "The boat left the harbour at dawn. The harbour was quiet.\nThe gulls followed the boat, and the boat followed the coast.\n",
);

/// How long an answer takes, so that a person can follow.
const DELAY: u64 = 500;

const SCRIPT: &str = r#"#!/bin/sh
# Prints the most frequent words of a file, most frequent first.
tr -cs '[:alpha:]' '\n' < "$1" |
    sort | uniq -c | sort -rn | head -n "${2:-10}"
"#;

const MISTAKE: &str = r#"tr -cs '[:alpha:]' '\n' < "$1" |"#;

const CORRECTION: &str = r#"tr '[:upper:]' '[:lower:]' < "$1" | tr -cs '[:alpha:]' '\n' |"#;

const TEST: &str = r#"#!/bin/sh
# The word "the" stands seven times in the story, whatever its case.
set -- $(sh top-words.sh story.txt 1)
if [ "$1 $2" = "7 the" ]; then
    echo "passed: $2 stands $1 times"
else
    echo "FAILED: expected 7 the, got $1 $2"
    exit 1
fi
"#;

/// The script, for a folder.
pub(super) fn turns(folder: &Path) -> Vec<Turn> {
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let editor = |arguments: Value, summary: &str| Turn::call("file_editor", with_summary(arguments, summary));
    let terminal =
        |command: &str, summary: &str| Turn::call("terminal", with_summary(json!({"command": command}), summary));
    let create = |name: &str, text: &str| json!({"command": "create", "path": path(name), "file_text": text});
    let replace = |name: &str, old: &str, new: &str| json!({"command": "str_replace", "path": path(name), "old_str": old, "new_str": new});
    let turns = [
        said("I look at what is there first.", terminal("ls -l && cat story.txt", "Look around")),
        Turn::call("task_tracker", plan(["in_progress", "todo", "todo"])),
        said(
            "Split the text into words, count equal ones, sort by number.",
            editor(create("top-words.sh", SCRIPT), "Write the script"),
        ),
        said(
            "Now a test that counts the most frequent word.",
            editor(create("test-top-words.sh", TEST), "Write the test"),
        ),
        terminal("sh test-top-words.sh", "Run the test"),
        said(
            "The test fails: words that begin a sentence are counted apart. All letters must be small before the words are split.",
            editor(replace("top-words.sh", MISTAKE, CORRECTION), "Make all letters small"),
        ),
        terminal("sh test-top-words.sh && sh top-words.sh story.txt 3", "Run the test again"),
        Turn::call("task_tracker", plan(["done", "done", "done"])),
        Turn::call(
            "finish",
            json!({"message":
                "top-words.sh prints the most frequent words of a file. Its test failed at first, because `The` and `the` were \
                 counted apart; with that corrected, it passes."}),
        ),
    ];
    turns.into_iter().map(|turn| turn.after_ms(DELAY)).collect()
}

fn said(text: &str, turn: Turn) -> Turn {
    Turn { text: Some(text.to_owned()), ..turn }
}

fn with_summary(mut arguments: Value, summary: &str) -> Value {
    if let Some(fields) = arguments.as_object_mut() {
        fields.insert("summary".to_owned(), summary.into());
        fields.insert("security_risk".to_owned(), "LOW".into());
    }
    arguments
}

fn plan(status: [&str; 3]) -> Value {
    let titles = ["Write top-words.sh", "Write a test", "Make the test pass"];
    let tasks: Vec<_> =
        titles.iter().zip(status).map(|(title, status)| json!({"title": title, "status": status})).collect();
    json!({"command": "plan", "task_list": tasks, "security_risk": "LOW"})
}
