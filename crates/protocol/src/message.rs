//! Messages between a user, a model and tools (contract: agent §3.1).

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

/// A piece of text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename = "text")]
pub struct TextContent {
    /// Whether a provider with explicit caching is to keep everything up to here.
    #[serde(default)]
    pub cache_prompt: bool,
    /// The text.
    pub text: String,
}

impl TextContent {
    /// Text without a cache mark.
    pub fn new(text: impl Into<String>) -> Self {
        Self { cache_prompt: false, text: text.into() }
    }
}

/// One or more images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename = "image")]
pub struct ImageContent {
    /// Whether a provider with explicit caching is to keep everything up to here.
    #[serde(default)]
    pub cache_prompt: bool,
    /// Addresses, or `data:` URLs.
    pub image_urls: Vec<String>,
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Content {
    /// Text.
    Text(TextContent),
    /// Images.
    Image(ImageContent),
}

impl Content {
    /// Text without a cache mark.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(TextContent::new(text))
    }

    /// The text, if this is text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(content) => Some(&content.text),
            Self::Image(_) => None,
        }
    }
}

impl<'de> Deserialize<'de> for Content {
    /// Reads a part by its `type`; without one, by the field that it has.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Part {
            r#type: Option<String>,
            #[serde(default)]
            cache_prompt: bool,
            text: Option<String>,
            image_urls: Option<Vec<String>>,
        }
        let Part { r#type, cache_prompt, text, image_urls } = Part::deserialize(deserializer)?;
        match (r#type.as_deref(), text, image_urls) {
            (Some("text") | None, Some(text), _) => Ok(Self::Text(TextContent { cache_prompt, text })),
            (Some("image") | None, _, Some(image_urls)) => Ok(Self::Image(ImageContent { cache_prompt, image_urls })),
            (Some("text"), None, _) => Err(serde::de::Error::missing_field("text")),
            (Some("image"), _, None) => Err(serde::de::Error::missing_field("image_urls")),
            (Some(other), ..) => Err(serde::de::Error::unknown_variant(other, &["text", "image"])),
            (None, None, None) => Err(serde::de::Error::missing_field("type")),
        }
    }
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, Default)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A person, or the environment on behalf of one.
    #[default]
    User,
    /// Instructions.
    System,
    /// The model.
    Assistant,
    /// The result of a tool call.
    Tool,
}

/// A call that the model asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ToolCall {
    /// The model's id for the call.
    pub id: String,
    /// The item's id in the Responses API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub responses_item_id: Option<String>,
    /// The tool's name.
    pub name: String,
    /// The arguments, as JSON text.
    pub arguments: String,
    /// The API the call came through.
    #[serde(default)]
    pub origin: CallOrigin,
}

/// The model API that a call came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, Default)]
#[serde(rename_all = "lowercase")]
pub enum CallOrigin {
    /// Chat completions.
    #[default]
    Completion,
    /// Responses.
    Responses,
}

/// A provider's thinking, which must go back to it unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ThinkingBlock {
    /// Readable thinking with the provider's signature.
    Thinking {
        /// The text.
        thinking: String,
        /// The provider's proof that it wrote the text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<String>,
    },
    /// Thinking that only the provider can read.
    RedactedThinking {
        /// The encrypted text.
        data: String,
    },
}

/// A reasoning item of the Responses API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReasoningItem {
    /// The provider's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Summaries.
    #[serde(default)]
    pub summary: Vec<String>,
    /// The reasoning, if the provider shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Vec<String>>,
    /// The reasoning, for the provider only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypted_content: Option<String>,
    /// The provider's status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

/// A message to or from a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, Default)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    #[serde(default, deserialize_with = "contents")]
    pub content: Vec<Content>,
    /// Calls that the model asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<ToolCall>>,
    /// The call that a tool message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// The tool that a tool message comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Reasoning that the provider shows as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// Thinking that must go back to the provider.
    #[serde(default)]
    pub thinking_blocks: Vec<ThinkingBlock>,
    /// A reasoning item that must go back to the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub responses_reasoning_item: Option<ReasoningItem>,
}

impl Message {
    /// A message of parts.
    pub fn new(role: Role, content: Vec<Content>) -> Self {
        Self { role, content, ..Self::default() }
    }

    /// The text parts, a line break between two.
    pub fn text(&self) -> String {
        self.content.iter().filter_map(Content::as_text).collect::<Vec<_>>().join("\n")
    }
}

/// Reads the content of a message: a list of parts, one text, or null.
fn contents<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Content>, D::Error> {
    use serde_json::Value;
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(Vec::new()),
        Value::String(text) => Ok(vec![Content::text(text)]),
        other => Vec::deserialize(other).map_err(serde::de::Error::custom),
    }
}
