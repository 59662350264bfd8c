//! An engine with everything around it, and ways to wait for what it does.

use std::{future::Future, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use longshore_engine::{
    Budgets, Clock, Closed, Engine, Error, Made, Opened, Options, Parts, QueueLimits, Replay, SameForAll, Skills,
    Subscription, Workspaces,
};
use longshore_llm::{Models, ModelsOptions, OperatedModel};
use longshore_outbound::{self as outbound, Client};
use longshore_protocol::{
    ConversationId, Secret,
    conversation::{LocalWorkspace, SendMessage, StartConversation},
};
use longshore_store::{EventQuery, Keys, Owner, Sqlite};
use longshore_testkit::{ScriptedServer, call};
use longshore_tools::Registry;
use longshore_workspace::{Local, LocalOptions};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::fragile::Fragile;

/// Waiting longer than this for anything is a failure.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);
/// What a wish may take while a tool runs.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(1);

/// An engine over a folder of its own, and a provider that its agents ask.
pub(crate) struct World {
    pub(crate) folder: Arc<TempDir>,
    pub(crate) provider: Arc<ScriptedServer>,
    pub(crate) engine: Engine,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_| ())
    }

    /// With other options than the usual ones.
    pub(crate) fn with(change: impl FnOnce(&mut Options)) -> Self {
        let folder = Arc::new(TempDir::new().unwrap());
        let engine = open(folder.path(), change);
        Self { folder, provider: Arc::new(ScriptedServer::start()), engine }
    }

    /// With budgets, and models of the operator that `operated` makes from the provider's address.
    pub(crate) fn with_budgets(
        budgets: Arc<dyn Budgets>,
        operated: impl FnOnce(&ScriptedServer) -> Vec<OperatedModel>,
    ) -> Self {
        let folder = Arc::new(TempDir::new().unwrap());
        let provider = Arc::new(ScriptedServer::start());
        let operated = operated(&provider);
        let engine = try_open(folder.path(), |_| (), budgets, operated).unwrap();
        Self { folder, provider, engine }
    }

    /// Stops the engine as a server does and opens another one over the same folder.
    pub(crate) async fn restart(self) -> Self {
        let Self { folder, provider, engine } = self;
        engine.shutdown().await;
        engine.store().close().await;
        drop(engine);
        let engine = reopen(folder.path()).await;
        Self { folder, provider, engine }
    }

    /// A request for a conversation of `model` with a terminal; `more` replaces fields of it.
    pub(crate) fn request(&self, model: &str, more: Value) -> StartConversation {
        request(&self.provider.url(), self.folder.path(), model, more)
    }

    pub(crate) async fn create(&self, model: &str, more: Value) -> ConversationId {
        let (info, made) = self.engine.create(&ann(), self.request(model, more), Skills::Trimmed).await.unwrap();
        assert_eq!(made, Made::New);
        let info: Value = serde_json::from_slice(&info.0).unwrap();
        info["id"].as_str().unwrap().parse().unwrap()
    }

    /// Says something and begins a run.
    pub(crate) async fn go(&self, id: ConversationId) {
        self.say(id, "go", true).await.unwrap();
    }

    pub(crate) async fn say(&self, id: ConversationId, text: &str, run: bool) -> Result<(), Error> {
        self.engine.send(&ann(), id, message(text, run)).await
    }

    pub(crate) async fn watch(&self, id: ConversationId) -> Watch {
        self.watch_from(id, Replay::Nothing).await
    }

    pub(crate) async fn watch_from(&self, id: ConversationId, replay: Replay) -> Watch {
        Watch(self.engine.subscribe(&ann(), id, replay).await.unwrap())
    }

    pub(crate) async fn info(&self, id: ConversationId) -> Value {
        serde_json::from_slice(&self.engine.info(&ann(), id, Skills::Trimmed).await.unwrap().0).unwrap()
    }

    pub(crate) async fn status(&self, id: ConversationId) -> String {
        self.info(id).await["execution_status"].as_str().unwrap().to_owned()
    }

    /// Waits until the conversation is stored as doing this.
    pub(crate) async fn until_status(&self, id: ConversationId, status: &str) {
        until(&format!("{id} is {status}"), async || self.status(id).await == status).await;
    }

    /// Waits until so many conversations are in memory.
    pub(crate) async fn until_in_memory(&self, count: usize) {
        until(&format!("{count} conversations are in memory"), async || self.engine.in_memory_count() == count).await;
    }

    /// Waits until a command has made a file in the working folder.
    pub(crate) async fn until_file(&self, name: &str) {
        let file = self.file(name);
        until(&format!("{name} is there"), async || file.exists()).await;
    }

    pub(crate) fn file(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join("work").join(name)
    }

    /// A conversation whose tool runs for long.
    pub(crate) async fn busy(&self, more: Value) -> ConversationId {
        let _ = std::fs::remove_file(self.file("started"));
        self.provider.script("busy", [call("terminal", json!({"command": "touch started; sleep 20"}))]);
        let id = self.create("busy", more).await;
        self.go(id).await;
        self.until_file("started").await;
        id
    }

    /// The whole log.
    pub(crate) async fn events(&self, id: ConversationId) -> Vec<Value> {
        let mut events = Vec::new();
        let mut from = None;
        loop {
            let query = EventQuery { limit: 500, from, ..EventQuery::default() };
            let page = self.engine.find_events(&ann(), id, query).await.unwrap();
            events.extend(page.items.iter().map(|event| serde_json::from_str::<Value>(&event.json).unwrap()));
            from = page.next;
            if from.is_none() {
                return events;
            }
        }
    }

    /// The whole log, an event as [`line`] writes it.
    pub(crate) async fn log(&self, id: ConversationId) -> Vec<String> {
        self.events(id).await.iter().map(line).collect()
    }
}

