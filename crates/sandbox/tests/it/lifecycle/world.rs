//! A store, a machine and the servers that work on them one after the other.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use indexmap::IndexMap;
use longshore_protocol::{
    Agent, ConversationId, Llm, UtcTime,
    conversation::{Definition, LocalWorkspace, Progress},
    sandbox::{SandboxEvent, SandboxEventBody, SandboxInfo, SandboxOptions, SandboxState},
};
use longshore_sandbox::{Backends, Place, SandboxId, Sandboxes, Settings};
use longshore_store::{At, Keys, NewConversation, Owner, Sandbox, Sqlite, Store};
use longshore_workspace::Workspace as _;
use tempfile::TempDir;

use super::machine::{Machine, NAME};

/// How long a test waits for what must come.
pub(crate) const DEADLINE: Duration = Duration::from_secs(40);

pub(crate) struct World {
    pub(crate) machine: Arc<Machine>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) settings: Settings,
    folder: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_| ())
    }

    /// A world whose operator changes some settings. Deadlines are looked at all the time.
    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = TempDir::new().expect("a folder");
        let mut settings = Settings {
            sweep_interval: Duration::from_millis(5),
            working_dir: folder.path().to_owned(),
            ..Settings::default()
        };
        change(&mut settings);
        let store = open(&folder);
        Self { machine: Machine::new(folder.path()), store, settings, folder }
    }

    /// Opens the store anew, as the next server does: what the last one was about to write is written.
    pub(crate) async fn reopen(&mut self) {
        self.store.close().await;
        self.store = open(&self.folder);
    }

    /// A server that knows nothing but what is stored.
    pub(crate) fn server(&self) -> Sandboxes {
        let backends = Backends::new(vec![self.machine.backend()]);
        Sandboxes::new(self.settings.clone(), backends, Arc::clone(&self.store))
    }

    /// A server that has looked at what is there.
    pub(crate) async fn serve(&self) -> Sandboxes {
        let server = self.server();
        server.recover().await.expect("what is stored can be read");
        server
    }

    /// The place of a user.
    pub(crate) fn place(&self, server: &Sandboxes, user: &str) -> Place {
        self.place_with(server, user, SandboxOptions::default())
    }

    /// The place of a user who wants something.
    pub(crate) fn place_with(&self, server: &Sandboxes, user: &str, wish: SandboxOptions) -> Place {
        server.place(&owner(user), At::Own, &wish, self.folder.path()).expect("a place")
    }

    /// The place of a conversation of Ann that has a box for itself.
    pub(crate) fn conversation_place(&self, server: &Sandboxes, id: ConversationId) -> Place {
        server
            .place(&owner("ann"), At::Conversation(id), &SandboxOptions::default(), self.folder.path())
            .expect("a place")
    }

    pub(crate) async fn rows(&self) -> Vec<Sandbox> {
        self.store.sandboxes().await.expect("rows")
    }

    /// A row as a server leaves it that does not run now.
    pub(crate) async fn store_row(&self, change: impl FnOnce(&mut Sandbox)) -> SandboxId {
        let mut row = Sandbox {
            id: SandboxId::random().0,
            owner: Some(owner("ann")),
            at: At::Own,
            backend: NAME.to_owned(),
            options: SandboxOptions { backend: Some(NAME.to_owned()), ..SandboxOptions::default() },
            working_dir: self.folder.path().to_str().expect("text").to_owned(),
            state: SandboxState::Ready,
            reason: "it was started".to_owned(),
            is_doomed: false,
            created_at: ago(Duration::ZERO),
            used_at: ago(Duration::ZERO),
        };
        change(&mut row);
        let id = SandboxId(row.id);
        assert!(self.store.create_sandbox(row).await.expect("a row"), "its place has one");
        id
    }

    /// Stores a conversation of Ann.
    pub(crate) async fn store_conversation(&self) -> ConversationId {
        let id = ConversationId(uuid::Uuid::new_v4());
        let llm: Llm = serde_json::from_str(r#"{"model": "scripted/none"}"#).expect("a model");
        let definition = Definition {
            agent: Agent::new(llm, Vec::new()),
            workspace: LocalWorkspace::new("/workspace"),
            max_iterations: 1,
            stuck_detection: false,
            client_tools: Vec::new(),
            tool_module_qualnames: IndexMap::default(),
            agent_definitions: Vec::new(),
            plugins: None,
            hook_config: None,
            user_id: None,
            autotitle: false,
        };
        let new = NewConversation {
            id,
            owner: owner("ann"),
            created_at: ago(Duration::ZERO),
            parent: None,
            workspace: None,
            definition,
            progress: Progress::default(),
            tags: IndexMap::default(),
            secrets: IndexMap::default(),
        };
        self.store.create_conversation(new).await.expect("a conversation");
        id
    }

    /// Waits until there is as much on the machine as in the store, and nothing that is to be removed.
    pub(crate) async fn in_order(&self) {
        until("what is stored is what is there", async || {
            let rows = self.rows().await;
            let stored: Vec<_> = rows.iter().map(|row| SandboxId(row.id)).collect();
            let boxes = self.machine.boxes();
            rows.iter().all(|row| !row.is_doomed)
                && boxes.keys().all(|id| stored.contains(id))
                && rows.iter().filter(|row| row.owner.is_none()).all(|row| boxes.contains_key(&SandboxId(row.id)))
        })
        .await;
    }
}

