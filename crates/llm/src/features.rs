//! What a model can take, by its name and provider (contract: agent §2.4).

use longshore_protocol::Llm;

use crate::{catalog, provider::Provider};

/// What to send to a model and what not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Features {
    /// The reasoning effort.
    pub(crate) effort: bool,
    /// Temperature, top-p and top-k.
    pub(crate) sampling: bool,
    /// Thinking with a budget, and the blocks of earlier thinking.
    pub(crate) thinking: bool,
    /// The conversation's id as the key of the provider's cache.
    pub(crate) cache_key: bool,
    /// Marks up to where the provider is to keep the prompt.
    pub(crate) cache_marks: bool,
    /// Images.
    pub(crate) images: bool,
    /// Content as one text instead of a list of parts.
    pub(crate) text: bool,
    /// The reasoning text of earlier answers.
    pub(crate) reasoning_content: bool,
    /// The signed thinking of earlier answers.
    pub(crate) thinking_blocks: bool,
}

impl Features {
    /// The configuration's own word goes before what names tell.
    pub(crate) fn of(provider: &Provider, llm: &Llm) -> Self {
        let name = llm.model_canonical_name.as_deref().unwrap_or(&llm.model).to_ascii_lowercase();
        let has = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
        let known = catalog::find(&name);
        let said = |key: &str| llm.capability_overrides.get(key).and_then(serde_json::Value::as_bool);
        let is_claude = name.contains("claude");
        let reasons = known.map(catalog::Entry::reasons).or_else(|| name.contains("kimi-k3").then_some(true));
        let images = said("supports_vision").unwrap_or_else(|| known.is_none_or(catalog::Entry::sees));
        Self {
            effort: said("supports_reasoning_effort").unwrap_or_else(|| provider.takes_effort(reasons)),
            sampling: said("supports_sampling").unwrap_or_else(|| !refuses_sampling(&name)),
            thinking: said("supports_extended_thinking").unwrap_or_else(|| provider.is_litellm() && has(&BUDGETED)),
            cache_key: said("supports_prompt_cache_key").unwrap_or_else(|| provider.has_cache_key()),
            cache_marks: llm.caching_prompt && said("supports_prompt_cache").unwrap_or_else(|| has(&MARKED)),
            images: images && llm.disable_vision != Some(true),
            text: (llm.force_string_serializer)
                .or_else(|| said("force_string_serializer"))
                .unwrap_or_else(|| provider.wants_text() || has(&TEXT_ONLY)),
            reasoning_content: said("send_reasoning_content").unwrap_or_else(|| has(&REASONING_BACK)),
            thinking_blocks: is_claude,
        }
    }
}

/// OpenAI's reasoning models answer a temperature with an error.
fn refuses_sampling(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or(name);
    let is_chat = name.contains("-chat");
    !is_chat && ["o1", "o3", "o4", "gpt-5", "gpt-6", "codex-"].iter().any(|start| name.starts_with(start))
}

/// Models that think only when they are given a budget.
const BUDGETED: [&str; 3] = ["claude-sonnet-4-5", "claude-sonnet-4-6", "claude-haiku-4-5"];

/// Models that keep a prompt only up to a mark.
const MARKED: [&str; 13] = [
    "claude-3-7-sonnet",
    "claude-sonnet-3-7-latest",
    "claude-3-5-sonnet",
    "claude-3-5-haiku",
    "claude-3-haiku-20240307",
    "claude-3-opus-20240229",
    "claude-sonnet-4",
    "claude-opus-4",
    "claude-haiku-4-5",
    "claude-haiku-5-5",
    "claude-opus-5",
    "claude-sonnet-5",
    "claude-fable-5",
];

/// Models that do not read lists of parts.
const TEXT_ONLY: [&str; 4] = ["deepseek-v3.2", "glm", "groq/kimi-k2-instruct", "openrouter/minimax"];

/// Models that want their reasoning back.
const REASONING_BACK: [&str; 9] = [
    "kimi-k3",
    "kimi-k2-thinking",
    "kimi-k2.5",
    "kimi-k2.6",
    "openrouter/minimax-m2",
    "deepseek/deepseek-reasoner",
    "deepseek/deepseek-v4-pro",
    "deepseek/deepseek-v4-flash",
    "deepseek/deepseek-v4.1-flash",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{models::Environment, provider::Route};

    fn features(llm: &Llm) -> Features {
        let llm = Llm { base_url: Some("http://host/v1".to_owned()), ..llm.clone() };
        Features::of(Route::of(&llm, &Environment::default()).unwrap().provider, &llm)
    }

    fn named(model: &str) -> Features {
        features(&Llm { model: model.to_owned(), ..Llm::default() })
    }

    #[test]
    fn the_reasoning_effort_goes_to_who_takes_it() {
        for model in
            ["openai/m-hello", "gpt-5", "openrouter/x/y", "hosted_vllm/m", "litellm_proxy/claude-sonnet-4-5", "m"]
        {
            assert!(named(model).effort, "{model}");
        }
        for model in
            ["openai/gpt-4o", "litellm_proxy/m-x", "litellm_proxy/gpt-4.1", "groq/m", "xai/grok-4.5", "digitalocean/m"]
        {
            assert!(!named(model).effort, "{model}");
        }
    }

    #[test]
    fn names_tell_forms() {
        let claude = named("litellm_proxy/claude-sonnet-4-5");
        assert!(claude.cache_marks && claude.thinking && claude.thinking_blocks && claude.images);
        assert!(!named("openrouter/anthropic/claude-sonnet-4").thinking);
        assert!(named("deepseek/deepseek-chat").text && named("openrouter/z-ai/glm-4.6").text);
        assert!(!named("openai/gpt-4o").text);
        assert!(named("openai/gpt-4o").sampling && !named("openai/o3").sampling && !named("gpt-5.6-sol").sampling);
        assert!(named("moonshot/kimi-k2.5").reasoning_content);
        assert!(!named("deepseek/deepseek-chat").images && named("openai/m-hello").images);
    }

    #[test]
    fn the_configuration_has_the_last_word() {
        let overrides =
            json!({"supports_reasoning_effort": false, "supports_vision": false, "supports_prompt_cache": true});
        let llm = Llm {
            model: "openai/m".to_owned(),
            capability_overrides: overrides.as_object().unwrap().clone(),
            force_string_serializer: Some(true),
            ..Llm::default()
        };
        let features = features(&llm);
        assert!(!features.effort && !features.images && features.cache_marks && features.text);
    }

    #[test]
    fn no_marks_without_caching() {
        let llm = Llm { model: "litellm_proxy/claude-opus-5".to_owned(), caching_prompt: false, ..Llm::default() };
        assert!(!features(&llm).cache_marks);
    }
}
