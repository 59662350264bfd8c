//! The events of a conversation (contract: server §4, agent §3.2).

use indexmap::IndexMap;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::Error as _,
    ser::{Error as _, Impossible, SerializeStruct},
};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    action::Action,
    confirmation::Risk,
    error::ErrorClassification,
    kinds::kinds,
    message::{Message, ReasoningItem, TextContent, ThinkingBlock, ToolCall},
    observation::Observation,
    time::EventTime,
    tool::ToolDefinition,
};

/// The `parent_id` of an event that begins a new tree on purpose.
pub const ROOT: &str = "__root__";

/// Who an event comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The agent.
    Agent,
    /// The user.
    User,
    /// The server.
    Environment,
    /// A hook.
    Hook,
}

/// An event: what happened in a conversation, never changed once it is stored.
///
/// On the wire the body's fields stand beside `id`, `timestamp`, `source` and `parent_id`.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Unique in the conversation.
    pub id: String,
    /// When it happened.
    pub timestamp: EventTime,
    /// Who it comes from.
    pub source: Source,
    /// The event it follows in the tree of branches.
    pub parent_id: Option<String>,
    /// What happened.
    pub body: EventBody,
}

/// The agent's instructions and tools.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SystemPromptEvent {
    /// The part that never changes.
    pub system_prompt: TextContent,
    /// The tools.
    pub tools: Vec<ToolDefinition>,
    /// The part that depends on the conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dynamic_context: Option<TextContent>,
}

/// Somebody said something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MessageEvent {
    /// What was said.
    pub llm_message: Message,
    /// The model's response that it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub llm_response_id: Option<String>,
    /// Skills that the message set off.
    #[serde(default)]
    pub activated_skills: Vec<String>,
    /// Text that the model reads after the message.
    #[serde(default)]
    pub extended_content: Vec<TextContent>,
    /// The agent that sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// What a critic thinks of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critic_result: Option<Value>,
}

impl MessageEvent {
    /// A message without anything around it.
    pub fn new(llm_message: Message) -> Self {
        Self {
            llm_message,
            llm_response_id: None,
            activated_skills: Vec::new(),
            extended_content: Vec::new(),
            sender: None,
            critic_result: None,
        }
    }
}

/// The agent calls a tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ActionEvent {
    /// What the agent thought; only on the first call of a response.
    #[serde(default)]
    pub thought: Vec<TextContent>,
    /// Reasoning that the provider shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// Thinking that must go back to the provider.
    #[serde(default)]
    pub thinking_blocks: Vec<ThinkingBlock>,
    /// A reasoning item that must go back to the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub responses_reasoning_item: Option<ReasoningItem>,
    /// What it does; absent if the call cannot be carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// The tool.
    pub tool_name: String,
    /// The model's id for the call.
    pub tool_call_id: String,
    /// The call as the model wrote it.
    pub tool_call: ToolCall,
    /// The model's response that it comes from.
    pub llm_response_id: String,
    /// How dangerous it is.
    #[serde(default)]
    pub security_risk: Risk,
    /// What a critic thinks of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critic_result: Option<Value>,
    /// What it does, in a few words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
}

/// A tool answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ObservationEvent {
    /// The tool.
    pub tool_name: String,
    /// The model's id for the call.
    pub tool_call_id: String,
    /// The answer.
    pub observation: Observation,
    /// The action's event.
    pub action_id: String,
    /// Text that the model reads after the answer.
    #[serde(default)]
    pub extended_content: Vec<TextContent>,
}

/// A tool call failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentErrorEvent {
    /// The tool.
    pub tool_name: String,
    /// The model's id for the call.
    pub tool_call_id: String,
    /// Why; the model reads it.
    pub error: String,
    /// What kind of failure it is.
    #[serde(default)]
    pub classification: ErrorClassification,
}

/// Who rejected an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RejectionSource {
    /// The user.
    User,
    /// A hook.
    Hook,
}

/// An action may not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserRejectObservation {
    /// The tool.
    pub tool_name: String,
    /// The model's id for the call.
    pub tool_call_id: String,
    /// Why; the model reads it.
    pub rejection_reason: String,
    /// Who said so.
    pub rejection_source: RejectionSource,
    /// The action's event.
    pub action_id: String,
}

/// The run failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConversationErrorEvent {
    /// Which failure it is: an exception class of the official server.
    pub code: String,
    /// Why.
    pub detail: String,
    /// What kind of failure it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classification: Option<ErrorClassification>,
}

/// A field of the state has a new value; the key `full_state` means all of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConversationStateUpdateEvent {
    /// The field.
    pub key: String,
    /// Its value.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub value: Value,
}

/// The user paused the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, Default)]
pub struct PauseEvent {}

/// The user broke the run off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, Default)]
pub struct InterruptEvent {}

/// Part of the history gave way to a summary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Condensation {
    /// Events that the model no longer reads.
    pub forgotten_event_ids: Vec<String>,
    /// What it reads in their place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// Where it reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary_offset: Option<u64>,
    /// The response that wrote the summary.
    pub llm_response_id: String,
}

/// Somebody wants the history shortened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, Default)]
pub struct CondensationRequest {}

/// A summary in its place; never stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CondensationSummaryEvent {
    /// The summary.
    pub summary: String,
}

/// What analyzers think of a batch of actions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SecurityAnalysisEvent {
    /// The analyzer.
    pub analyzer: String,
    /// The policy.
    pub policy: String,
    /// Risks by action.
    #[serde(default)]
    pub risks: IndexMap<String, Risk>,
    /// Reasons by action.
    #[serde(default)]
    pub details: Map<String, Value>,
}

/// Some text of a response that is still being written; never stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StreamingDeltaEvent {
    /// Text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Reasoning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
}

