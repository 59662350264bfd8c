use std::sync::Arc;

use longshore_protocol::bash::BashEvent;
use longshore_store::{At, BashQuery, Error, Store};

use crate::samples::{self, bash_id};

fn all() -> BashQuery {
    BashQuery { limit: 100, ..Default::default() }
}

pub(crate) async fn events_come_in_order(store: Arc<dyn Store>) {
    let owner = samples::owner("ann");
    let command = samples::bash_command(5);
    // Two at the same time stay in the order they were stored; one is stored late.
    let events = vec![
        BashEvent::from(command.clone()),
        samples::bash_output(6, &command, 0, None),
        samples::bash_output(6, &command, 1, Some(0)),
    ];
    store.append_bash(&owner, At::Own, events.clone(), u64::MAX).await.unwrap();
    let late = BashEvent::from(samples::bash_command(1));
    store.append_bash(&owner, At::Own, vec![late.clone()], u64::MAX).await.unwrap();
    let mut expected = [vec![late], events.clone()].concat();
    assert_eq!(store.find_bash(&owner, At::Own, all()).await.unwrap().items, expected);
    expected.reverse();
    let page = store.find_bash(&owner, At::Own, BashQuery { descending: true, ..all() }).await.unwrap();
    assert_eq!((page.items, page.next), (expected, None));

    let error = store.append_bash(&owner, At::Own, vec![events[0].clone()], u64::MAX).await.unwrap_err();
    assert!(matches!(&error, Error::DuplicateEvent(id) if *id == command.id), "{error:?}");
}

pub(crate) async fn filters_combine(store: Arc<dyn Store>) {
    let owner = samples::owner("ann");
    let [first, second] = [samples::bash_command(0), samples::bash_command(1)];
    let events = vec![
        BashEvent::from(first.clone()),
        BashEvent::from(second.clone()),
        samples::bash_output(2, &first, 0, None),
        samples::bash_output(3, &second, 0, None),
        samples::bash_output(4, &first, 1, None),
        samples::bash_output(5, &first, 2, Some(0)),
    ];
    store.append_bash(&owner, At::Own, events.clone(), u64::MAX).await.unwrap();
    let of_first = || BashQuery { command_id: Some(first.id.clone()), ..all() };
    for (query, expected) in [
        (of_first(), vec![2, 4, 5]),
        (BashQuery { after_order: Some(0), ..of_first() }, vec![4, 5]),
        (BashQuery { after_order: Some(2), ..of_first() }, vec![]),
        (BashQuery { after_order: Some(0), ..all() }, vec![4, 5]),
        (BashQuery { kind: Some("BashCommand".to_owned()), ..all() }, vec![0, 1]),
        (BashQuery { kind: Some("BashCommand".to_owned()), ..of_first() }, vec![]),
        (BashQuery { kind: Some("BashOutput".to_owned()), since: Some(samples::time(4)), ..all() }, vec![4, 5]),
        (BashQuery { before: Some(samples::time(2)), ..all() }, vec![0, 1]),
        (BashQuery { since: Some(samples::time(1)), before: Some(samples::time(3)), ..all() }, vec![1, 2]),
        (BashQuery { id: Some(first.id.clone()), ..all() }, vec![0]),
        (BashQuery { id: Some("unknown".to_owned()), ..all() }, vec![]),
    ] {
        let expected: Vec<_> = expected.into_iter().map(|index: usize| events[index].clone()).collect();
        assert_eq!(store.find_bash(&owner, At::Own, query.clone()).await.unwrap().items, expected, "{query:?}");
    }
}

pub(crate) async fn scopes_are_apart(store: Arc<dyn Store>) {
    let owner = samples::owner("ann");
    let new = samples::conversation(&owner);
    let scope = At::Conversation(new.id);
    store.create_conversation(new).await.unwrap();
    let own = BashEvent::from(samples::bash_command(0));
    let scoped = BashEvent::from(samples::bash_command(0));
    store.append_bash(&owner, At::Own, vec![own.clone()], u64::MAX).await.unwrap();
    store.append_bash(&owner, scope, vec![scoped.clone()], u64::MAX).await.unwrap();
    assert_eq!(store.find_bash(&owner, At::Own, all()).await.unwrap().items, [own]);
    assert_eq!(store.find_bash(&owner, scope, all()).await.unwrap().items, std::slice::from_ref(&scoped));
    assert_eq!(store.clear_bash(&owner, At::Own).await.unwrap(), 1);
    assert_eq!(store.find_bash(&owner, At::Own, all()).await.unwrap().items, []);
    assert_eq!(store.find_bash(&owner, scope, all()).await.unwrap().items, [scoped]);
    assert_eq!(store.clear_bash(&owner, scope).await.unwrap(), 1);
    assert_eq!(store.clear_bash(&owner, scope).await.unwrap(), 0);

    let gone = samples::id();
    let error = store
        .append_bash(&owner, At::Conversation(gone), vec![samples::bash_command(0).into()], u64::MAX)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NoSuchConversation(id) if id == gone), "{error:?}");
}

