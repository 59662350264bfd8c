//! Models against a scripted provider, scripts and recordings.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answers;
mod errors;
mod recordings;
mod requests;
mod scripts;

use std::sync::Arc;

use longshore_llm::{Delta, Environment, Error, Models, ModelsOptions, Request, Response};
use longshore_outbound::{Client, Policy};
use longshore_protocol::{Content, ConversationId, Llm, Message, Role, ToolCall, tool::ToolSchema};
use longshore_testkit::ScriptedServer;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use uuid::Uuid;

/// Models that may be on this machine.
fn models_with(options: ModelsOptions) -> Models {
    let http = Client::new(longshore_outbound::Options::new(Policy::open())).unwrap();
    Models::new(ModelsOptions { http, ..options })
}

fn models() -> Models {
    models_with(ModelsOptions::default())
}

fn models_in(folder: &std::path::Path) -> Models {
    models_with(ModelsOptions { models_dir: Some(folder.to_owned()), ..ModelsOptions::default() })
}

fn user(text: &str) -> Message {
    Message::new(Role::User, vec![Content::text(text)])
}

fn assistant(text: &str) -> Message {
    Message::new(Role::Assistant, vec![Content::text(text)])
}

fn calling(id: &str, name: &str, arguments: &Value) -> Message {
    let call = json!({"id": id, "name": name, "arguments": arguments.to_string()});
    let call: ToolCall = serde_json::from_value(call).unwrap();
    Message { tool_calls: Some(vec![call]), ..Message::new(Role::Assistant, Vec::new()) }
}

fn result_of(id: &str, name: &str, text: &str) -> Message {
    Message {
        tool_call_id: Some(id.to_owned()),
        name: Some(name.to_owned()),
        ..Message::new(Role::Tool, vec![Content::text(text)])
    }
}

fn request(messages: impl IntoIterator<Item = Message>) -> Request {
    let parameters = json!({"type": "object", "properties": {"command": {"type": "string"}}});
    let tool = ToolSchema {
        name: "terminal".to_owned(),
        description: "Runs a command.".to_owned(),
        parameters: parameters.as_object().unwrap().clone(),
    };
    Request {
        conversation: ConversationId(Uuid::new_v4()),
        messages: messages.into_iter().map(Arc::new).collect(),
        tools: Arc::new([tool]),
        max_output_tokens: None,
        meter: None,
    }
}

/// Asks the model of a configuration once, without a listener.
async fn ask(llm: &Llm) -> Result<Response, Error> {
    models().resolve(llm)?.complete(&request([user("hi")]), None).await
}

/// Asks and listens.
async fn ask_listening(llm: &Llm) -> (Result<Response, Error>, Vec<Delta>) {
    let (sender, mut receiver) = mpsc::channel(1000);
    let answer = models().resolve(llm).unwrap().complete(&request([user("hi")]), Some(sender)).await;
    let mut deltas = Vec::new();
    while let Some(delta) = receiver.recv().await {
        deltas.push(delta);
    }
    (answer, deltas)
}

/// Calls of a message: tool and arguments.
fn calls(message: &Message) -> Vec<(&str, &str)> {
    message.tool_calls.iter().flatten().map(|call| (call.name.as_str(), call.arguments.as_str())).collect()
}

/// A configuration that tries again at once.
fn patient(server: &ScriptedServer, model: &str, attempts: u32) -> Llm {
    Llm { num_retries: attempts, retry_min_wait: 0, retry_max_wait: 0, ..server.llm(model) }
}

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables.iter().copied().collect()
}
