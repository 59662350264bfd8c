//! Models behind an OpenAI-compatible API: one request, its answer, and another attempt if that may help.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use longshore_outbound::{
    Client, ErrorKind as Failure, Method, Request as HttpRequest, Response as HttpResponse, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
};
use longshore_protocol::{
    Llm, Secret,
    metrics::{Call, TokenUsage},
    secret::is_secret_name,
};
use serde_json::Value;
use tokio::{sync::mpsc, time::Instant};

use crate::{
    Delta, Error, ErrorKind, Model, Request, Response,
    answer::{Answer, Complete},
    body::Body,
    catalog,
    estimate::{Estimate, USUAL_OUTPUT},
    failure::Refusal,
    mask::Mask,
    models::Environment,
    price::PriceList,
    provider::{KeyHeader, Route},
    retry::{Policy, Retries, retry_after},
    sse,
};

/// The most bytes of an answer.
const ANSWER_LIMIT: usize = 64 * 1024 * 1024;

/// How long an answer may take if the configuration sets no limit.
const LONGEST_ANSWER: Duration = Duration::from_hours(24);

/// The most bytes of a refusal that are read.
const REFUSAL_LIMIT: usize = 64 * 1024;

/// Under this name LiteLLM groups the calls of a conversation.
const SESSION_HEADER: HeaderName = HeaderName::from_static("x-litellm-session-id");

/// What a LiteLLM proxy charges for a call.
const COST_HEADER: &str = "x-litellm-response-cost";

/// A model behind an OpenAI-compatible API.
pub(crate) struct ChatModel {
    http: Client,
    address: Url,
    /// The host and port, for messages.
    host: String,
    headers: HeaderMap,
    body: Body,
    streams: bool,
    policy: Policy,
    attempt_limit: Option<Duration>,
    silence_limit: Option<Duration>,
    prices: PriceList,
    /// The name under which calls are counted: the configured one, provider included.
    model: String,
    usage_id: String,
    context_window: u64,
    mask: Mask,
    /// Makes headers of each request when it leaves.
    trace: Option<fn() -> HeaderMap>,
}

impl fmt::Debug for ChatModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatModel").field("model", &self.model).field("host", &self.host).finish_non_exhaustive()
    }
}

/// An answer with what only its attempt knows.
struct Answered {
    complete: Complete,
    /// What the proxy charges.
    charge: Option<f64>,
    latency: Duration,
}

impl ChatModel {
    /// Prepares everything that is the same in all requests. Unless `trusts_prices`, calls with the operator's key cost what
    /// the table says, whatever the configuration does.
    pub(crate) fn new(llm: &Llm, http: Client, environment: &Environment, trusts_prices: bool) -> Result<Self, Error> {
        let route = Route::of(llm, environment)?;
        let body = Body::new(llm, route.provider, &route.model);
        let known = catalog::find(llm.model_canonical_name.as_deref().unwrap_or(&llm.model));
        let is_free =
            route.provider.is_local() && llm.input_cost_per_token.is_none() && llm.output_cost_per_token.is_none();
        Ok(Self {
            http,
            host: shown_host(&route.address),
            headers: headers(llm, &route, &body)?,
            body,
            streams: llm.stream,
            policy: Policy::of(llm),
            // Zero is no sensible limit; both null and zero mean none.
            attempt_limit: llm.timeout.filter(|seconds| *seconds > 0).map(Duration::from_secs),
            silence_limit: (llm.stream_idle_timeout)
                .filter(|seconds| *seconds > 0.0)
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            prices: match () {
                () if route.key_is_operators && !trusts_prices => PriceList::listed(&llm.model),
                () if is_free => PriceList::free(),
                () => PriceList::of(llm),
            },
            model: llm.model.clone(),
            usage_id: llm.usage_id.clone(),
            context_window: llm.max_input_tokens.or(known.map(|entry| entry.context_window)).unwrap_or(0),
            mask: Mask::new(secrets(llm, &route)),
            trace: None,
            address: route.address,
        })
    }

