//! A provider of chat completions that plays scripts.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    fmt, io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, Method, StatusCode, Uri, header::CONTENT_TYPE},
    response::Response,
};
use futures::stream;
use longshore_protocol::{Llm, Secret};
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};

use crate::{
    reply::{Content, Interruption, Message, Reply, say},
    wire::{self, Ids},
};

/// How long a test waits for something before it fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A provider of chat completions on a free loopback port.
///
/// Each model has its own script; an answer is taken from it for each request. A request beyond the script is refused with
/// status 400, which no client repeats, and says so. The server has a thread and a clock of its own, so a test may stop
/// tokio's clock. It stops when it is dropped, and all connections with it.
pub struct ScriptedServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct RecordedRequest {
    /// The path.
    pub path: String,
    /// The query, or nothing.
    pub query: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; null if it is no JSON.
    pub body: Value,
    /// The bytes of the body.
    pub bytes: Bytes,
}

impl RecordedRequest {
    /// The text of a header; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The model that is asked.
    pub fn model(&self) -> &str {
        self.body["model"].as_str().unwrap_or_default()
    }
}

type Responder = Arc<dyn Fn(&RecordedRequest) -> Reply + Send + Sync>;

struct Shared {
    state: Mutex<Seen>,
    changed: Condvar,
    /// How often hanging answers were released.
    released: watch::Sender<u64>,
}

#[derive(Default)]
struct Seen {
    scripts: HashMap<String, VecDeque<Reply>>,
    responders: HashMap<String, Responder>,
    without_tools: Option<String>,
    requests: Vec<RecordedRequest>,
    answers: usize,
    calls: usize,
    hanging: usize,
    hang_ups: usize,
}

impl fmt::Debug for ScriptedServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedServer").field("address", &self.address).finish_non_exhaustive()
    }
}

