//! Events as lines.

use longshore_protocol::{
    Action, Content, Event, EventBody, Observation, Source,
    action::{EditorCommand, FileEditorAction, TaskStatus, TaskTrackerCommand, TerminalAction},
    error::UserAction,
    event::{ActionEvent, ConversationErrorEvent, MessageEvent},
    observation::{FileEditorObservation, TaskTrackerObservation, TerminalObservation},
};

use super::{
    diff::diff,
    line::{Line, Style, flattened},
    shorten::{DIFF, Lines, OUTPUT, PROSE, QUESTION, in_one_line, shortened},
};

/// Characters of a summary or of arguments that are shown.
const SUMMARY: usize = 100;

/// Turns events into lines, one after the other.
#[derive(Debug)]
pub(crate) struct Renderer {
    /// The folder that paths are shown from.
    folder: String,
    /// The response that the latest action came from: the first action of each has a blank line before it.
    response: Option<String>,
}

impl Renderer {
    /// Shows paths as seen from `folder`.
    pub(crate) fn new(folder: impl Into<String>) -> Self {
        Self { folder: folder.into(), response: None }
    }

    /// What is to be seen of an event; nothing for those that only programs need.
    pub(crate) fn lines(&mut self, event: &Event) -> Vec<Line> {
        match &event.body {
            EventBody::MessageEvent(message) => said(event.source, message),
            EventBody::ActionEvent(action) => self.action(action),
            EventBody::ObservationEvent(result) => self.observation(&result.observation),
            EventBody::AgentErrorEvent(error) => failure(&format!("{}: {}", error.tool_name, error.error)),
            EventBody::UserRejectObservation(rejection) => {
                let text = format!("  Not done: {}", in_one_line(&rejection.rejection_reason, SUMMARY));
                vec![Line::new(Style::Warning, text)]
            }
            EventBody::ConversationErrorEvent(error) => run_failure(error),
            EventBody::Condensation(it) => {
                let count = it.forgotten_event_ids.len();
                vec![Line::new(Style::Dim, format!("  ({count} earlier events were summed up to save space)"))]
            }
            EventBody::SystemPromptEvent(_)
            | EventBody::ConversationStateUpdateEvent(_)
            | EventBody::PauseEvent(_)
            | EventBody::InterruptEvent(_)
            | EventBody::CondensationRequest(_)
            | EventBody::CondensationSummaryEvent(_)
            | EventBody::SecurityAnalysisEvent(_)
            | EventBody::StreamingDeltaEvent(_)
            | EventBody::ServerErrorEvent(_)
            | EventBody::Unknown(_) => Vec::new(),
        }
    }

    fn action(&mut self, event: &ActionEvent) -> Vec<Line> {
        let mut lines = Vec::new();
        if self.response.as_ref() != Some(&event.llm_response_id) {
            self.response = Some(event.llm_response_id.clone());
            lines.push(Line::blank());
        }
        let thought = event.thought.iter().map(|text| text.text.as_str()).collect::<Vec<_>>().join("\n");
        for text in event.reasoning_content.iter().map(String::as_str).chain([thought.as_str()]) {
            lines.extend(shortened(text.trim(), PROSE, "", Style::Dim));
        }
        let Some(action) = &event.action else { return lines };
        match action {
            Action::TerminalAction(action) => lines.extend(command(action, summary(event), PROSE)),
            Action::FileEditorAction(action) if action.command == EditorCommand::View => {
                lines.push(Line::new(Style::Command, format!("Read {}", self.place(action))));
            }
            // What the editor and the task list did is seen when they have done it.
            Action::FileEditorAction(_) | Action::TaskTrackerAction(_) => {}
            Action::FinishAction(finish) => {
                if lines.last().is_none_or(|line| *line != Line::blank()) {
                    lines.push(Line::blank());
                }
                lines.extend(whole(&finish.message));
            }
            Action::ThinkAction(think) => lines.extend(shortened(&think.thought, PROSE, "", Style::Dim)),
            Action::Unknown(_) => lines.extend(call(event)),
        }
        lines
    }

    fn place(&self, action: &FileEditorAction) -> String {
        let path = self.short(&action.path);
        match action.view_range.as_deref() {
            Some([first, -1]) => format!("{path} from line {first}"),
            Some([first, last]) => format!("{path}, lines {first} to {last}"),
            _ => path.to_owned(),
        }
    }

    fn observation(&self, observation: &Observation) -> Vec<Line> {
        match observation {
            Observation::TerminalObservation(result) => output(result),
            Observation::FileEditorObservation(result) => self.edit(result),
            Observation::TaskTrackerObservation(result) => tasks(result),
            Observation::FinishObservation(_) | Observation::ThinkObservation(_) => Vec::new(),
            other if other.is_error() => failure(&text_of(other.content())),
            other => shortened(&flattened(&text_of(other.content())), OUTPUT, "  ", Style::Plain),
        }
    }