    /// Has each request carry the headers that `trace` makes when it leaves.
    pub(crate) fn traced(self, trace: Option<fn() -> HeaderMap>) -> Self {
        Self { trace, ..self }
    }

    /// Makes one attempt within its time.
    async fn attempt(
        &self,
        request: &Request,
        body: Bytes,
        deltas: Option<&mpsc::Sender<Delta>>,
    ) -> Result<Answered, Error> {
        let work = self.exchange(request, body, deltas);
        match self.attempt_limit {
            None => work.await,
            Some(limit) => tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
                Err(Error::new(
                    ErrorKind::Timeout,
                    format!("{} did not answer within {} s (the LLM's timeout).", self.host, limit.as_secs()),
                ))
            }),
        }
    }

    async fn exchange(
        &self,
        request: &Request,
        body: Bytes,
        deltas: Option<&mpsc::Sender<Delta>>,
    ) -> Result<Answered, Error> {
        let start = Instant::now();
        let mut headers = self.headers.clone();
        if let Ok(id) = HeaderValue::from_str(&request.conversation.to_string()) {
            headers.entry(SESSION_HEADER).or_insert(id);
        }
        headers.extend(self.trace.map(|trace| trace()).unwrap_or_default());
        let mut question = HttpRequest::new(Method::POST, self.address.clone());
        *question.headers_mut() = headers;
        *question.body_mut() = Some(body.into());
        *question.timeout_mut() = Some(LONGEST_ANSWER);
        let response = self.http.execute(question).await.map_err(|error| self.broken(error))?;
        if !response.status().is_success() {
            return Err(self.refused(response).await);
        }
        let charge = charge(response.headers());
        // What was asked for decides less than what came: some servers cannot stream, and some always do.
        let complete = match content_type(&response).as_str() {
            "text/event-stream" => self.read_stream(response, deltas).await?,
            found => {
                let is_json = found.is_empty() || found.ends_with("json") || found == "text/plain";
                self.read_whole(response, deltas, is_json).await?
            }
        };
        Ok(Answered { complete, charge, latency: start.elapsed() })
    }

    async fn read_whole(
        &self,
        mut response: HttpResponse,
        deltas: Option<&mpsc::Sender<Delta>>,
        is_json: bool,
    ) -> Result<Complete, Error> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(error))? {
            if bytes.len() + chunk.len() > ANSWER_LIMIT {
                return Err(self.too_long());
            }
            bytes.extend_from_slice(&chunk);
        }
        let value: Value = match serde_json::from_slice(&bytes) {
            Ok(value) => value,
            Err(_) if !is_json => return Err(self.no_api()),
            Err(error) => return Err(self.unreadable(&error)),
        };
        self.check(&value)?;
        if value.get("choices").is_none() {
            return Err(self.no_api());
        }
        let mut answer = Answer::default();
        for delta in answer.add(&value) {
            hand_on(deltas, delta).await;
        }
        answer.complete()
    }

    async fn read_stream(
        &self,
        mut response: HttpResponse,
        deltas: Option<&mpsc::Sender<Delta>>,
    ) -> Result<Complete, Error> {
        let mut decoder = sse::Decoder::default();
        let mut answer = Answer::default();
        let mut read = 0;
        let mut events = Vec::new();
        let mut last_event = Instant::now();
        while let Some(chunk) = self.within_silence(last_event, response.chunk()).await? {
            read += chunk.len();
            if read > ANSWER_LIMIT {
                return Err(self.too_long());
            }
            decoder.feed(&chunk, |event| events.push(event)).map_err(|sse::TooLong| self.too_long())?;
            for event in events.drain(..) {
                // Comments that keep the connection open are no sign of life of the model.
                last_event = Instant::now();
                if event == b"[DONE]" {
                    return answer.complete();
                }
                let value: Value = serde_json::from_slice(&event).map_err(|error| self.unreadable(&error))?;
                self.check(&value)?;
                for delta in answer.add(&value) {
                    hand_on(deltas, delta).await;
                }
            }
        }
        if answer.is_finished() {
            return answer.complete();
        }
        Err(Error::new(ErrorKind::Unavailable, format!("{} ended its stream in the middle of the answer.", self.host)))
    }

    async fn within_silence<E: Into<longshore_outbound::Error>>(
        &self,
        since: Instant,
        next: impl Future<Output = Result<Option<Bytes>, E>>,
    ) -> Result<Option<Bytes>, Error> {
        let chunk = match self.silence_limit {
            None => next.await,
            Some(limit) => {
                let silent = || {
                    let detail = format!(
                        "{} sent nothing for {} s (the LLM's stream_idle_timeout).",
                        self.host,
                        limit.as_secs_f64()
                    );
                    Error::new(ErrorKind::Timeout, detail)
                };
                // Adding an absurd limit overflows; then there is none.
                match since.checked_add(limit) {
                    None => next.await,
                    Some(end) => tokio::time::timeout_at(end, next).await.map_err(|_| silent())?,
                }
            }
        };
        chunk.map_err(|error| self.broken(error))
    }

    /// An error that stands in an answer with a good status.
    fn check(&self, value: &Value) -> Result<(), Error> {
        let places = [&value["error"], &value["choices"][0]["error"]];
        let Some(error) = places.into_iter().find(|error| !error.is_null()) else { return Ok(()) };
        let body = serde_json::json!({ "error": error }).to_string();
        Err(Refusal { status: None, body: &body, retry_after: None }.meaning(&self.host, &self.mask))
    }

    async fn refused(&self, mut response: HttpResponse) -> Error {
        let status = response.status();
        let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = header.and_then(|header| retry_after(header, Timestamp::now()));
        let mut body = Vec::new();
        // A refusal that breaks off is still a refusal.
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk[..chunk.len().min(REFUSAL_LIMIT - body.len())]);
            if body.len() == REFUSAL_LIMIT {
                break;
            }
        }
        let body = String::from_utf8_lossy(&body);
        Refusal { status: Some(status), body: &body, retry_after }.meaning(&self.host, &self.mask)
    }

    fn broken(&self, error: impl Into<longshore_outbound::Error>) -> Error {
        let error = error.into();
        let kind = match error.kind() {
            Failure::Timeout => ErrorKind::Timeout,
            // Asking again does not help.
            Failure::Refused | Failure::Invalid | Failure::TooManyRedirects => ErrorKind::BadRequest,
            _ => ErrorKind::Unavailable,
        };
        Error::new(kind, format!("{}.", self.mask.hide(&error.to_string())))
    }

    fn unreadable(&self, error: &serde_json::Error) -> Error {
        Error::new(ErrorKind::Unavailable, format!("{} sent an answer that is not JSON: {error}.", self.host))
    }

    fn no_api(&self) -> Error {
        Error::bad_request(format!(
            "{} answered, but not with a chat completion. Check base_url: it should be the address of an OpenAI-compatible \
             API, which mostly ends in /v1.",
            self.host
        ))
    }

    fn too_long(&self) -> Error {
        let detail = format!("{} sent an answer of more than {} MiB.", self.host, ANSWER_LIMIT >> 20);
        Error::bad_request(detail)
    }

    fn response(&self, answered: Answered) -> Response {
        let Answered { complete: Complete { id, message, usage, cost }, charge, latency } = answered;
        let cost = charge.or(cost).unwrap_or_else(|| self.prices.cost(&usage));
        let usage = TokenUsage {
            model: self.model.clone(),
            context_window: self.context_window,
            response_id: id.clone(),
            ..usage
        };
        let call = call(&self.usage_id, usage, cost, latency);
        Response { id, message, call }
    }
}

