//! Tools as agents name them, as models see them and as clients see them (contract: agent §5.1).

use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeStruct};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A tool that an agent asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ToolSpec {
    /// The name in the registry: `terminal`, `file_editor`, …
    pub name: String,
    /// Settings of the tool.
    #[serde(default, deserialize_with = "object_or_null")]
    pub params: Map<String, Value>,
}

impl ToolSpec {
    /// A tool without settings.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), params: Map::new() }
    }
}

fn object_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Hints for a client about what a tool does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ToolAnnotations {
    /// A name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Changes nothing.
    #[serde(rename = "readOnlyHint")]
    pub read_only: bool,
    /// May destroy something.
    #[serde(rename = "destructiveHint")]
    pub destructive: bool,
    /// Twice is the same as once.
    #[serde(rename = "idempotentHint")]
    pub idempotent: bool,
    /// Reaches beyond the workspace.
    #[serde(rename = "openWorldHint")]
    pub open_world: bool,
}

impl Default for ToolAnnotations {
    fn default() -> Self {
        Self { title: None, read_only: false, destructive: true, idempotent: false, open_world: true }
    }
}

/// A tool as a `SystemPromptEvent` lists it. `kind` and the type names are class names of the official packages.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
pub struct ToolDefinition {
    /// What the tool does, for the model.
    pub description: String,
    /// The class of its actions.
    pub action_type: String,
    /// The class of its observations.
    #[serde(default)]
    pub observation_type: Option<String>,
    /// Hints for a client.
    #[serde(default)]
    pub annotations: Option<ToolAnnotations>,
    /// The name of a tool that the client runs.
    #[serde(default)]
    pub client_tool_name: Option<String>,
    /// The arguments of a tool that the client runs.
    #[serde(default)]
    pub input_schema: Option<Map<String, Value>>,
    /// The class of the tool.
    pub kind: String,
    /// The name that the model calls.
    pub title: String,
}

impl Serialize for ToolDefinition {
    /// Where null fields are written, every tool has `annotations` and `meta`, but only client tools have their own two.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("ToolDefinition", 9)?;
        object.serialize_field("description", &self.description)?;
        object.serialize_field("action_type", &self.action_type)?;
        match &self.observation_type {
            Some(class) => object.serialize_field("observation_type", class)?,
            None => object.skip_field("observation_type")?,
        }
        match &self.annotations {
            Some(annotations) => object.serialize_field("annotations", annotations)?,
            None => object.skip_field("annotations")?,
        }
        object.skip_field("meta")?;
        if let Some(name) = &self.client_tool_name {
            object.serialize_field("client_tool_name", name)?;
        }
        if let Some(schema) = &self.input_schema {
            object.serialize_field("input_schema", schema)?;
        }
        object.serialize_field("kind", &self.kind)?;
        object.serialize_field("title", &self.title)?;
        object.end()
    }
}

/// A tool as a model sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolSchema {
    /// The name that the model calls.
    pub name: String,
    /// What the tool does.
    pub description: String,
    /// The JSON Schema of its arguments.
    pub parameters: Map<String, Value>,
}

/// A tool that the client runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClientToolSpec {
    /// The name that the model calls.
    pub name: String,
    /// What the tool does.
    pub description: String,
    /// The JSON Schema of its arguments.
    #[serde(default)]
    pub parameters: Map<String, Value>,
    /// Hints for a client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<ToolAnnotations>,
}