fn open(folder: &TempDir) -> Arc<dyn Store> {
    let keys = Keys::load_or_create(folder.path(), None, Vec::new()).expect("keys");
    Arc::new(Sqlite::open(&folder.path().join("store.db"), keys).expect("a store"))
}

pub(crate) fn owner(name: &str) -> Owner {
    Owner(name.into())
}

/// A moment before now.
pub(crate) fn ago(time: Duration) -> UtcTime {
    let past = jiff::SignedDuration::try_from(time).expect("a time");
    UtcTime(jiff::Timestamp::now().checked_sub(past).expect("a moment"))
}

pub(crate) fn idle_after(seconds: u64) -> SandboxOptions {
    SandboxOptions { idle_timeout: Some(seconds), ..SandboxOptions::default() }
}

/// Uses a place.
pub(crate) async fn touch(place: &Place) {
    place.metadata(".".as_ref()).await.expect("the place can be used");
}

/// The box of a user.
pub(crate) fn info(server: &Sandboxes, user: &str) -> SandboxInfo {
    server.info(&owner(user), At::Own).expect("a box")
}

pub(crate) fn id(server: &Sandboxes, user: &str) -> SandboxId {
    info(server, user).id.parse().expect("an id")
}

pub(crate) fn state(server: &Sandboxes, user: &str) -> Option<SandboxState> {
    server.info(&owner(user), At::Own).map(|info| info.state)
}

pub(crate) async fn until_state(server: &Sandboxes, user: &str, wanted: SandboxState) {
    until(&format!("the box of {user} is {wanted:?}"), async || state(server, user) == Some(wanted)).await;
}

/// All stored events of a user's box.
pub(crate) async fn events(server: &Sandboxes, user: &str) -> Vec<SandboxEvent> {
    server.events(&owner(user), At::Own, 0, 1000).await.expect("events")
}

/// Waits until a user's box has been in these states and no others, and returns why.
pub(crate) async fn until_states(server: &Sandboxes, user: &str, wanted: &[SandboxState]) -> Vec<String> {
    let mut last = Vec::new();
    for_a_while(async || {
        last = events(server, user).await;
        states(&last).0 == wanted
    })
    .await
    .unwrap_or_else(|()| panic!("wanted {wanted:?}, but there was: {last:#?}"));
    states(&last).1
}

/// What a log says of states, and why.
pub(crate) fn states(events: &[SandboxEvent]) -> (Vec<SandboxState>, Vec<String>) {
    let states = events.iter().filter_map(|event| match &event.body {
        SandboxEventBody::State { state, reason, .. } => Some((*state, reason.clone())),
        _ => None,
    });
    states.unzip()
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, condition: impl AsyncFnMut() -> bool) {
    for_a_while(condition).await.unwrap_or_else(|()| panic!("{what}: not in time"));
}

async fn for_a_while(mut condition: impl AsyncFnMut() -> bool) -> Result<(), ()> {
    let end = Instant::now() + DEADLINE;
    while !condition().await {
        if Instant::now() > end {
            return Err(());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}
