//! Events in the words of the native API.

use longshore_engine::Told;
use longshore_protocol::{
    Action, Event, EventBody, Observation, Source,
    event::{ActionEvent, ConversationStateUpdateEvent, ObservationEvent},
    message::{Content, TextContent},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// Bytes of a frame: what common clients take.
const MAX_FRAME: usize = 1 << 20;

/// Bytes that are left of each of the two texts of a frame that is too large: escaped, a byte may take six.
const MAX_CUT: usize = MAX_FRAME / 16;

/// Something that happened in a conversation.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub(super) struct StreamFrame {
    /// What it is.
    r#type: FrameType,
    /// Its position in the log, to go on after; none if it is not in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seq: Option<u64>,
    /// The id of the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// When it happened: wall-clock time of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
    /// Who it comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Source>,
    /// What it says, for people: of a message its text, of an action what it does, of an observation the output.
    content: String,
    /// Of a status: what the agent is doing.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    /// Of an action, an observation or an error: the tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<String>,
    /// The call that an action is, and that an observation or an error answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<String>,
    /// Of an action: the arguments of the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    arguments: Option<Value>,
    /// Of an action: what the agent thought.
    #[serde(skip_serializing_if = "Option::is_none")]
    thought: Option<String>,
    /// Of an observation: whether the call failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_error: Option<bool>,
    /// Of an observation of a command: how it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    /// Of an error: which one it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// Whether some of it was left out because it is large.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

/// What a frame is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum FrameType {
    /// Somebody said something.
    Message,
    /// The agent uses a tool.
    Action,
    /// A tool answered.
    Observation,
    /// The agent does something else now.
    #[default]
    Status,
    /// What the workspace is doing.
    Workspace,
    /// Something failed.
    Error,
}

impl StreamFrame {
    /// What a client is told of an event; none if it is told nothing.
    pub(super) fn of(told: &Told) -> Option<Self> {
        let event: Event = serde_json::from_str(&told.json).ok()?;
        let frame = of_body(event.body)?;
        Some(Self {
            seq: told.seq,
            id: Some(event.id),
            timestamp: Some(event.timestamp.to_string()),
            source: Some(event.source),
            ..frame
        })
    }

    /// Something went wrong that is no event.
    pub(super) fn error(code: &str, sentence: impl Into<String>) -> Self {
        let (code, content) = (Some(code.to_owned()), sentence.into());
        Self { r#type: FrameType::Error, code, content, ..Self::default() }
    }

    /// The JSON text, with less in it if it is large.
    pub(super) fn into_json(mut self) -> String {
        let text = json(&self);
        if text.len() <= MAX_FRAME {
            return text;
        }
        self.truncated = true;
        self.arguments = None;
        cut(&mut self.content);
        self.thought.as_mut().map(cut);
        json(&self)
    }
}

fn json(frame: &StreamFrame) -> String {
    serde_json::to_string(frame).expect("a frame has text keys only")
}

fn cut(text: &mut String) {
    text.truncate(text.floor_char_boundary(MAX_CUT));
}

/// The frame of what happened, without when and where.
fn of_body(body: EventBody) -> Option<StreamFrame> {
    let frame = StreamFrame::default();
    Some(match body {
        EventBody::MessageEvent(said) => {
            StreamFrame { r#type: FrameType::Message, content: said.llm_message.text(), ..frame }
        }
        EventBody::ActionEvent(action) => of_action(action),
        EventBody::ObservationEvent(observation) => of_observation(&observation),
        EventBody::UserRejectObservation(rejected) => StreamFrame {
            r#type: FrameType::Observation,
            tool: Some(rejected.tool_name),
            tool_call_id: Some(rejected.tool_call_id),
            is_error: Some(true),
            content: rejected.rejection_reason,
            ..frame
        },
        EventBody::AgentErrorEvent(failed) => StreamFrame {
            r#type: FrameType::Error,
            code: Some("tool_failed".to_owned()),
            tool: Some(failed.tool_name),
            tool_call_id: Some(failed.tool_call_id),
            content: failed.error,
            ..frame
        },
        EventBody::ConversationErrorEvent(failed) => StreamFrame::error(&failed.code, failed.detail),
        EventBody::ConversationStateUpdateEvent(update) => return of_update(&update),
        _ => return None,
    })
}

fn of_action(event: ActionEvent) -> StreamFrame {
    let ActionEvent { thought, action, tool_name, tool_call_id, tool_call, summary, .. } = event;
    let thought = Some(text(thought)).filter(|thought| !thought.is_empty());
    let (tool, tool_call_id) = (Some(tool_name), Some(tool_call_id));
    // The agent's last words come as a call; to a client they are a message like any other.
    if let Some(Action::FinishAction(finish)) = action {
        let content = finish.message;
        return StreamFrame {
            r#type: FrameType::Message,
            tool,
            tool_call_id,
            content,
            thought,
            ..StreamFrame::default()
        };
    }
    let content = match action {
        Some(Action::TerminalAction(action)) => action.command,
        Some(Action::FileEditorAction(action)) => format!("{} {}", action.command.as_str(), action.path),
        Some(Action::ThinkAction(action)) => action.thought,
        _ => summary.unwrap_or_else(|| tool_call.arguments.clone()),
    };
    let arguments = serde_json::from_str(&tool_call.arguments).ok();
    let r#type = FrameType::Action;
    StreamFrame { r#type, content, tool, tool_call_id, arguments, thought, ..StreamFrame::default() }
}

fn of_observation(event: &ObservationEvent) -> StreamFrame {
    let observation = &event.observation;
    let parts: Vec<_> = observation.content().iter().filter_map(Content::as_text).collect();
    let exit_code = match observation {
        Observation::TerminalObservation(terminal) => terminal.exit_code,
        _ => None,
    };
    StreamFrame {
        r#type: FrameType::Observation,
        tool: Some(event.tool_name.clone()),
        tool_call_id: Some(event.tool_call_id.clone()),
        is_error: Some(observation.is_error()),
        exit_code,
        content: parts.join("\n"),
        ..StreamFrame::default()
    }
}

fn of_update(update: &ConversationStateUpdateEvent) -> Option<StreamFrame> {
    let word = |value: &Value| value.as_str().map(str::to_owned);
    let (r#type, status, content) = match update.key.as_str() {
        "execution_status" => (FrameType::Status, word(&update.value)?, String::new()),
        "full_state" => (FrameType::Status, word(&update.value["execution_status"])?, String::new()),
        "sandbox" => {
            (FrameType::Workspace, word(&update.value["state"])?, word(&update.value["reason"]).unwrap_or_default())
        }
        _ => return None,
    };
    Some(StreamFrame { r#type, status: Some(status), content, ..StreamFrame::default() })
}

fn text(parts: Vec<TextContent>) -> String {
    parts.into_iter().map(|part| part.text).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::{MAX_FRAME, StreamFrame, json};

    #[test]
    fn a_frame_that_is_too_large_is_cut_whatever_is_in_it() {
        for text in ["x", "\u{1}", "\u{1F600}"] {
            let content = text.repeat(3 * MAX_FRAME / text.len());
            let frame = StreamFrame { thought: Some(content.clone()), content, ..StreamFrame::default() };
            let cut = frame.into_json();
            assert!(cut.len() <= MAX_FRAME && cut.contains("\"truncated\":true"), "{}", cut.len());
        }
        let small = StreamFrame::error("code", "sentence");
        assert_eq!(small.clone().into_json(), json(&small));
    }
}