impl ScriptedServer {
    /// Starts a server with no scripts.
    ///
    /// # Panics
    /// If there is no loopback port or no thread to be had.
    pub fn start() -> Self {
        let (listener, address) = listen().expect("a loopback port for the scripted server");
        let shared =
            Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), released: watch::Sender::new(0) });
        let (stop, stopped) = oneshot::channel();
        let app = Router::new().fallback(answer).layer(DefaultBodyLimit::disable()).with_state(Arc::clone(&shared));
        let thread = std::thread::Builder::new().name("scripted-server".to_owned());
        let thread = thread.spawn(move || serve(listener, app, stopped)).expect("a thread for the scripted server");
        Self { address, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// The address of the API, to be used as `base_url`.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// A configuration that leads a client here: one attempt and the key `sk-test-key-0123456789`.
    pub fn llm(&self, model: &str) -> Llm {
        Llm {
            model: format!("openai/{model}"),
            base_url: Some(self.url()),
            api_key: Some(Secret::new("sk-test-key-0123456789")),
            num_retries: 0,
            ..Llm::default()
        }
    }

    /// Adds answers to a model's script.
    pub fn script(&self, model: &str, replies: impl IntoIterator<Item = Reply>) {
        self.state().scripts.entry(model.to_owned()).or_default().extend(replies);
    }

    /// Answers what a model is asked beyond its script.
    pub fn respond(&self, model: &str, responder: impl Fn(&RecordedRequest) -> Reply + Send + Sync + 'static) {
        self.state().responders.insert(model.to_owned(), Arc::new(responder));
    }

    /// Answers every request without tools with this text and takes nothing from a script for it: such requests are made
    /// beside the agent, for titles and summaries, at times that a test cannot foresee.
    pub fn answer_without_tools(&self, text: impl Into<String>) {
        self.state().without_tools = Some(text.into());
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.state().requests.clone()
    }

    /// How many answers of all scripts have not been asked for.
    pub fn unplayed(&self) -> usize {
        self.state().scripts.values().map(VecDeque::len).sum()
    }

    /// Waits until at least `count` requests have come, and gives all.
    ///
    /// # Panics
    /// If they do not come within half a minute.
    pub async fn wait_for_requests(&self, count: usize) -> Vec<RecordedRequest> {
        self.wait(format!("{count} requests"), move |seen| seen.requests.len() >= count).await;
        self.requests()
    }

    /// Waits until at least `count` answers hang.
    ///
    /// # Panics
    /// If they do not within half a minute.
    pub async fn wait_for_hanging(&self, count: usize) {
        self.wait(format!("{count} hanging answers"), move |seen| seen.hanging >= count).await;
    }

    /// Waits until clients have hung up on at least `count` hanging answers.
    ///
    /// # Panics
    /// If they do not within half a minute.
    pub async fn wait_for_hang_ups(&self, count: usize) {
        self.wait(format!("{count} hang-ups"), move |seen| seen.hang_ups >= count).await;
    }

    /// Lets all answers that hang now go on. Those that begin to hang later wait for the next release, so wait for them
    /// with [`Self::wait_for_hanging`] first.
    pub fn release(&self) {
        self.shared.released.send_modify(|times| *times += 1);
    }

    fn state(&self) -> MutexGuard<'_, Seen> {
        self.shared.state()
    }

    /// Waits on a thread for blocking work, which also keeps a stopped clock of tokio from running ahead.
    async fn wait(&self, what: String, is_there: impl Fn(&Seen) -> bool + Send + 'static) {
        let shared = Arc::clone(&self.shared);
        let waited = tokio::task::spawn_blocking(move || {
            let deadline = Instant::now() + PATIENCE;
            let mut state = shared.state();
            while !is_there(&state) {
                let left = deadline.saturating_duration_since(Instant::now());
                assert!(
                    !left.is_zero(),
                    "the scripted server waited in vain for {what}; it has seen {}",
                    state.summary()
                );
                state = shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
        });
        if let Err(error) = waited.await {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, Seen> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> T {
        let result = change(&mut self.state());
        self.changed.notify_all();
        result
    }
}

impl Seen {
    fn summary(&self) -> String {
        let models: Vec<_> = self.requests.iter().map(RecordedRequest::model).collect();
        format!("requests for {models:?}, {} hanging answers and {} hang-ups", self.hanging, self.hang_ups)
    }

    /// What to answer a request.
    fn reply(&mut self, request: &RecordedRequest) -> Reply {
        if let Some(text) = &self.without_tools
            && request.body.get("tools").is_none()
        {
            return say(text);
        }
        let model = request.model();
        if let Some(reply) = self.scripts.get_mut(model).and_then(VecDeque::pop_front) {
            return reply;
        }
        match self.responders.get(model) {
            Some(respond) => respond(request),
            None => refusal(&format!("the script of {model:?} has no answer left")),
        }
    }

    fn ids(&mut self, message: &Message) -> Ids {
        let ids = Ids { answer: self.answers, first_call: self.calls };
        self.answers += 1;
        self.calls += message.calls.len();
        ids
    }
}

fn refusal(message: &str) -> Reply {
    crate::status(400, json!({"error": {"message": message, "type": "invalid_request_error", "code": null}}))
}

fn listen() -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn serve(listener: TcpListener, app: Router, stopped: oneshot::Receiver<Infallible>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).expect("the scripted server's port");
        tokio::select! {
            _ = stopped => {}
            result = axum::serve(listener, app) => result.expect("the scripted server"),
        }
    });
    // Answers that hang do not end by themselves.
    runtime.shutdown_background();
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    let request = RecordedRequest {
        path: uri.path().to_owned(),
        query: uri.query().unwrap_or_default().to_owned(),
        headers,
        body: serde_json::from_slice(&bytes).unwrap_or_default(),
        bytes,
    };
    let is_chat = method == Method::POST && request.path.ends_with("/chat/completions");
    let streams = request.body["stream"] == true;
    let with_usage = request.body["stream_options"]["include_usage"] == true;
    let model = request.model().to_owned();
    let reply = shared.change(|seen| {
        seen.requests.push(request.clone());
        if is_chat { seen.reply(&request) } else { crate::status(404, json!({"error": {"message": "no such path"}})) }
    });
    tokio::time::sleep(reply.delay).await;
    let builder = reply.headers.iter().fold(Response::builder(), |builder, (name, value)| builder.header(name, value));
    let message = match reply.content {
        Content::Refusal { status, body } => {
            let status = StatusCode::from_u16(status).expect("the status of a reply");
            return builder
                .status(status)
                .header(CONTENT_TYPE, "application/json")
                .body(body.into())
                .expect("a refusal");
        }
        Content::Raw { content_type, body } => {
            return builder.header(CONTENT_TYPE, content_type).body(body.into()).expect("raw bytes");
        }
        Content::Hang => {
            Hanging::start(&shared).until_released().await;
            Message { text: Some(String::new()), ..Message::default() }
        }
        Content::Message(message) => message,
    };
    let ids = shared.change(|seen| seen.ids(&message));
    if streams {
        let events = wire::events(&message, &model, ids, with_usage);
        let body = interrupted(events, reply.interruption, shared);
        return builder.header(CONTENT_TYPE, "text/event-stream").body(body).expect("a stream");
    }
    let text = wire::whole(&message, &model, ids).to_string();
    let body = match reply.interruption {
        None => Body::from(text),
        Some(interruption) => {
            let (start, end) = text.split_at(text.floor_char_boundary(text.len() / 2));
            let interruption = match interruption {
                Interruption::Cut(_) => Interruption::Cut(1),
                Interruption::Hang(_) => Interruption::Hang(1),
            };
            interrupted(vec![start.to_owned(), end.to_owned()], Some(interruption), shared)
        }
    };
    builder.header(CONTENT_TYPE, "application/json").body(body).expect("an answer")
}

/// A body in pieces that stops where the reply says.
fn interrupted(pieces: Vec<String>, interruption: Option<Interruption>, shared: Arc<Shared>) -> Body {
    let pieces = pieces.into_iter().enumerate();
    Body::from_stream(stream::unfold((pieces, shared), move |(mut pieces, shared)| async move {
        let (index, piece) = pieces.next()?;
        let piece = match interruption {
            Some(Interruption::Cut(after)) if index >= after => {
                // What came before is sent only when the body pauses.
                tokio::task::yield_now().await;
                Err(io::Error::other("the script cuts the stream"))
            }
            Some(Interruption::Hang(after)) if index == after => {
                Hanging::start(&shared).until_released().await;
                Ok(piece)
            }
            _ => Ok(piece),
        };
        Some((piece, (pieces, shared)))
    }))
}

/// An answer that hangs. If it is dropped before its release, the client has hung up.
struct Hanging {
    shared: Arc<Shared>,
    release: watch::Receiver<u64>,
    is_released: bool,
}

impl Hanging {
    fn start(shared: &Arc<Shared>) -> Self {
        let release = shared.released.subscribe();
        shared.change(|seen| seen.hanging += 1);
        Self { shared: Arc::clone(shared), release, is_released: false }
    }

    async fn until_released(mut self) {
        // The sender lives in `shared`, which is held here.
        let _ = self.release.changed().await;
        self.is_released = true;
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.shared.change(|seen| {
            seen.hanging -= 1;
            if !self.is_released {
                seen.hang_ups += 1;
            }
        });
    }
}
