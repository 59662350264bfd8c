//! How long commits and reads take: `cargo run --release -p longshore-store --example latency [folder]`.

#![expect(clippy::print_stdout, reason = "it prints what it measures")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use indexmap::IndexMap;
use longshore_protocol::{
    Agent, Content, ConversationId, Event, EventTime, Llm, Message, Role, Secret, Source, UtcTime,
    conversation::{Definition, LocalWorkspace, Progress},
    event::MessageEvent,
};
use longshore_store::{Commit, ConversationQuery, EventQuery, Keys, NewConversation, NewEvent, Owner, Sqlite, Store};
use uuid::Uuid;

const COMMITS: u64 = 2000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir_in(std::env::args().nth(1).unwrap_or_else(|| ".".to_owned()))?;
    let keys = Keys::new(&Secret::new("example"), &[]);
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(&folder.path().join("longshore.db"), keys)?);

    for writers in [1, 8, 64] {
        let started = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..writers {
            tasks.spawn(write(Arc::clone(&store), COMMITS / writers));
        }
        let mut times: Vec<_> = tasks.join_all().await.concat();
        let rate = f64::from(u32::try_from(times.len())?) / started.elapsed().as_secs_f64();
        report(&format!("commit, {writers} writers ({rate:.0}/s)"), &mut times);
    }

    let id = create(&store).await;
    append(&store, id, 2000).await;
    let mut times = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    let owner = Owner("somebody".into());
    for round in 0..1000 {
        let started = Instant::now();
        assert_eq!(store.events(id, (round * 7) % 1900, 100).await?.len(), 100);
        times[0].push(started.elapsed());
        let started = Instant::now();
        let query = EventQuery { limit: 100, descending: true, ..Default::default() };
        assert_eq!(store.find_events(id, query).await?.items.len(), 100);
        times[1].push(started.elapsed());
        let started = Instant::now();
        assert!(store.conversation(&owner, id).await?.is_some());
        times[2].push(started.elapsed());
        let started = Instant::now();
        store.find_conversations(&owner, ConversationQuery { limit: 20, ..Default::default() }).await?;
        times[3].push(started.elapsed());
    }
    for (name, times) in
        ["100 events", "newest 100 events", "one conversation", "20 conversations"].into_iter().zip(&mut times)
    {
        report(name, times);
    }
    store.close().await;
    Ok(())
}

fn report(name: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!("{name:32} p50 {:>9.1?}  p99 {:>9.1?}  max {:>9.1?}", at(50), at(99), at(100));
}

async fn write(store: Arc<dyn Store>, commits: u64) -> Vec<Duration> {
    let id = create(&store).await;
    let mut times = Vec::new();
    for tail in 0..commits {
        let mut commit = Commit::new(tail, now());
        commit.events = vec![event()];
        commit.progress = Some(Progress::default());
        let started = Instant::now();
        store.commit(id, commit).await.expect("a commit");
        times.push(started.elapsed());
    }
    times
}

async fn create(store: &Arc<dyn Store>) -> ConversationId {
    let id = ConversationId(Uuid::new_v4());
    let llm: Llm =
        serde_json::from_value(serde_json::json!({"model": "openai/gpt-5", "api_key": "k"})).expect("a model");
    let definition = Definition {
        agent: Agent::new(llm, Vec::new()),
        workspace: LocalWorkspace::new("/work"),
        max_iterations: 500,
        stuck_detection: true,
        client_tools: Vec::new(),
        tool_module_qualnames: IndexMap::new(),
        agent_definitions: Vec::new(),
        plugins: None,
        hook_config: None,
        user_id: None,
        autotitle: true,
    };
    let new = NewConversation {
        id,
        owner: Owner("somebody".into()),
        created_at: now(),
        parent: None,
        workspace: None,
        definition,
        progress: Progress::default(),
        tags: IndexMap::new(),
        secrets: IndexMap::new(),
    };
    store.create_conversation(new).await.expect("a new conversation");
    id
}

async fn append(store: &Arc<dyn Store>, id: ConversationId, events: usize) {
    let mut commit = Commit::new(0, now());
    commit.events = (0..events).map(|_| event()).collect();
    store.commit(id, commit).await.expect("a commit");
}

/// A message of about 2 kB.
fn event() -> NewEvent {
    let message = Message::new(Role::User, vec![Content::text("some words of a message ".repeat(75))]);
    let event = Event {
        id: Uuid::new_v4().to_string(),
        timestamp: EventTime::at(now().0, &jiff::tz::TimeZone::UTC),
        source: Source::User,
        parent_id: None,
        body: MessageEvent::new(message).into(),
    };
    NewEvent { json: event.to_json().into(), event: Arc::new(event), arguments: None }
}

fn now() -> UtcTime {
    UtcTime(jiff::Timestamp::now())
}