#[async_trait]
impl Model for ChatModel {
    async fn complete(&self, request: &Request, deltas: Option<mpsc::Sender<Delta>>) -> Result<Response, Error> {
        let deltas = deltas.filter(|_| self.streams);
        let mut temperature = self.body.temperature();
        let write = |temperature| {
            let body = self.body.write(request, deltas.is_some(), temperature);
            body.map(Bytes::from)
                .map_err(|error| Error::bad_request(format!("The request cannot be written: {error}.")))
        };
        let mut body = write(temperature)?;
        let mut retries = Retries::new(self.policy);
        loop {
            let error = match self.attempt(request, body.clone(), deltas.as_ref()).await {
                Ok(answered) => return Ok(self.response(answered)),
                Err(error) => error,
            };
            // The same question at temperature 0 would get the same silence.
            if error.kind == ErrorKind::NoResponse && temperature == Some(0.0) {
                temperature = Some(1.0);
                body = write(temperature)?;
            }
            let may_be_billed = error.may_be_billed();
            retries.after(error).await?;
            request.again(may_be_billed).await?;
        }
    }

    fn estimate(&self, request: &Request) -> Estimate {
        Estimate::new(request, self.body.output_limit(request).unwrap_or(USUAL_OUTPUT), &self.prices)
    }
}

