use std::sync::Arc;

use jiff::Timestamp;
use longshore_protocol::{
    Secret, UtcTime,
    sandbox::{SandboxEventBody, SandboxOptions, SandboxState},
};
use longshore_store::{At, Owner, Sandbox, SandboxChange, Store};
use uuid::Uuid;

use crate::samples;

fn sandbox(owner: Option<Owner>, at: At) -> Sandbox {
    let env = [("TOKEN".to_owned(), Secret::new(samples::API_KEY))].into();
    Sandbox {
        id: Uuid::new_v4(),
        owner,
        at,
        backend: "docker".to_owned(),
        options: SandboxOptions { image: Some("busybox".to_owned()), env: Some(env), ..SandboxOptions::default() },
        working_dir: "/workspace".to_owned(),
        state: SandboxState::Queued,
        reason: "waits".to_owned(),
        is_doomed: false,
        created_at: now(1),
        used_at: now(1),
    }
}

fn now(second: i64) -> UtcTime {
    UtcTime(Timestamp::from_second(second).unwrap())
}

fn state(state: SandboxState) -> SandboxEventBody {
    SandboxEventBody::State { state, reason: String::new(), progress: None }
}

pub(crate) async fn a_place_has_one_box(store: Arc<dyn Store>) {
    let (ann, ben) = (samples::owner("ann"), samples::owner("ben"));
    let conversation = samples::conversation(&ann).id;
    let first = sandbox(Some(ann.clone()), At::Own);
    assert!(store.create_sandbox(first.clone()).await.unwrap());
    assert!(!store.create_sandbox(sandbox(Some(ann.clone()), At::Own)).await.unwrap());
    assert!(store.create_sandbox(sandbox(Some(ben), At::Own)).await.unwrap());
    assert!(store.create_sandbox(sandbox(Some(ann.clone()), At::Conversation(conversation))).await.unwrap());
    assert!(!store.create_sandbox(sandbox(Some(ann.clone()), At::Conversation(conversation))).await.unwrap());
    let doom = SandboxChange { doom: true, ..SandboxChange::new(now(2)) };
    store.change_sandbox(first.id, doom).await.unwrap();
    assert!(store.create_sandbox(sandbox(Some(ann), At::Own)).await.unwrap());
    let all = store.sandboxes().await.unwrap();
    assert_eq!(all.len(), 4);
    assert_eq!(all[0], Sandbox { is_doomed: true, ..first });
}

pub(crate) async fn changes_and_events_are_kept(store: Arc<dyn Store>) {
    let made = sandbox(Some(samples::owner("ann")), At::Own);
    store.create_sandbox(made.clone()).await.unwrap();
    let options = SandboxOptions { timeout: Some(5), ..SandboxOptions::default() };
    let change = SandboxChange {
        state: Some((SandboxState::Ready, "started".to_owned())),
        used_at: Some(now(9)),
        options: Some(options.clone()),
        events: vec![state(SandboxState::Starting), state(SandboxState::Ready)],
        ..SandboxChange::new(now(3))
    };
    let events = store.change_sandbox(made.id, change).await.unwrap();
    assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), [0, 1]);
    let denied = SandboxEventBody::Denied { host: "a".to_owned(), port: 80, reason: "b".to_owned() };
    let change = SandboxChange { used_at: Some(now(4)), events: vec![denied], ..SandboxChange::new(now(4)) };
    let more = store.change_sandbox(made.id, change).await.unwrap();
    let stored = store.sandbox_events(made.id, 0, 10).await.unwrap();
    assert_eq!(stored, [events, more].concat());
    assert_eq!(store.sandbox_events(made.id, 1, 1).await.unwrap(), stored[1..2]);
    let expected =
        Sandbox { state: SandboxState::Ready, reason: "started".to_owned(), used_at: now(9), options, ..made };
    assert_eq!(store.sandboxes().await.unwrap(), [expected]);

    store.delete_sandbox(stored_id(&store).await).await.unwrap();
    assert_eq!(store.sandboxes().await.unwrap(), []);
    assert_eq!(store.sandbox_events(Uuid::new_v4(), 0, 10).await.unwrap(), []);
    let change = SandboxChange { events: vec![state(SandboxState::Lost)], ..SandboxChange::new(now(5)) };
    assert_eq!(store.change_sandbox(Uuid::new_v4(), change).await.unwrap(), []);
}

async fn stored_id(store: &Arc<dyn Store>) -> Uuid {
    store.sandboxes().await.unwrap()[0].id
}

pub(crate) async fn a_pooled_box_is_claimed_once(store: Arc<dyn Store>) {
    let (ann, ben) = (samples::owner("ann"), samples::owner("ben"));
    let (one, two) = (sandbox(None, At::Own), sandbox(None, At::Own));
    for pooled in [&one, &two] {
        assert!(store.create_sandbox(pooled.clone()).await.unwrap());
    }
    let claims = tokio::join!(
        store.claim_sandbox(one.id, &ann, At::Own, now(7)),
        store.claim_sandbox(one.id, &ben, At::Own, now(7)),
    );
    assert_eq!([claims.0.unwrap(), claims.1.unwrap()].iter().filter(|claimed| **claimed).count(), 1);
    let winner = store.sandboxes().await.unwrap()[0].owner.clone().unwrap();
    assert!(!store.claim_sandbox(two.id, &winner, At::Own, now(8)).await.unwrap(), "the place has a box");
    let conversation = samples::conversation(&winner).id;
    assert!(store.claim_sandbox(two.id, &winner, At::Conversation(conversation), now(8)).await.unwrap());
}

pub(crate) async fn old_events_go(store: Arc<dyn Store>) {
    let made = sandbox(None, At::Own);
    store.create_sandbox(made.clone()).await.unwrap();
    for _ in 0..3 {
        let events = vec![state(SandboxState::Ready); 4000];
        store.change_sandbox(made.id, SandboxChange { events, ..SandboxChange::new(now(2)) }).await.unwrap();
    }
    let events = store.sandbox_events(made.id, 0, 20_000).await.unwrap();
    assert_eq!((events.len(), events[0].seq), (10_000, 2000));
}