/// A reader who does not wait for ever.
pub(crate) struct Watch(pub(crate) Subscription);

impl Watch {
    pub(crate) async fn next(&mut self) -> Result<Value, Closed> {
        let frame = timeout(DEADLINE, self.0.next()).await.expect("a frame comes in time")?;
        Ok(serde_json::from_str(&frame).unwrap())
    }

    /// Frames up to the first that is wanted.
    pub(crate) async fn until(&mut self, is_wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut frames = Vec::new();
        loop {
            match self.next().await {
                Ok(frame) => frames.push(frame),
                Err(reason) => panic!("closed ({reason:?}) after {:?}", lines(&frames)),
            }
            if is_wanted(frames.last().unwrap()) {
                return frames;
            }
        }
    }

    /// Frames up to the state at the end of a run.
    pub(crate) async fn until_settled(&mut self, status: &str) -> Vec<Value> {
        self.until(|frame| frame["key"] == "full_state" && frame["value"]["execution_status"] == status).await
    }

    /// Frames up to an action.
    pub(crate) async fn until_action(&mut self) -> Vec<Value> {
        self.until(|frame| frame["kind"] == "ActionEvent").await
    }

    /// Frames up to the end, and why it came.
    pub(crate) async fn until_closed(&mut self) -> (Vec<Value>, Closed) {
        let mut frames = Vec::new();
        loop {
            match self.next().await {
                Ok(frame) => frames.push(frame),
                Err(reason) => return (frames, reason),
            }
        }
    }
}

/// An engine over a folder.
pub(crate) fn open(folder: &Path, change: impl FnOnce(&mut Options)) -> Engine {
    try_open(folder, change, no_budgets(), Vec::new()).unwrap()
}

/// An engine over a folder that another one has just left: its tasks may take a moment to let go of the files.
pub(crate) async fn reopen(folder: &Path) -> Engine {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        match try_open(folder, |_| (), no_budgets(), Vec::new()) {
            Ok(engine) => return engine,
            Err(longshore_store::Error::InUse { .. }) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn no_budgets() -> Arc<dyn Budgets> {
    Arc::new(SameForAll::default())
}

fn try_open(
    folder: &Path,
    change: impl FnOnce(&mut Options),
    budgets: Arc<dyn Budgets>,
    operated: Vec<OperatedModel>,
) -> Result<Engine, longshore_store::Error> {
    let keys = Keys::load_or_create(folder, Some(Secret::new("a key for tests")), Vec::new())?;
    let store = Sqlite::open(&database(folder), keys)?;
    let http = Client::new(outbound::Options::new(outbound::Policy::open())).unwrap();
    let parts = Parts {
        store: Arc::new(store),
        models: Models::new(ModelsOptions {
            http: http.clone(),
            http_trusted: http.clone(),
            operated,
            ..ModelsOptions::default()
        }),
        tools: Registry::new(),
        workspaces: Arc::new(Places { home: folder.to_owned().into() }),
        http,
        clock: Clock::system(),
        budgets,
    };
    let mut options = Options {
        conversations_dir: folder.join("conversations"),
        max_concurrent_runs: 100,
        queue: QueueLimits::default(),
        idle_ttl: Duration::from_mins(10),
    };
    change(&mut options);
    Ok(Engine::new(parts, options))
}

pub(crate) fn database(folder: &Path) -> std::path::PathBuf {
    folder.join("longshore.db")
}

pub(crate) fn request(provider: &str, folder: &Path, model: &str, more: Value) -> StartConversation {
    let mut request = json!({
        "agent": {"kind": "Agent", "tools": [{"name": "terminal"}], "llm": {
            "model": format!("openai/{model}"), "base_url": provider, "api_key": "sk-test-key", "num_retries": 0,
            "usage_id": "agent",
        }},
        "workspace": {"kind": "LocalWorkspace", "working_dir": folder.join("work")},
        "autotitle": false,
    });
    merge(&mut request, more);
    serde_json::from_value(request).unwrap()
}

/// Puts the fields of one object into another, at any depth.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (into, from) => *into = from,
    }
}

