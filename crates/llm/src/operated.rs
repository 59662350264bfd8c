//! Models of the operator: users name them `longshore/NAME`, and see neither keys nor addresses.

use std::sync::Arc;

use async_trait::async_trait;
use longshore_protocol::{Llm, Secret};
use tokio::sync::mpsc;

use crate::{Delta, Error, Estimate, Model, Request, Response, mask::Mask, models::Environment, provider::Route};

/// How the names of the operator's models begin.
pub(crate) const PREFIX: &str = "longshore/";

/// A model that the operator gives to all users.
#[derive(Debug, Clone)]
pub struct OperatedModel {
    /// Its name, without `longshore/`.
    pub name: String,
    /// How to call it, with the key. What is set here holds; users may set how it is sampled, how long it may take, and a
    /// limit of what it writes that is lower.
    pub llm: Llm,
    /// Whether it is used where nobody names a model.
    pub is_default: bool,
}

/// What users may know of a model of the operator.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelCard {
    /// What users write as `model`: `longshore/NAME`.
    pub name: String,
    /// What it is.
    pub model: String,
    /// US dollars for a token read; nothing if nobody knows.
    pub input_cost_per_token: Option<f64>,
    /// US dollars for a token written; nothing if nobody knows.
    pub output_cost_per_token: Option<f64>,
    /// Tokens of an answer at most, if there is a limit.
    pub max_output_tokens: Option<u64>,
    /// Whether it is used where nobody names a model.
    pub is_default: bool,
}

impl OperatedModel {
    /// The name that users write.
    pub(crate) fn full_name(&self) -> String {
        format!("{PREFIX}{}", self.name)
    }

    /// How to call it for a user. Nothing of a user's configuration decides where the request goes, with which key, or what
    /// it is taken to cost.
    pub(crate) fn configured(&self, user: &Llm) -> Llm {
        let own = self.llm.clone();
        Llm {
            usage_id: user.usage_id.clone(),
            stream: user.stream,
            num_retries: user.num_retries,
            retry_multiplier: user.retry_multiplier,
            retry_min_wait: user.retry_min_wait,
            retry_max_wait: user.retry_max_wait,
            timeout: user.timeout,
            stream_idle_timeout: user.stream_idle_timeout,
            native_tool_calling: user.native_tool_calling,
            temperature: own.temperature.or(user.temperature),
            top_p: own.top_p.or(user.top_p),
            top_k: own.top_k.or(user.top_k),
            seed: own.seed.or(user.seed),
            reasoning_effort: own.reasoning_effort.or_else(|| user.reasoning_effort.clone()),
            max_output_tokens: [own.max_output_tokens, user.max_output_tokens].into_iter().flatten().min(),
            ..own
        }
    }
}

/// A model of the operator as a user meets it.
#[derive(Debug)]
pub(crate) struct Operated {
    model: Arc<dyn Model>,
    /// The name that users know.
    name: String,
    /// What errors must not tell.
    addresses: Vec<String>,
    mask: Mask,
}

impl Operated {
    pub(crate) fn new(name: String, model: Arc<dyn Model>, llm: &Llm, environment: &Environment) -> Self {
        let route = Route::of(llm, environment).ok();
        let mut addresses: Vec<_> = llm.base_url.iter().cloned().collect();
        if let Some(address) = route.as_ref().map(|route| &route.address) {
            addresses.push(address.to_string());
            addresses.extend(address.host_str().map(|host| match address.port() {
                Some(port) => format!("{host}:{port}"),
                None => host.to_owned(),
            }));
            addresses.extend(address.host_str().map(str::to_owned));
        }
        // An address that contains another goes first, or its rest would stay.
        addresses.sort_unstable_by_key(|address| std::cmp::Reverse(address.len()));
        let headers = llm.extra_headers.iter().flatten().map(|(_, value)| value.as_str());
        let key = route.as_ref().and_then(|route| route.key.as_ref()).or(llm.api_key.as_ref());
        let mask = Mask::new(key.map(Secret::expose).into_iter().chain(headers));
        Self { model, name, addresses, mask }
    }

    fn without_secrets(&self, mut error: Error) -> Error {
        let hidden = self.mask.hide(&error.detail).into_owned();
        error.detail = self.addresses.iter().fold(hidden, |detail, address| detail.replace(address, &self.name));
        error
    }
}

#[async_trait]
impl Model for Operated {
    async fn complete(&self, request: &Request, deltas: Option<mpsc::Sender<Delta>>) -> Result<Response, Error> {
        let answer = self.model.complete(request, deltas).await;
        let mut response = answer.map_err(|error| self.without_secrets(error))?;
        response.call.usage.model.clone_from(&self.name);
        Ok(response)
    }

    fn estimate(&self, request: &Request) -> Estimate {
        self.model.estimate(request)
    }
}