    fn edit(&self, result: &FileEditorObservation) -> Vec<Line> {
        let path = self.short(result.path.as_deref().unwrap_or_default());
        if result.is_error {
            return failure(&format!("{} {path}: {}", result.command.as_str(), text_of(&result.content)));
        }
        let before = result.old_content.as_deref().unwrap_or_default();
        let after = result.new_content.as_deref().unwrap_or_default();
        let (lines, added, removed) = diff(before, after, DIFF);
        let title = match result.command {
            EditorCommand::View => return Vec::new(),
            EditorCommand::Create => format!("Created {path}"),
            EditorCommand::UndoEdit => format!("Took back an edit of {path}"),
            EditorCommand::StrReplace | EditorCommand::Insert => format!("Edited {path}"),
        };
        let counts = format!("  +{added} -{removed}");
        let mut all = vec![Line::new(Style::Command, title).and(Style::Dim, counts)];
        all.extend(lines);
        all
    }

    fn short<'a>(&self, path: &'a str) -> &'a str {
        let below = path.strip_prefix(&self.folder).and_then(|rest| rest.strip_prefix('/'));
        below.filter(|rest| !rest.is_empty()).unwrap_or(path)
    }
}

/// An action that has not been done yet, as a person must see it to agree: nothing of it is hidden unless it is very long.
pub(crate) fn described(event: &ActionEvent) -> Vec<Line> {
    match &event.action {
        Some(Action::TerminalAction(action)) => command(action, summary(event), QUESTION),
        Some(Action::FileEditorAction(action)) => {
            let mut lines = vec![Line::new(Style::Command, format!("{} {}", action.command.as_str(), action.path))];
            let (before, after) = match action.command {
                EditorCommand::Create => ("", action.file_text.as_deref().unwrap_or_default()),
                _ => (action.old_str.as_deref().unwrap_or_default(), action.new_str.as_deref().unwrap_or_default()),
            };
            lines.extend(diff(before, after, QUESTION).0);
            lines
        }
        _ => call(event),
    }
}

/// The summary that the model gave; the one that is made from the arguments says nothing new.
fn summary(event: &ActionEvent) -> Option<&str> {
    event.summary.as_deref().filter(|summary| !summary.starts_with(&format!("{}: {{", event.tool_name)))
}

fn said(source: Source, message: &MessageEvent) -> Vec<Line> {
    let text = message.llm_message.text();
    let mut lines = vec![Line::blank()];
    match source {
        Source::User => {
            let text = shortened(&text, PROSE, "", Style::Bold);
            lines.extend(text);
        }
        Source::Agent => {
            if let Some(reasoning) = &message.llm_message.reasoning_content {
                lines.extend(shortened(reasoning.trim(), PROSE, "", Style::Dim));
            }
            lines.extend(whole(&text));
        }
        Source::Environment | Source::Hook => lines.extend(shortened(&text, PROSE, "  ", Style::Dim)),
    }
    lines
}

/// The whole of a text that the agent wrote for the user.
fn whole(text: &str) -> Vec<Line> {
    text.trim().lines().map(Line::plain).collect()
}

fn command(action: &TerminalAction, summary: Option<&str>, limit: Lines) -> Vec<Line> {
    let mut lines = Vec::new();
    if action.reset {
        lines.push(Line::new(Style::Command, "Start a new shell"));
    }
    if action.command.is_empty() {
        if !action.reset {
            lines.push(Line::new(Style::Command, "Wait for more output"));
        }
        return lines;
    }
    let mark = if action.is_input { "> " } else { "$ " };
    let mut shown = shortened(&action.command, limit, "  ", Style::Command);
    if let Some(first) = shown.first_mut() {
        let text = action.command.lines().next().unwrap_or_default();
        let line = Line::new(Style::Command, format!("{mark}{}", super::shorten::cut(text)));
        let summary = summary.map(|summary| format!("  # {}", in_one_line(summary, SUMMARY)));
        *first = line.and(Style::Dim, summary.unwrap_or_default());
    }
    lines.extend(shown);
    lines
}

/// A call of a tool that this program knows nothing about.
fn call(event: &ActionEvent) -> Vec<Line> {
    let arguments = in_one_line(&event.tool_call.arguments, SUMMARY);
    vec![Line::new(Style::Command, format!("{} {arguments}", event.tool_name))]
}

fn output(result: &TerminalObservation) -> Vec<Line> {
    let text = flattened(&text_of(&result.content));
    if result.is_error {
        return failure(&text);
    }
    let mut lines = shortened(text.trim_end(), OUTPUT, "  ", Style::Plain);
    match result.exit_code {
        None | Some(0) => {}
        Some(-1) => lines.push(Line::new(Style::Warning, "  still running")),
        Some(code) => lines.push(Line::new(Style::Removed, format!("  exit code {code}"))),
    }
    lines
}

