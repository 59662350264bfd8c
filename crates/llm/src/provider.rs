//! Where a model's name leads (contract: agent §2.2).

use longshore_outbound::Url;
use longshore_protocol::{Llm, Secret};

use crate::{Error, ErrorKind, models::Environment};

/// A service that speaks chat completions.
#[derive(Debug)]
pub(crate) struct Provider {
    /// The word before the slash in a model's name.
    pub(crate) name: &'static str,
    /// Where its API is, if it has one address for all.
    address: Option<&'static str>,
    /// Variables of the environment that may hold a key, the first one set wins. The address is looked up beside it:
    /// `X_API_KEY` has `X_API_BASE` and `X_BASE_URL`.
    keys: &'static [&'static str],
    traits: u8,
}

/// Takes a reasoning effort for models that are known to reason.
const EFFORT: u8 = 1 << 5;
/// Takes a reasoning effort also for models that nothing is known about.
const ANY_EFFORT: u8 = 1 | EFFORT;
/// Accepts a key by which it finds its cache.
const CACHE_KEY: u8 = 1 << 1;
/// Calls the limit of an answer `max_tokens`.
const MAX_TOKENS: u8 = 1 << 2;
/// Wants content as one text.
const TEXT: u8 = 1 << 3;
/// Runs on the user's machine: needs no key and costs nothing.
const LOCAL: u8 = 1 << 4;

impl Provider {
    /// Whether to send a reasoning effort for a model of which is known that it reasons, that it does not, or nothing.
    pub(crate) const fn takes_effort(&self, reasons: Option<bool>) -> bool {
        let needed = if reasons.is_some() { EFFORT } else { ANY_EFFORT };
        !matches!(reasons, Some(false)) && self.traits & needed == needed
    }

    /// Whether it takes the conversation's id as the key of its cache.
    pub(crate) const fn has_cache_key(&self) -> bool {
        self.traits & CACHE_KEY != 0
    }

    /// What it calls the limit of an answer.
    pub(crate) const fn limit_field(&self) -> &'static str {
        if self.traits & MAX_TOKENS == 0 { "max_completion_tokens" } else { "max_tokens" }
    }

    /// Whether it wants content as one text.
    pub(crate) const fn wants_text(&self) -> bool {
        self.traits & TEXT != 0
    }

    /// Whether its models run on the user's machine.
    pub(crate) const fn is_local(&self) -> bool {
        self.traits & LOCAL != 0
    }

    /// Whether it is a LiteLLM proxy, which translates for providers with other APIs.
    pub(crate) fn is_litellm(&self) -> bool {
        matches!(self.name, "litellm_proxy" | "openhands")
    }

    /// Whether it is OpenRouter, which has fields of its own.
    pub(crate) fn is_openrouter(&self) -> bool {
        self.name == "openrouter"
    }
}

const fn row(name: &'static str, address: Option<&'static str>, keys: &'static [&'static str], traits: u8) -> Provider {
    Provider { name, address, keys, traits }
}

/// What serves a model whose name has no known provider, at an address that the configuration gives.
static COMPATIBLE: Provider = row("openai-compatible", None, &[], ANY_EFFORT | CACHE_KEY);

static OPENAI: Provider = row("openai", Some("https://api.openai.com/v1"), &["OPENAI_API_KEY"], ANY_EFFORT | CACHE_KEY);

static AZURE: Provider = row("azure", None, &["AZURE_API_KEY", "AZURE_OPENAI_API_KEY"], EFFORT | CACHE_KEY);