pub(crate) async fn unfinished_commands_are_found(store: Arc<dyn Store>) {
    let (ann, bob) = (samples::owner("ann"), samples::owner("bob"));
    let new = samples::conversation(&bob);
    let scope = At::Conversation(new.id);
    store.create_conversation(new).await.unwrap();
    let [first, second, third] = [samples::bash_command(0), samples::bash_command(1), samples::bash_command(2)];
    store.append_bash(&ann, At::Own, vec![first.clone().into(), second.clone().into()], u64::MAX).await.unwrap();
    store.append_bash(&bob, scope, vec![third.clone().into()], u64::MAX).await.unwrap();
    store.append_bash(&ann, At::Own, vec![samples::bash_output(3, &first, 0, None)], u64::MAX).await.unwrap();
    let expected = [(ann.clone(), At::Own, first.clone()), (ann.clone(), At::Own, second), (bob, scope, third)];
    assert_eq!(store.unfinished_bash().await.unwrap(), expected);

    store.append_bash(&ann, At::Own, vec![samples::bash_output(4, &first, 1, Some(-9))], u64::MAX).await.unwrap();
    assert_eq!(store.unfinished_bash().await.unwrap(), expected[1..]);
}

pub(crate) async fn pages_join(store: Arc<dyn Store>) {
    let owner = samples::owner("ann");
    let events: Vec<BashEvent> = (0..9).map(|number| samples::bash_command(number / 3).into()).collect();
    store.append_bash(&owner, At::Own, events.clone(), u64::MAX).await.unwrap();
    for descending in [false, true] {
        let mut expected = events.clone();
        if descending {
            expected.reverse();
        }
        let mut found = Vec::new();
        let mut query = BashQuery { limit: 2, descending, ..Default::default() };
        loop {
            let page = store.find_bash(&owner, At::Own, query.clone()).await.unwrap();
            found.extend(page.items);
            match page.next {
                Some(next) => {
                    assert_eq!(next, bash_id(&expected[found.len()]));
                    query.from = Some(next);
                }
                None => break,
            }
        }
        assert_eq!(found, expected);
        query.from = Some("unknown".to_owned());
        assert_eq!(store.find_bash(&owner, At::Own, query).await.unwrap().items, expected[..2]);
    }
}

pub(crate) async fn the_oldest_make_room(store: Arc<dyn Store>) {
    let (ann, bob) = (samples::owner("ann"), samples::owner("bob"));
    let new = samples::conversation(&ann);
    let id = new.id;
    store.create_conversation(new).await.unwrap();
    let runs = samples::bash_command(0);
    store.append_bash(&ann, At::Own, vec![runs.clone().into()], u64::MAX).await.unwrap();
    store.append_bash(&bob, At::Own, vec![samples::bash_output(0, &runs, 0, None)], u64::MAX).await.unwrap();
    let outputs: Vec<_> = (1..6).map(|second| samples::bash_output(second, &runs, 0, None)).collect();
    let size = longshore_protocol::nulls::to_vec(&outputs[0]).unwrap().len() as u64;
    // As much as three outputs and a half, in two scopes.
    let keep = longshore_protocol::nulls::to_vec(&BashEvent::from(runs.clone())).unwrap().len() as u64 + size * 7 / 2;
    for (number, output) in outputs.iter().enumerate() {
        let scope = if number % 2 == 0 { At::Conversation(id) } else { At::Own };
        store.append_bash(&ann, scope, vec![output.clone()], keep).await.unwrap();
    }
    let mut left = store.find_bash(&ann, At::Conversation(id), all()).await.unwrap().items;
    assert_eq!(left, [outputs[2].clone(), outputs[4].clone()]);
    left = store.find_bash(&ann, At::Own, all()).await.unwrap().items;
    assert_eq!(left, [runs.clone().into(), outputs[3].clone()]);
    assert_eq!(store.find_bash(&bob, At::Own, all()).await.unwrap().items.len(), 1);
    // What is removed makes room, too.
    store.clear_bash(&ann, At::Own).await.unwrap();
    let late = samples::bash_output(7, &runs, 0, None);
    store.append_bash(&ann, At::Own, vec![late.clone()], keep).await.unwrap();
    assert_eq!(store.find_bash(&ann, At::Conversation(id), all()).await.unwrap().items.len(), 2);
    store.append_bash(&ann, At::Own, Vec::new(), 0).await.unwrap();
    assert_eq!(store.find_bash(&ann, At::Conversation(id), all()).await.unwrap().items, []);
}