/// What a client sent over this socket was wrong; never stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServerErrorEvent {
    /// Which mistake it is.
    pub code: String,
    /// What to do about it.
    pub detail: String,
}

kinds! {
    /// What happened.
    pub enum EventBody {
        SystemPromptEvent, MessageEvent, ActionEvent, ObservationEvent, AgentErrorEvent, UserRejectObservation,
        ConversationErrorEvent, ConversationStateUpdateEvent, PauseEvent, InterruptEvent, Condensation,
        CondensationRequest, CondensationSummaryEvent, SecurityAnalysisEvent, StreamingDeltaEvent, ServerErrorEvent,
    }
}

impl Event {
    /// The kind of its body.
    pub fn kind(&self) -> &str {
        self.body.kind()
    }

    /// The compact JSON text, without null fields: the form of storage, sockets and event search.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("an event has text keys only")
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.body {
            EventBody::Unknown(fields) => {
                let mut all = Map::new();
                all.insert("id".to_owned(), self.id.clone().into());
                all.insert("timestamp".to_owned(), self.timestamp.to_string().into());
                all.insert("source".to_owned(), serde_json::to_value(self.source).map_err(S::Error::custom)?);
                if let Some(parent) = &self.parent_id {
                    all.insert("parent_id".to_owned(), parent.clone().into());
                }
                all.extend(fields.clone());
                all.serialize(serializer)
            }
            body => body.serialize(WithHeader { event: self, serializer }),
        }
    }
}

/// Opens the struct of the body with the event's own fields, so that both stand in one object.
struct WithHeader<'a, S> {
    event: &'a Event,
    serializer: S,
}

macro_rules! not_a_struct {
    ($($method:ident($($type:ty),*) -> $ok:ty;)*) => {$(
        fn $method(self, $(_: $type),*) -> Result<$ok, S::Error> {
            Err(S::Error::custom("an event's body is a struct"))
        }
    )*};
}

impl<S: Serializer> Serializer for WithHeader<'_, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Impossible<S::Ok, S::Error>;
    type SerializeTuple = Impossible<S::Ok, S::Error>;
    type SerializeTupleStruct = Impossible<S::Ok, S::Error>;
    type SerializeTupleVariant = Impossible<S::Ok, S::Error>;
    type SerializeMap = Impossible<S::Ok, S::Error>;
    type SerializeStruct = S::SerializeStruct;
    type SerializeStructVariant = Impossible<S::Ok, S::Error>;

    fn serialize_struct(self, name: &'static str, len: usize) -> Result<S::SerializeStruct, S::Error> {
        let mut object = self.serializer.serialize_struct(name, len + 4)?;
        object.serialize_field("id", &self.event.id)?;
        object.serialize_field("timestamp", &self.event.timestamp)?;
        object.serialize_field("source", &self.event.source)?;
        match &self.event.parent_id {
            Some(parent) => object.serialize_field("parent_id", parent)?,
            None => object.skip_field("parent_id")?,
        }
        Ok(object)
    }

    not_a_struct! {
        serialize_bool(bool) -> S::Ok;
        serialize_i8(i8) -> S::Ok;
        serialize_i16(i16) -> S::Ok;
        serialize_i32(i32) -> S::Ok;
        serialize_i64(i64) -> S::Ok;
        serialize_u8(u8) -> S::Ok;
        serialize_u16(u16) -> S::Ok;
        serialize_u32(u32) -> S::Ok;
        serialize_u64(u64) -> S::Ok;
        serialize_f32(f32) -> S::Ok;
        serialize_f64(f64) -> S::Ok;
        serialize_char(char) -> S::Ok;
        serialize_str(&str) -> S::Ok;
        serialize_bytes(&[u8]) -> S::Ok;
        serialize_none() -> S::Ok;
        serialize_unit() -> S::Ok;
        serialize_unit_struct(&'static str) -> S::Ok;
        serialize_unit_variant(&'static str, u32, &'static str) -> S::Ok;
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant;
        serialize_map(Option<usize>) -> Self::SerializeMap;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant;
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<S::Ok, S::Error> {
        self.serialize_none()
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, _: &T) -> Result<S::Ok, S::Error> {
        self.serialize_none()
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<S::Ok, S::Error> {
        self.serialize_none()
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = Map::deserialize(deserializer)?;
        let mut take = |name: &'static str| fields.remove(name).ok_or_else(|| D::Error::missing_field(name));
        let id = serde_json::from_value(take("id")?).map_err(D::Error::custom)?;
        let timestamp = serde_json::from_value(take("timestamp")?).map_err(D::Error::custom)?;
        let source = serde_json::from_value(take("source")?).map_err(D::Error::custom)?;
        let parent_id = take("parent_id").ok().map(serde_json::from_value).transpose().map_err(D::Error::custom)?;
        let body = EventBody::from_object(fields).map_err(D::Error::custom)?;
        Ok(Self { id, timestamp, source, parent_id: parent_id.flatten(), body })
    }
}

impl utoipa::PartialSchema for Event {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        #[derive(ToSchema)]
        #[expect(dead_code, reason = "the schema is all that is used")]
        struct Header {
            id: String,
            timestamp: EventTime,
            source: Source,
            parent_id: Option<String>,
        }
        utoipa::openapi::schema::AllOfBuilder::new().item(Header::schema()).item(EventBody::schema()).into()
    }
}

impl ToSchema for Event {
    fn schemas(schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::schema::Schema>)>) {
        schemas.push(("EventTime".to_owned(), <EventTime as utoipa::PartialSchema>::schema()));
        schemas.push(("Source".to_owned(), <Source as utoipa::PartialSchema>::schema()));
        EventBody::schemas(schemas);
    }
}