/// Providers with their own prefix. Sorted by name.
static PROVIDERS: &[Provider] = &[
    row("cerebras", Some("https://api.cerebras.ai/v1"), &["CEREBRAS_API_KEY"], 0),
    row("cohere", Some("https://api.cohere.ai/compatibility/v1"), &["COHERE_API_KEY", "CO_API_KEY"], MAX_TOKENS),
    row(
        "dashscope",
        Some("https://dashscope-intl.aliyuncs.com/compatible-mode/v1"),
        &["DASHSCOPE_API_KEY"],
        ANY_EFFORT | CACHE_KEY,
    ),
    row("deepinfra", Some("https://api.deepinfra.com/v1/openai"), &["DEEPINFRA_API_KEY"], MAX_TOKENS),
    row("deepseek", Some("https://api.deepseek.com"), &["DEEPSEEK_API_KEY"], MAX_TOKENS | TEXT),
    row("digitalocean", Some("https://inference.do-ai.run/v1"), &["DIGITALOCEAN_API_KEY"], 0),
    row(
        "fireworks_ai",
        Some("https://api.fireworks.ai/inference/v1"),
        &["FIREWORKS_AI_API_KEY", "FIREWORKS_API_KEY"],
        MAX_TOKENS,
    ),
    row("groq", Some("https://api.groq.com/openai/v1"), &["GROQ_API_KEY"], MAX_TOKENS),
    row("hosted_vllm", None, &["HOSTED_VLLM_API_KEY"], ANY_EFFORT | CACHE_KEY | LOCAL),
    row("huggingface", Some("https://router.huggingface.co/v1"), &["HUGGINGFACE_API_KEY", "HF_TOKEN"], MAX_TOKENS),
    row("litellm_proxy", None, &["LITELLM_PROXY_API_KEY"], EFFORT | CACHE_KEY),
    row("lm_studio", Some("http://localhost:1234/v1"), &["LM_STUDIO_API_KEY"], MAX_TOKENS | LOCAL),
    row("minimax", Some("https://api.minimax.io/v1"), &["MINIMAX_API_KEY"], MAX_TOKENS),
    row("mistral", Some("https://api.mistral.ai/v1"), &["MISTRAL_API_KEY"], MAX_TOKENS | TEXT),
    row("moonshot", Some("https://api.moonshot.ai/v1"), &["MOONSHOT_API_KEY"], EFFORT | CACHE_KEY | MAX_TOKENS | TEXT),
    row("nebius", Some("https://api.studio.nebius.ai/v1"), &["NEBIUS_API_KEY"], MAX_TOKENS),
    row("novita", Some("https://api.novita.ai/v3/openai"), &["NOVITA_API_KEY"], MAX_TOKENS),
    row("nvidia_nim", Some("https://integrate.api.nvidia.com/v1"), &["NVIDIA_NIM_API_KEY"], MAX_TOKENS),
    row("ollama", Some("http://localhost:11434/v1"), &["OLLAMA_API_KEY"], MAX_TOKENS | TEXT | LOCAL),
    row("ollama_chat", Some("http://localhost:11434/v1"), &["OLLAMA_API_KEY"], MAX_TOKENS | TEXT | LOCAL),
    row("openhands", Some("https://llm-proxy.app.all-hands.dev"), &["OPENHANDS_API_KEY"], EFFORT | CACHE_KEY),
    row("openrouter", Some("https://openrouter.ai/api/v1"), &["OPENROUTER_API_KEY"], ANY_EFFORT | CACHE_KEY),
    row("perplexity", Some("https://api.perplexity.ai"), &["PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"], MAX_TOKENS),
    row("sambanova", Some("https://api.sambanova.ai/v1"), &["SAMBANOVA_API_KEY"], MAX_TOKENS),
    row(
        "together_ai",
        Some("https://api.together.ai/v1"),
        &["TOGETHERAI_API_KEY", "TOGETHER_AI_API_KEY", "TOGETHER_API_KEY"],
        MAX_TOKENS,
    ),
    row("xai", Some("https://api.x.ai/v1"), &["XAI_API_KEY"], MAX_TOKENS),
    row("zai", Some("https://api.z.ai/api/paas/v4"), &["ZAI_API_KEY"], MAX_TOKENS | TEXT),
];

/// Prefixes of services with a protocol of their own, and where the same models speak chat completions.
const FOREIGN: [(&str, &str); 8] = [
    ("anthropic", "https://api.anthropic.com/v1"),
    ("gemini", "https://generativelanguage.googleapis.com/v1beta/openai"),
    ("bedrock", "a LiteLLM proxy or the OpenAI-compatible address of your AWS region"),
    ("sagemaker", "a LiteLLM proxy"),
    ("vertex_ai", "a LiteLLM proxy or the OpenAI-compatible address of your Google Cloud project"),
    ("watsonx", "a LiteLLM proxy"),
    ("replicate", "a LiteLLM proxy"),
    ("databricks", "the address of your workspace's serving endpoints"),
];

/// Where to send requests for a model.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) provider: &'static Provider,
    /// The model's name as the provider knows it.
    pub(crate) model: String,
    /// The whole address of chat completions.
    pub(crate) address: Url,
    pub(crate) key: Option<Secret>,
    /// Whether the key is one of the operator's environment.
    pub(crate) key_is_operators: bool,
    /// The header that takes the key.
    pub(crate) key_header: KeyHeader,
}

