//! What the model reads of a conversation (contract: agent §3.2, §3.3).

use std::sync::Arc;

use longshore_protocol::{
    Content, Event, EventBody, Message, Observation, Role, Source, event::ActionEvent, observation::TerminalObservation,
};

use crate::text::cut_middle;

/// Characters of one command's output that the model reads, with what stands around it.
const TERMINAL_LIMIT: usize = 30_000;

/// The messages of a conversation, kept up to date event by event.
///
/// Providers insist that the answers to an assistant's tool calls follow it at once, so an answer goes to its call even if
/// the user said something in between.
#[derive(Debug, Clone, Default)]
pub struct View {
    messages: Vec<Arc<Message>>,
    /// The response that the last assistant message with tool calls comes from, and where that message is.
    last_response: Option<(String, usize)>,
    /// Tool calls without an answer.
    open_calls: Vec<OpenCall>,
}

#[derive(Debug, Clone)]
struct OpenCall {
    id: String,
    tool: String,
}

impl View {
    /// Adds an event. `arguments` are those of a tool call as the model wrote them, if the event hides part of them.
    pub fn push(&mut self, event: &Event, arguments: Option<&str>) {
        match &event.body {
            EventBody::SystemPromptEvent(prompt) => {
                let content = std::iter::once(&prompt.system_prompt).chain(&prompt.dynamic_context);
                let content = content.cloned().map(Content::Text).collect();
                self.messages.push(Arc::new(Message::new(Role::System, content)));
            }
            EventBody::MessageEvent(message) => {
                let mut content = message.llm_message.clone();
                content.content.extend(message.extended_content.iter().cloned().map(Content::Text));
                if event.source == Source::Agent {
                    self.messages.push(Arc::new(content));
                } else {
                    self.push_user(content);
                }
            }
            EventBody::ActionEvent(action) => self.push_action(action, arguments),
            EventBody::ObservationEvent(answer) => {
                let mut content = observation_content(&answer.observation);
                content.extend(answer.extended_content.iter().cloned().map(Content::Text));
                self.push_answer(&answer.tool_call_id, &answer.tool_name, content);
            }
            EventBody::AgentErrorEvent(error) => {
                self.push_answer(&error.tool_call_id, &error.tool_name, vec![Content::text(&error.error)]);
            }
            EventBody::UserRejectObservation(rejection) => {
                let text = format!("Action rejected: {}", rejection.rejection_reason);
                self.push_answer(&rejection.tool_call_id, &rejection.tool_name, vec![Content::text(text)]);
            }
            _ => {}
        }
    }

    /// The messages for a request. A call that has no answer gets one that says so.
    pub fn messages(&self) -> Vec<Arc<Message>> {
        if self.open_calls.is_empty() {
            return self.messages.clone();
        }
        let mut complete = self.clone();
        for call in &self.open_calls {
            complete.push_answer(&call.id, &call.tool, vec![Content::text("This call was not carried out.")]);
        }
        complete.messages
    }

    /// Adjacent messages of the user become one, because some providers refuse two in a row.
    fn push_user(&mut self, message: Message) {
        match self.messages.last_mut() {
            Some(last) if last.role == Role::User => Arc::make_mut(last).content.extend(message.content),
            _ => self.messages.push(Arc::new(message)),
        }
    }

    fn push_action(&mut self, action: &ActionEvent, arguments: Option<&str>) {
        let mut call = action.tool_call.clone();
        if let Some(arguments) = arguments {
            arguments.clone_into(&mut call.arguments);
        }
        self.open_calls.push(OpenCall { id: action.tool_call_id.clone(), tool: action.tool_name.clone() });
        if let Some((response, index)) = &self.last_response
            && *response == action.llm_response_id
            && let Some(message) = self.messages.get_mut(*index)
        {
            Arc::make_mut(message).tool_calls.get_or_insert_default().push(call);
            return;
        }
        self.last_response = Some((action.llm_response_id.clone(), self.messages.len()));
        self.messages.push(Arc::new(Message {
            role: Role::Assistant,
            content: action.thought.iter().cloned().map(Content::Text).collect(),
            tool_calls: Some(vec![call]),
            reasoning_content: action.reasoning_content.clone(),
            thinking_blocks: action.thinking_blocks.clone(),
            responses_reasoning_item: action.responses_reasoning_item.clone(),
            ..Message::default()
        }));
    }

    /// Puts an answer behind its call and the answers already there. A second answer to a call is dropped.
    fn push_answer(&mut self, call_id: &str, tool: &str, content: Vec<Content>) {
        let Some(open) = self.open_calls.iter().position(|call| call.id == call_id) else { return };
        self.open_calls.remove(open);
        let asks = |message: &Message| message.tool_calls.iter().flatten().any(|call| call.id == call_id);
        let Some(asked) = self.messages.iter().rposition(|message| asks(message)) else { return };
        let answers = self.messages[asked + 1..].iter().take_while(|message| message.role == Role::Tool).count();
        let message = Message {
            role: Role::Tool,
            content,
            tool_call_id: Some(call_id.to_owned()),
            name: Some(tool.to_owned()),
            ..Message::default()
        };
        self.messages.insert(asked + 1 + answers, Arc::new(message));
    }
}

/// What the model reads of an observation.
pub fn observation_content(observation: &Observation) -> Vec<Content> {
    let mut content = match observation {
        Observation::TerminalObservation(terminal) => vec![Content::text(terminal_text(terminal))],
        Observation::Unknown(fields) => {
            let content = fields.get("content").cloned().unwrap_or_default();
            serde_json::from_value(content).unwrap_or_default()
        }
        known => known.content().to_vec(),
    };
    if observation.is_error() {
        content.insert(0, Content::text("[An error occurred during execution.]\n"));
    }
    content
}

fn terminal_text(terminal: &TerminalObservation) -> String {
    let metadata = &terminal.metadata;
    let output: String = terminal.content.iter().filter_map(Content::as_text).collect::<Vec<_>>().join("\n");
    let mut text = format!("{}{output}{}", metadata.prefix, metadata.suffix);
    if let Some(folder) = &metadata.working_dir {
        text.push_str(&format!("\n[Current working directory: {folder}]"));
    }
    if let Some(python) = metadata.py_interpreter_path.as_deref().filter(|python| !python.is_empty()) {
        text.push_str(&format!("\n[Python interpreter: {python}]"));
    }
    if metadata.exit_code != -1 {
        text.push_str(&format!("\n[Command finished with exit code {}]", metadata.exit_code));
    }
    cut_middle(&text, TERMINAL_LIMIT)
}
