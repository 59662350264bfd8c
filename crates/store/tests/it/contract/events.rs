use std::sync::Arc;

use longshore_protocol::ConversationId;
use longshore_store::{Created, Error, NewEvent, Store, StoredEvent};
use tokio::task::JoinSet;

use crate::samples;

async fn new_conversation(store: &Arc<dyn Store>) -> ConversationId {
    let new = samples::conversation(&samples::owner("ann"));
    assert_eq!(store.create_conversation(new.clone()).await.unwrap(), Created::New);
    new.id
}

fn as_stored(from: u64, events: &[NewEvent]) -> Vec<StoredEvent> {
    (from..)
        .zip(events)
        .map(|(seq, new)| StoredEvent {
            seq,
            id: new.event.id.clone(),
            json: Arc::clone(&new.json),
            arguments: new.arguments.clone(),
        })
        .collect()
}

pub(crate) async fn events_come_back_in_order(store: Arc<dyn Store>) {
    let id = new_conversation(&store).await;
    assert_eq!(store.events(id, 0, 10).await.unwrap(), []);
    let events: Vec<_> = (0..10).map(|number| samples::message(number, "Grüße, 世界")).collect();
    assert_eq!(store.commit(id, samples::commit(0, events[..1].to_vec())).await.unwrap(), 1);
    assert_eq!(store.commit(id, samples::commit(1, Vec::new())).await.unwrap(), 1);
    assert_eq!(store.commit(id, samples::commit(1, events[1..].to_vec())).await.unwrap(), 10);

    assert_eq!(store.events(id, 0, 100).await.unwrap(), as_stored(0, &events));
    assert_eq!(store.events(id, 3, 4).await.unwrap(), as_stored(3, &events[3..7]));
    assert_eq!(store.events(id, 9, usize::MAX).await.unwrap(), as_stored(9, &events[9..]));
    assert_eq!(store.events(id, 10, 5).await.unwrap(), []);
    assert_eq!(store.events(id, u64::MAX, 5).await.unwrap(), []);
    assert_eq!(store.events(id, 0, 0).await.unwrap(), []);
    assert_eq!(store.events(samples::id(), 0, 5).await.unwrap(), []);
}

pub(crate) async fn a_commit_at_the_wrong_place_changes_nothing(store: Arc<dyn Store>) {
    let id = new_conversation(&store).await;
    store.commit(id, samples::commit(0, vec![samples::pause(0), samples::pause(1)])).await.unwrap();
    for wrong in [0, 1, 3] {
        let mut commit = samples::commit(wrong, vec![samples::pause(2)]);
        commit.title = Some("not this".to_owned());
        commit.calls = vec![samples::call("agent", 1)];
        let error = store.commit(id, commit).await.unwrap_err();
        assert!(
            matches!(error, Error::Conflict { id: found, expected, actual: 2 } if found == id && expected == wrong),
            "{error:?}"
        );
    }
    let conversation = store.conversation(&samples::owner("ann"), id).await.unwrap().unwrap();
    assert_eq!((conversation.title, conversation.tail), (None, 2));
    assert_eq!(store.calls(&[id]).await.unwrap(), [[]]);
}

pub(crate) async fn a_taken_event_id_is_refused(store: Arc<dyn Store>) {
    let id = new_conversation(&store).await;
    let event = samples::pause(0);
    let commit = samples::commit(0, vec![samples::pause(0), event.clone(), event.clone()]);
    let error = store.commit(id, commit).await.unwrap_err();
    assert!(matches!(&error, Error::DuplicateEvent(found) if *found == event.event.id), "{error:?}");
    assert_eq!(store.events(id, 0, 10).await.unwrap(), [], "nothing of it is there");

    store.commit(id, samples::commit(0, vec![event.clone()])).await.unwrap();
    assert!(matches!(store.commit(id, samples::commit(1, vec![event.clone()])).await, Err(Error::DuplicateEvent(_))));
    let other = new_conversation(&store).await;
    assert_eq!(store.commit(other, samples::commit(0, vec![event])).await.unwrap(), 1, "ids are of one conversation");
}