/// How a provider takes its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyHeader {
    /// `Authorization: Bearer`.
    Bearer,
    /// `api-key`, as Azure has it.
    ApiKey,
}

impl Route {
    /// Finds the way for a configuration.
    ///
    /// A key from the environment is the operator's: it goes only to the provider's own address or to one that the
    /// environment names, never to an address that a client chose.
    ///
    /// # Errors
    /// A name that leads nowhere, a bad address, a missing key.
    pub(crate) fn of(llm: &Llm, environment: &Environment) -> Result<Self, Error> {
        let has_address = given(llm.base_url.as_deref()).is_some();
        let (provider, model) = provider_of(llm.model.trim(), has_address)?;
        if model.is_empty() {
            return Err(Error::bad_request(format!("The model name {:?} has nothing after the provider.", llm.model)));
        }
        let own_address = environment.address(provider.keys).or(provider.address);
        let address = match given(llm.base_url.as_deref()).or_else(|| local_address(provider, llm)) {
            Some(address) if !is_openai_itself(provider, address) => base(address, provider)?,
            _ => match own_address {
                Some(address) => base(address, provider)?,
                None => return Err(no_address(provider, &llm.model)),
            },
        };
        let is_own = own_address.is_some_and(|own| base(own, provider).is_ok_and(|own| own == address));
        let key = match &llm.api_key {
            Some(key) => Some(key.clone()),
            None if is_own => environment.key(provider.keys),
            None => None,
        };
        if key.is_none() && is_own && !provider.is_local() {
            return Err(no_key(provider));
        }
        let (address, key_header) = match provider.name {
            "azure" => (azure_address(address, model, llm.api_version.as_deref())?, KeyHeader::ApiKey),
            _ => (extended(address, &["chat", "completions"]), KeyHeader::Bearer),
        };
        let key_is_operators = key.is_some() && llm.api_key.is_none();
        Ok(Self { provider, model: model.to_owned(), address, key, key_is_operators, key_header })
    }
}

fn given(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

fn local_address<'a>(provider: &Provider, llm: &'a Llm) -> Option<&'a str> {
    provider.name.starts_with("ollama").then(|| given(llm.ollama_base_url.as_deref())).flatten()
}

/// The provider of a model's name and the name without it.
fn provider_of(name: &str, has_address: bool) -> Result<(&'static Provider, &str), Error> {
    if let Some((prefix, rest)) = name.split_once('/') {
        let prefix = prefix.to_ascii_lowercase();
        match prefix.as_str() {
            "openai" => return Ok((&OPENAI, rest)),
            "azure" => return Ok((&AZURE, rest)),
            _ => {}
        }
        if let Ok(index) = PROVIDERS.binary_search_by(|provider| provider.name.cmp(&prefix)) {
            return Ok((&PROVIDERS[index], rest));
        }
        if let Some((_, instead)) = FOREIGN.iter().find(|(foreign, _)| *foreign == prefix) {
            return if has_address { Ok((&COMPATIBLE, rest)) } else { Err(foreign(name, &prefix, instead)) };
        }
    } else if is_openai_name(name) {
        return Ok((&OPENAI, name));
    }
    if has_address {
        // Names with slashes are common behind such addresses: `meta-llama/Llama-3.3-70B`.
        return Ok((&COMPATIBLE, name));
    }
    let lowercase = name.to_ascii_lowercase();
    for (start, prefix) in [("claude", "anthropic"), ("gemini", "gemini")] {
        if lowercase.starts_with(start) {
            let instead = FOREIGN.iter().find(|(foreign, _)| *foreign == prefix).map_or("", |(_, instead)| instead);
            return Err(foreign(name, prefix, instead));
        }
    }
    Err(Error::bad_request(format!(
        "The model name {name:?} names no known provider. Put one before it (for example openai/{name}; known are {}), or \
         set base_url to an OpenAI-compatible address.",
        names()
    )))
}

fn names() -> String {
    let names: Vec<_> = PROVIDERS.iter().chain([&OPENAI, &AZURE]).map(|provider| provider.name).collect();
    names.join(", ")
}

fn foreign(name: &str, prefix: &str, instead: &str) -> Error {
    Error::bad_request(format!(
        "The model {name:?} needs the API of {prefix}, which is not supported yet; chat completions are. Set base_url to an \
         OpenAI-compatible address that serves it ({instead}), or reach it as litellm_proxy/… or openrouter/…."
    ))
}