fn tasks(result: &TaskTrackerObservation) -> Vec<Line> {
    if result.is_error {
        return failure(&text_of(&result.content));
    }
    let title = match result.command {
        TaskTrackerCommand::Plan => "Plan",
        TaskTrackerCommand::View => "Tasks",
    };
    let items = result.task_list.iter().map(|task| {
        let (mark, style) = match task.status {
            TaskStatus::Todo => ("○", Style::Dim),
            TaskStatus::InProgress => ("◐", Style::Bold),
            TaskStatus::Done => ("●", Style::Added),
        };
        Line::new(style, format!("  {mark} ")).and(Style::Plain, in_one_line(&task.title, SUMMARY))
    });
    [Line::new(Style::Command, title)].into_iter().chain(items).collect()
}

fn failure(text: &str) -> Vec<Line> {
    shortened(&flattened(text), OUTPUT, "  ", Style::Removed)
}

fn run_failure(error: &ConversationErrorEvent) -> Vec<Line> {
    let mut lines = vec![Line::blank()];
    lines.extend(shortened(&format!("{}: {}", error.code, error.detail), OUTPUT, "", Style::Failure));
    let advice = match error.classification.as_ref().map(|classification| classification.user_action) {
        Some(UserAction::Retry) => "It may work the next time.",
        Some(UserAction::Settings) => "Check the model's name, its address and its key.",
        Some(UserAction::None) | None => return lines,
    };
    lines.push(Line::plain(advice));
    lines
}

fn text_of(content: &[Content]) -> String {
    content.iter().filter_map(Content::as_text).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn event(source: &str, body: Value) -> Event {
        let mut fields = json!({"id": "e", "timestamp": "2026-11-20T04:16:46.000000", "source": source});
        fields.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        serde_json::from_value(fields).unwrap()
    }

    fn action(action: Value, summary: &str, response: &str) -> Event {
        let tool = if action["kind"] == "TerminalAction" { "terminal" } else { "file_editor" };
        event(
            "agent",
            json!({
                "kind": "ActionEvent", "thought": [{"type": "text", "text": "I look."}], "action": action,
                "tool_name": tool, "tool_call_id": "c", "llm_response_id": response, "summary": summary,
                "tool_call": {"id": "c", "name": tool, "arguments": "{}", "origin": "completion"},
            }),
        )
    }

    fn result(observation: Value) -> Event {
        event(
            "environment",
            json!({
                "kind": "ObservationEvent", "tool_name": "t", "tool_call_id": "c", "action_id": "a",
                "observation": observation,
            }),
        )
    }

    fn text(events: &[Event]) -> String {
        let mut renderer = Renderer::new("/work");
        let lines: Vec<_> = events.iter().flat_map(|event| renderer.lines(event)).map(|line| line.text()).collect();
        lines.join("\n")
    }

    #[test]
    fn a_command_is_shown_with_summary_output_and_exit_code() {
        let shown = text(&[
            action(json!({"kind": "TerminalAction", "command": "ls\nfalse"}), "Look around", "r1"),
            result(
                json!({"kind": "TerminalObservation", "content": [{"type": "text", "text": "a\nb\n"}], "exit_code": 1}),
            ),
        ]);
        assert_eq!(shown, "\nI look.\n$ ls  # Look around\n  false\n  a\n  b\n  exit code 1");
    }

    #[test]
    fn an_edit_is_shown_as_what_changed() {
        let shown = text(&[result(json!({
            "kind": "FileEditorObservation", "command": "str_replace", "path": "/work/a.txt", "content": [],
            "old_content": "one\ntwo\n", "new_content": "one\nthree\n",
        }))]);
        assert_eq!(shown, "Edited a.txt  +1 -1\n    one\n  - two\n  + three");
    }

    #[test]
    fn tasks_have_marks() {
        let shown = text(&[result(json!({
            "kind": "TaskTrackerObservation", "command": "plan", "content": [],
            "task_list": [{"title": "a", "status": "done"}, {"title": "b", "status": "in_progress"}, {"title": "c"}],
        }))]);
        assert_eq!(shown, "Plan\n  ● a\n  ◐ b\n  ○ c");
    }

    #[test]
    fn a_failed_run_says_what_to_do() {
        let shown = text(&[event(
            "environment",
            json!({
                "kind": "ConversationErrorEvent", "code": "LLMAuthenticationError", "detail": "no",
                "classification": {"kind": "auth", "retryable": false, "user_action": "settings"},
            }),
        )]);
        assert!(shown.contains("LLMAuthenticationError: no\nCheck the model's name"), "{shown}");
    }

    #[test]
    fn what_is_to_be_agreed_to_is_shown_whole() {
        let long = (1..150).map(|number| format!("echo {number}")).collect::<Vec<_>>().join("\n");
        let event =
            action(json!({"kind": "TerminalAction", "command": format!("{long}\nrm -rf ~\u{1b}[8m")}), "s", "r");
        let EventBody::ActionEvent(action) = &event.body else { panic!() };
        let lines: Vec<_> = described(action).iter().map(Line::text).collect();
        assert_eq!(lines.len(), 150);
        assert_eq!(lines.last().unwrap(), "  rm -rf ~␛[8m");
    }
}