pub(crate) async fn a_commit_to_no_conversation_is_refused(store: Arc<dyn Store>) {
    let id = samples::id();
    let error = store.commit(id, samples::commit(0, vec![samples::pause(0)])).await.unwrap_err();
    assert!(matches!(error, Error::NoSuchConversation(found) if found == id), "{error:?}");
}

pub(crate) async fn calls_are_kept_in_order(store: Arc<dyn Store>) {
    let [first, second] = [new_conversation(&store).await, new_conversation(&store).await];
    let calls: Vec<_> = (0..5).map(|number| samples::call("agent", number)).collect();
    for part in [&calls[..2], &calls[2..]] {
        let mut commit = samples::commit(0, Vec::new());
        commit.calls = part.to_vec();
        store.commit(first, commit).await.unwrap();
    }
    let mut commit = samples::commit(0, Vec::new());
    commit.calls = vec![samples::call("condenser", 9)];
    store.commit(second, commit.clone()).await.unwrap();
    let found = store.calls(&[second, samples::id(), first]).await.unwrap();
    assert_eq!(found, [commit.calls, Vec::new(), calls]);
}

/// Failures among them included.
pub(crate) async fn parallel_writers_do_not_disturb_each_other(store: Arc<dyn Store>) {
    const WRITERS: usize = 24;
    const COMMITS: u64 = 20;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let id = new_conversation(&store).await;
            for tail in 0..COMMITS {
                if writer % 3 == 0 {
                    let wrong = samples::commit(tail + 1, vec![samples::pause(0)]);
                    assert!(matches!(store.commit(id, wrong).await, Err(Error::Conflict { .. })));
                    let nobody = samples::commit(0, vec![samples::pause(0)]);
                    assert!(matches!(store.commit(samples::id(), nobody).await, Err(Error::NoSuchConversation(_))));
                }
                let event = samples::message(0, &format!("{writer} {tail}"));
                assert_eq!(store.commit(id, samples::commit(tail, vec![event.clone()])).await.unwrap(), tail + 1);
                assert_eq!(store.events(id, tail, 9).await.unwrap(), as_stored(tail, &[event]), "read after write");
            }
            id
        });
    }
    for id in writers.join_all().await {
        let events = store.events(id, 0, 1000).await.unwrap();
        assert_eq!(events.len() as u64, COMMITS);
    }
}

pub(crate) async fn one_of_many_writers_at_a_place_wins(store: Arc<dyn Store>) {
    let id = new_conversation(&store).await;
    let mut writers = JoinSet::new();
    for _ in 0..16 {
        let store = Arc::clone(&store);
        writers.spawn(async move { store.commit(id, samples::commit(0, vec![samples::pause(0)])).await });
    }
    let results = writers.join_all().await;
    assert_eq!(results.iter().filter(|result| matches!(result, Ok(1))).count(), 1);
    assert_eq!(results.iter().filter(|result| matches!(result, Err(Error::Conflict { actual: 1, .. }))).count(), 15);
    assert_eq!(store.events(id, 0, 9).await.unwrap().len(), 1);
}

pub(crate) async fn arguments_come_back(store: Arc<dyn Store>) {
    let id = new_conversation(&store).await;
    let with = |arguments: &str| NewEvent { arguments: Some(arguments.to_owned()), ..samples::pause(0) };
    let events = [with(r#"{"command":"echo secret"}"#), samples::pause(0), with("")];
    store.commit(id, samples::commit(0, events.to_vec())).await.unwrap();
    assert_eq!(store.events(id, 0, 9).await.unwrap(), as_stored(0, &events));
}

pub(crate) async fn ids_find_events(store: Arc<dyn Store>) {
    let id = new_conversation(&store).await;
    let events = [samples::pause(0), samples::pause(1), samples::pause(2)];
    store.commit(id, samples::commit(0, events.to_vec())).await.unwrap();
    let stored = as_stored(0, &events);
    let ids = [stored[2].id.clone(), "unknown".to_owned(), stored[0].id.clone(), stored[2].id.clone()];
    assert_eq!(
        store.events_by_id(id, &ids).await.unwrap(),
        [Some(stored[2].clone()), None, Some(stored[0].clone()), Some(stored[2].clone())]
    );
    assert_eq!(store.events_by_id(samples::id(), &ids[..1]).await.unwrap(), [None]);
}
