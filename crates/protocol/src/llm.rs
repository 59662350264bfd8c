//! The model configuration that clients send with an agent (contract: agent §2.1).

use indexmap::IndexMap;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::secret::{self, Secret};

/// Which API of the provider to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, Default)]
#[serde(rename_all = "lowercase")]
pub enum ApiMode {
    /// By the model's capabilities.
    #[default]
    Auto,
    /// Chat completions.
    Chat,
    /// Responses.
    Responses,
}

/// A model and how to call it. Fields that are not listed in a request have the official server's defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Llm {
    /// The name, often with the provider before a slash: `openai/gpt-5`.
    #[serde(deserialize_with = "model_name")]
    pub model: String,
    /// The provider's key.
    #[serde(deserialize_with = "secret::optional", skip_serializing_if = "Option::is_none")]
    pub api_key: Option<Secret>,
    /// A saved provider connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_connection_id: Option<String>,
    /// `api_key` or `subscription`.
    pub auth_type: String,
    /// The vendor of a subscription.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_vendor: Option<String>,
    /// Where the API is; the provider's own address if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Azure's API version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// AWS credentials.
    #[serde(deserialize_with = "secret::optional", skip_serializing_if = "Option::is_none")]
    pub aws_access_key_id: Option<Secret>,
    /// AWS credentials.
    #[serde(deserialize_with = "secret::optional", skip_serializing_if = "Option::is_none")]
    pub aws_secret_access_key: Option<Secret>,
    /// AWS credentials.
    #[serde(deserialize_with = "secret::optional", skip_serializing_if = "Option::is_none")]
    pub aws_session_token: Option<Secret>,
    /// AWS region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws_region_name: Option<String>,
    /// AWS profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws_profile_name: Option<String>,
    /// AWS role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws_role_name: Option<String>,
    /// AWS session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws_session_name: Option<String>,
    /// Bedrock endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws_bedrock_runtime_endpoint: Option<String>,
    /// Sent as `HTTP-Referer`.
    pub openrouter_site_url: String,
    /// Sent as `X-Title`.
    pub openrouter_app_name: String,
    /// How many attempts a call gets in all.
    pub num_retries: u32,
    /// Seconds of the first wait between attempts; each further wait is twice as long.
    pub retry_multiplier: f64,
    /// The shortest wait in seconds.
    pub retry_min_wait: u32,
    /// The longest wait in seconds.
    pub retry_max_wait: u32,
    /// Seconds an attempt may take; null for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// Seconds a stream may be silent; `timeout` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_idle_timeout: Option<f64>,
    /// Not used for tool output.
    pub max_message_chars: u64,
    /// Sampling temperature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Nucleus sampling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Top-k sampling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<f64>,
    /// The most tokens to send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_input_tokens: Option<u64>,
    /// The most tokens to receive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
    /// The name by which to look up capabilities and prices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_canonical_name: Option<String>,
    /// Which API to use.
    pub api_mode: ApiMode,
    /// Capabilities that the tables do not know.
    pub capability_overrides: Map<String, Value>,
    /// Headers to add to each request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_headers: Option<IndexMap<String, String>>,
    /// US dollars per token read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_cost_per_token: Option<f64>,
    /// US dollars per token written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_cost_per_token: Option<f64>,
    /// Where Ollama is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ollama_base_url: Option<String>,
    /// Whether to stream tokens.
    pub stream: bool,
    /// Whether to leave out parameters the model does not support.
    pub drop_params: bool,
    /// Whether to send no images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disable_vision: Option<bool>,
    /// Whether to send no stop words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disable_stop_word: Option<bool>,
    /// Whether to mark the prompt for caching.
    pub caching_prompt: bool,
    /// Whether to log completions to the client.
    pub log_completions: bool,
    /// Where the client keeps that log.
    pub log_completions_folder: String,
    /// A tokenizer's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_tokenizer: Option<String>,
    /// Whether the model has tool calls of its own.
    pub native_tool_calling: bool,
    /// Whether to send content as one text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force_string_serializer: Option<bool>,
    /// Whether to send images as data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inline_image_urls: Option<bool>,
    /// How hard the model is to think.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_effort: Option<String>,
    /// How the model is to sum up its reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_summary: Option<String>,
    /// Whether to ask for encrypted reasoning.
    pub enable_encrypted_reasoning: bool,
    /// How long the provider is to cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_cache_retention: Option<String>,
    /// Tokens for extended thinking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extended_thinking_budget: Option<u64>,
    /// A seed for sampling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// Under which name costs are counted.
    pub usage_id: String,
    /// Fields to add to each request's body.
    pub litellm_extra_body: Map<String, Value>,
    /// Whether `auth_type` is `subscription`.
    pub is_subscription: bool,
}

impl Default for Llm {
    fn default() -> Self {
        Self {
            model: "gpt-5.6".to_owned(),
            api_key: None,
            provider_connection_id: None,
            auth_type: "api_key".to_owned(),
            subscription_vendor: None,
            base_url: None,
            api_version: None,
            aws_access_key_id: None,
            aws_secret_access_key: None,
            aws_session_token: None,
            aws_region_name: None,
            aws_profile_name: None,
            aws_role_name: None,
            aws_session_name: None,
            aws_bedrock_runtime_endpoint: None,
            openrouter_site_url: "https://docs.all-hands.dev/".to_owned(),
            openrouter_app_name: "OpenHands".to_owned(),
            num_retries: 5,
            retry_multiplier: 8.0,
            retry_min_wait: 8,
            retry_max_wait: 64,
            timeout: Some(300),
            stream_idle_timeout: Some(300.0),
            max_message_chars: 30_000,
            temperature: None,
            top_p: None,
            top_k: None,
            max_input_tokens: None,
            max_output_tokens: None,
            model_canonical_name: None,
            api_mode: ApiMode::Auto,
            capability_overrides: Map::new(),
            extra_headers: None,
            input_cost_per_token: None,
            output_cost_per_token: None,
            ollama_base_url: None,
            stream: false,
            drop_params: true,
            disable_vision: None,
            disable_stop_word: Some(false),
            caching_prompt: true,
            log_completions: false,
            log_completions_folder: "logs/completions".to_owned(),
            custom_tokenizer: None,
            native_tool_calling: true,
            force_string_serializer: None,
            inline_image_urls: None,
            reasoning_effort: Some("high".to_owned()),
            reasoning_summary: None,
            enable_encrypted_reasoning: true,
            prompt_cache_retention: Some("24h".to_owned()),
            extended_thinking_budget: Some(200_000),
            seed: None,
            usage_id: "default".to_owned(),
            litellm_extra_body: Map::new(),
            is_subscription: false,
        }
    }
}

fn model_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if name.trim().is_empty() {
        return Err(serde::de::Error::custom("model must be specified in LLM"));
    }
    Ok(name)
}