/// A finished call.
pub(crate) fn call(usage_id: &str, usage: TokenUsage, cost: f64, latency: Duration) -> Call {
    Call {
        usage_id: usage_id.to_owned(),
        usage,
        cost,
        latency: latency.as_secs_f64(),
        timestamp: Timestamp::now().as_duration().as_secs_f64(),
    }
}

/// Gives text to whoever listens. A listener that left is no reason to stop.
pub(crate) async fn hand_on(deltas: Option<&mpsc::Sender<Delta>>, delta: Delta) {
    if let Some(deltas) = deltas {
        let _ = deltas.send(delta).await;
    }
}

fn shown_host(address: &Url) -> String {
    let host = address.host_str().unwrap_or("the model's address");
    address.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn content_type(response: &HttpResponse) -> String {
    let header = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    header.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// What a proxy charges. A proxy that streams does not know yet and may say nothing or zero, so zero counts as nothing said.
fn charge(headers: &HeaderMap) -> Option<f64> {
    let charge: f64 = headers.get(COST_HEADER)?.to_str().ok()?.trim().parse().ok()?;
    (charge.is_finite() && charge > 0.0).then_some(charge)
}

/// Headers that are the same in all requests; those of the configuration win.
fn headers(llm: &Llm, route: &Route, body: &Body) -> Result<HeaderMap, Error> {
    /// What the HTTP client alone decides.
    const RESERVED: [&str; 5] = ["connection", "content-length", "host", "te", "transfer-encoding"];
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    if let Some(key) = &route.key {
        let (name, text) = match route.key_header {
            KeyHeader::Bearer => (AUTHORIZATION, format!("Bearer {}", key.expose().trim())),
            KeyHeader::ApiKey => (HeaderName::from_static("api-key"), key.expose().trim().to_owned()),
        };
        headers.insert(name, header_value("api_key", &text, true)?);
    }
    headers.insert("http-referer", header_value("openrouter_site_url", &llm.openrouter_site_url, false)?);
    headers.insert("x-title", header_value("openrouter_app_name", &llm.openrouter_app_name, false)?);
    if body.thinks() {
        headers.insert("anthropic-beta", HeaderValue::from_static("interleaved-thinking-2025-05-14"));
    }
    for (name, value) in llm.extra_headers.iter().flatten() {
        let bad = |why: &str| Error::bad_request(format!("extra_headers has {name:?}, which {why}."));
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad("is no name of a header"))?;
        if RESERVED.contains(&header.as_str()) {
            return Err(bad("cannot be set"));
        }
        headers.insert(header, header_value(&format!("extra_headers {name:?}"), value, is_secret_name(name))?);
    }
    Ok(headers)
}

fn header_value(field: &str, text: &str, is_secret: bool) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_bytes(text.as_bytes())
        .map_err(|_| Error::bad_request(format!("{field} holds a character that cannot be sent in a header.")))?;
    value.set_sensitive(is_secret);
    Ok(value)
}

/// Texts that must not reach a message.
fn secrets<'a>(llm: &'a Llm, route: &'a Route) -> impl Iterator<Item = &'a str> {
    let headers = llm.extra_headers.iter().flatten();
    let headers =
        headers.filter(|(name, _)| is_secret_name(name)).map(|(_, value)| value.trim_start_matches("Bearer "));
    route.key.iter().map(Secret::expose).chain(headers)
}