pub(crate) fn ann() -> Owner {
    Owner("ann".into())
}

pub(crate) fn bob() -> Owner {
    Owner("bob".into())
}

pub(crate) fn message(text: &str, run: bool) -> SendMessage {
    SendMessage { content: vec![longshore_protocol::Content::text(text)], run, ..SendMessage::default() }
}

/// Folders of this machine, with a home of their own. One that is named `fragile` is, and one that is named `elsewhere` is
/// taken for a place that outlives the engine.
#[derive(Debug)]
struct Places {
    home: Arc<Path>,
}

#[async_trait]
impl Workspaces for Places {
    async fn resolve(&self, _owner: &Owner, workspace: LocalWorkspace) -> Result<LocalWorkspace, String> {
        let folder = std::path::absolute(&workspace.working_dir).map_err(|error| error.to_string())?;
        Ok(LocalWorkspace { working_dir: folder.to_str().unwrap().to_owned(), ..workspace })
    }

    async fn open(
        &self,
        _owner: &Owner,
        _conversation: ConversationId,
        workspace: &LocalWorkspace,
    ) -> Result<Opened, longshore_workspace::Error> {
        let mut options = LocalOptions::new(&workspace.working_dir);
        options.env.push(("HOME".into(), self.home.as_os_str().to_owned()));
        let local = Local::new(options)?;
        let is_fragile = workspace.working_dir.ends_with("/fragile");
        let opened = Opened::here(if is_fragile { Arc::new(Fragile(local)) } else { Arc::new(local) });
        let is_elsewhere = workspace.working_dir.ends_with("/elsewhere");
        Ok(Opened { tools_dir: is_elsewhere.then(|| self.home.join("tools")), ..opened })
    }
}

/// An event in a few words.
pub(crate) fn line(event: &Value) -> String {
    let kind = event["kind"].as_str().unwrap_or_default();
    match (kind, event["key"].as_str()) {
        ("ConversationStateUpdateEvent", Some("full_state")) => {
            format!("full_state {}", event["value"]["execution_status"].as_str().unwrap())
        }
        ("ConversationStateUpdateEvent", Some("execution_status")) => {
            format!("status {}", event["value"].as_str().unwrap())
        }
        ("ConversationStateUpdateEvent", Some(key)) => format!("state {key}"),
        ("ActionEvent", _) => format!("action {}", event["tool_name"].as_str().unwrap()),
        ("ObservationEvent", _) => format!("observation {}", event["tool_name"].as_str().unwrap()),
        _ => kind.to_owned(),
    }
}

pub(crate) fn lines(events: &[Value]) -> Vec<String> {
    events.iter().map(line).collect()
}

/// The ids of stored events among frames, in order.
pub(crate) fn ids(frames: &[Value]) -> Vec<String> {
    let stored = frames.iter().filter(|frame| frame["key"] != "full_state" && frame["kind"] != "StreamingDeltaEvent");
    stored.map(|frame| frame["id"].as_str().unwrap().to_owned()).collect()
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

/// What a future gives, which must not take longer than `limit`.
pub(crate) async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    timeout(limit, future).await.unwrap_or_else(|_| panic!("{what} took longer than {limit:?}"))
}