/// Bare names that can only be OpenAI's.
fn is_openai_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let is_o_series = name.strip_prefix('o').is_some_and(|rest| {
        let version = rest.split('-').next().unwrap_or(rest);
        !version.is_empty() && version.len() <= 2 && version.bytes().all(|byte| byte.is_ascii_digit())
    });
    is_o_series || ["gpt-", "chatgpt-", "codex-"].iter().any(|start| name.starts_with(start))
}

/// The official server treats OpenAI's bare host as "no address".
fn is_openai_itself(provider: &Provider, address: &str) -> bool {
    provider.name == "openai" && matches!(address.trim_end_matches('/'), "https://api.openai.com")
}

/// Checks and normalises the address that paths are added to.
fn base(address: &str, provider: &Provider) -> Result<Url, Error> {
    let shown: String = address.chars().take(200).collect();
    let bad = |why: &str| {
        Error::bad_request(format!(
            "base_url {shown:?} cannot be used: {why}. It should look like https://host/v1, without /chat/completions."
        ))
    };
    if address.contains('@') {
        // Never shown: what is before the @ may be a password.
        return Err(Error::bad_request(
            "base_url must not hold a name or password before an @; put the key into api_key or extra_headers.",
        ));
    }
    let mut url = Url::parse(address.trim()).map_err(|error| bad(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("only http and https are possible"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(bad("it names no host"));
    }
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/');
    let path = path.strip_suffix("/chat/completions").unwrap_or(path).to_owned();
    url.set_path(if path.is_empty() && provider.name.starts_with("ollama") { "/v1" } else { &path });
    Ok(url)
}

fn extended(mut url: Url, segments: &[&str]) -> Url {
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

fn azure_address(base: Url, deployment: &str, version: Option<&str>) -> Result<Url, Error> {
    const VERSION: &str = "2024-12-01-preview";
    // Azure's newer addresses are OpenAI's own API.
    if base.path().trim_end_matches('/').ends_with("/openai/v1") {
        return Ok(extended(base, &["chat", "completions"]));
    }
    if deployment.contains('/') {
        return Err(Error::bad_request(format!("{deployment:?} is not the name of an Azure deployment.")));
    }
    let mut url = extended(base, &["openai", "deployments", deployment, "chat", "completions"]);
    url.query_pairs_mut().append_pair("api-version", given(version).unwrap_or(VERSION));
    Ok(url)
}

fn no_address(provider: &Provider, model: &str) -> Error {
    let variable = provider.keys.first().map_or_else(String::new, |key| {
        format!(" (or start the server with {})", key.replace("_API_KEY", "_API_BASE"))
    });
    Error::bad_request(format!("The model {model:?} needs base_url: the address of the service{variable}."))
}

fn no_key(provider: &Provider) -> Error {
    let variable = provider.keys.first().copied().unwrap_or("its key variable");
    Error::new(
        ErrorKind::Authentication,
        format!(
            "There is no API key for {}: set api_key in the LLM settings, or start the server with {variable}.",
            provider.name
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        Environment::from_iter([
            ("OPENAI_API_KEY", "sk-operator"),
            ("LITELLM_PROXY_API_BASE", "http://proxy.internal:4000"),
            ("LITELLM_PROXY_API_KEY", "sk-proxy"),
            ("DEEPSEEK_API_KEY", "sk-deep"),
            ("PATH", "/bin"),
        ])
    }

    fn llm(model: &str, base_url: Option<&str>) -> Llm {
        Llm { model: model.to_owned(), base_url: base_url.map(str::to_owned), ..Llm::default() }
    }

    fn keyed(model: &str, base_url: Option<&str>) -> Llm {
        Llm { api_key: Some(Secret::new("sk-mine")), ..llm(model, base_url) }
    }

    #[track_caller]
    fn check(llm: &Llm, expected: (&str, &str, &str, Option<&str>)) {
        let route = Route::of(llm, &environment()).unwrap_or_else(|error| panic!("{}: {error}", llm.model));
        let key = route.key.as_ref().map(Secret::expose);
        assert_eq!((route.provider.name, route.model.as_str(), route.address.as_str(), key), expected);
    }

    #[track_caller]
    fn check_error(llm: &Llm, kind: ErrorKind, says: &str) {
        let error = Route::of(llm, &environment()).unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.detail.contains(says), "{error}");
    }

    #[test]
    fn the_tables_are_sorted() {
        assert!(PROVIDERS.windows(2).all(|pair| pair[0].name < pair[1].name));
    }

    #[test]
    fn names_lead_to_providers() {
        let openai = "https://api.openai.com/v1/chat/completions";
        check(&llm("gpt-5", None), ("openai", "gpt-5", openai, Some("sk-operator")));
        check(&llm("o3-mini", None), ("openai", "o3-mini", openai, Some("sk-operator")));
        check(&keyed("openai/gpt-4o", Some("https://api.openai.com/")), ("openai", "gpt-4o", openai, Some("sk-mine")));
        check(
            &keyed("openai/m-hello", Some("http://127.0.0.1:8390/v1")),
            ("openai", "m-hello", "http://127.0.0.1:8390/v1/chat/completions", Some("sk-mine")),
        );
        check(
            &llm("litellm_proxy/m", None),
            ("litellm_proxy", "m", "http://proxy.internal:4000/chat/completions", Some("sk-proxy")),
        );
        check(
            &keyed("openhands/claude-sonnet-4-5", None),
            ("openhands", "claude-sonnet-4-5", "https://llm-proxy.app.all-hands.dev/chat/completions", Some("sk-mine")),
        );
        check(
            &keyed("openrouter/anthropic/claude-sonnet-4", None),
            (
                "openrouter",
                "anthropic/claude-sonnet-4",
                "https://openrouter.ai/api/v1/chat/completions",
                Some("sk-mine"),
            ),
        );
        check(
            &llm("deepseek/deepseek-chat", None),
            ("deepseek", "deepseek-chat", "https://api.deepseek.com/chat/completions", Some("sk-deep")),
        );
        check(
            &llm("ollama/llama3", Some("http://10.0.0.5:11434")),
            ("ollama", "llama3", "http://10.0.0.5:11434/v1/chat/completions", None),
        );
        check(
            &llm("meta-llama/Llama-3.3-70B", Some("http://vllm/v1/")),
            ("openai-compatible", "meta-llama/Llama-3.3-70B", "http://vllm/v1/chat/completions", None),
        );
        check(
            &keyed("anthropic/claude-opus-5", Some("https://api.anthropic.com/v1")),
            ("openai-compatible", "claude-opus-5", "https://api.anthropic.com/v1/chat/completions", Some("sk-mine")),
        );
        check(
            &keyed("azure/prod", Some("https://x.openai.azure.com/")),
            (
                "azure",
                "prod",
                "https://x.openai.azure.com/openai/deployments/prod/chat/completions?api-version=2024-12-01-preview",
                Some("sk-mine"),
            ),
        );
    }

    #[test]
    fn the_operators_key_goes_to_no_address_of_a_client() {
        check(
            &llm("openai/gpt-4o", Some("http://evil.example/v1")),
            ("openai", "gpt-4o", "http://evil.example/v1/chat/completions", None),
        );
        check(
            &llm("litellm_proxy/m", Some("http://evil.example")),
            ("litellm_proxy", "m", "http://evil.example/chat/completions", None),
        );
        check(
            &llm("openai/gpt-4o", Some("https://api.openai.com/v1/chat/completions")),
            ("openai", "gpt-4o", "https://api.openai.com/v1/chat/completions", Some("sk-operator")),
        );
    }

    #[test]
    fn what_cannot_work_is_said_at_once() {
        check_error(&llm("anthropic/claude-opus-5", None), ErrorKind::BadRequest, "https://api.anthropic.com/v1");
        check_error(&llm("claude-opus-5", None), ErrorKind::BadRequest, "openrouter/");
        check_error(&llm("bedrock/x", None), ErrorKind::BadRequest, "not supported yet");
        check_error(&llm("mystery", None), ErrorKind::BadRequest, "openai/mystery");
        check_error(&llm("some/mystery", None), ErrorKind::BadRequest, "names no known provider");
        check_error(&llm("openai/", None), ErrorKind::BadRequest, "nothing after the provider");
        check_error(&llm("hosted_vllm/m", None), ErrorKind::BadRequest, "HOSTED_VLLM_API_BASE");
        check_error(&llm("groq/m", None), ErrorKind::Authentication, "GROQ_API_KEY");
        for (address, says) in [
            ("ftp://host/v1", "only http and https"),
            ("127.0.0.1:8000", "cannot be used"),
            ("not an address", "cannot be used"),
            ("https://", "cannot be used"),
        ] {
            check_error(&keyed("openai/m", Some(address)), ErrorKind::BadRequest, says);
        }
        let error = Route::of(&keyed("openai/m", Some("https://me:hunter2@host/v1")), &environment()).unwrap_err();
        assert!(!error.detail.contains("hunter2"), "{error}");
    }
}
