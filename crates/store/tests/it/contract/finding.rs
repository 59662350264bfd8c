use std::sync::Arc;

use longshore_protocol::{
    Content, ConversationId, Message, Role, Source, TextContent,
    event::{MessageEvent, PauseEvent},
};
use longshore_store::{EventFilter, EventQuery, NewEvent, Store};

use crate::samples;

async fn with_events(store: &Arc<dyn Store>, events: &[NewEvent]) -> (ConversationId, Vec<String>) {
    let new = samples::conversation(&samples::owner("ann"));
    store.create_conversation(new.clone()).await.unwrap();
    store.commit(new.id, samples::commit(0, events.to_vec())).await.unwrap();
    (new.id, events.iter().map(|event| event.event.id.clone()).collect())
}

/// The ids that pages of `limit` have one after the other.
async fn found(store: &Arc<dyn Store>, id: ConversationId, mut query: EventQuery) -> Vec<String> {
    let mut found = Vec::new();
    loop {
        let page = store.find_events(id, query.clone()).await.unwrap();
        assert!(page.items.len() <= query.limit);
        found.extend(page.items.iter().map(|event| event.id.clone()));
        match page.next {
            Some(next) => query.from = Some(next),
            None => return found,
        }
    }
}

pub(crate) async fn pages_join(store: Arc<dyn Store>) {
    let events: Vec<_> = (0..10).map(samples::pause).collect();
    let (id, mut ids) = with_events(&store, &events).await;
    for limit in [1, 3, 5, 10, 11] {
        let query = EventQuery { limit, ..Default::default() };
        assert_eq!(found(&store, id, query.clone()).await, ids);
        let from = EventQuery { from: Some(ids[4].clone()), ..query.clone() };
        assert_eq!(found(&store, id, from).await, ids[4..]);
        let unknown = EventQuery { from: Some("unknown".to_owned()), ..query };
        assert_eq!(found(&store, id, unknown).await, ids);
    }
    ids.reverse();
    let backwards = EventQuery { descending: true, limit: 3, ..Default::default() };
    assert_eq!(found(&store, id, backwards.clone()).await, ids);
    assert_eq!(found(&store, id, EventQuery { from: Some(ids[4].clone()), ..backwards }).await, ids[4..]);

    let exact = store.find_events(id, EventQuery { limit: 10, ..Default::default() }).await.unwrap();
    assert_eq!(exact.next, None);
    let nothing = store.find_events(id, EventQuery::default()).await.unwrap();
    assert_eq!((nothing.items.len(), nothing.next.as_ref()), (0, ids.last()));
    assert_eq!(found(&store, samples::id(), EventQuery { limit: 3, ..Default::default() }).await, [""; 0]);
}

pub(crate) async fn every_filter_counts_and_finds(store: Arc<dyn Store>) {
    let events: Vec<_> = (0..12)
        .map(|number| match number % 3 {
            0 => samples::message(number, "Hello"),
            1 => samples::event(number, Source::User, PauseEvent {}),
            _ => samples::event(number, Source::Agent, PauseEvent {}),
        })
        .collect();
    let (id, ids) = with_events(&store, &events).await;
    let time = |index: usize| Some(events[index].event.timestamp.to_string());
    let none = EventFilter::default;
    for (filter, expected) in [
        (none(), (0..12).collect::<Vec<_>>()),
        (EventFilter { kind: Some("MessageEvent".to_owned()), ..none() }, vec![0, 3, 6, 9]),
        (EventFilter { kind: Some("Nonsense".to_owned()), ..none() }, vec![]),
        (EventFilter { source: Some(Source::Agent), ..none() }, vec![2, 5, 8, 11]),
        (EventFilter { source: Some(Source::Hook), ..none() }, vec![]),
        (EventFilter { since: time(9), ..none() }, vec![9, 10, 11]),
        (EventFilter { before: time(2), ..none() }, vec![0, 1]),
        (EventFilter { since: time(3), before: time(5), ..none() }, vec![3, 4]),
        (EventFilter { text: Some("hello".to_owned()), since: time(1), ..none() }, vec![3, 6, 9]),
        (
            EventFilter {
                kind: Some("PauseEvent".to_owned()),
                source: Some(Source::User),
                since: time(2),
                before: time(8),
                text: None,
            },
            vec![4, 7],
        ),
        (EventFilter { kind: Some("PauseEvent".to_owned()), text: Some("hello".to_owned()), ..none() }, vec![]),
    ] {
        let mut expected: Vec<_> = expected.into_iter().map(|index: usize| ids[index].clone()).collect();
        assert_eq!(store.count_events(id, filter.clone()).await.unwrap(), expected.len() as u64, "{filter:?}");
        for limit in [1, 2, 20] {
            let query = EventQuery { filter: filter.clone(), limit, ..Default::default() };
            assert_eq!(found(&store, id, query).await, expected, "{filter:?}");
        }
        expected.reverse();
        let query = EventQuery { filter: filter.clone(), limit: 2, descending: true, ..Default::default() };
        assert_eq!(found(&store, id, query).await, expected, "{filter:?}");
    }
}

pub(crate) async fn text_is_found_in_messages_only(store: Arc<dyn Store>) {
    let message = |change: &dyn Fn(&mut MessageEvent)| {
        let mut event = MessageEvent::new(Message::new(Role::Assistant, vec![Content::text("nothing")]));
        change(&mut event);
        samples::event(0, Source::Agent, event)
    };
    let needle = "Überraschung \"quoted\"";
    let events = [
        message(&|event| event.llm_message.content.push(Content::text(format!("first\n{needle} last")))),
        message(&|event| event.llm_message.reasoning_content = Some(needle.to_owned())),
        message(&|event| event.extended_content.push(TextContent::new(needle))),
        message(&|event| event.sender = Some(needle.to_owned())),
        samples::event(
            0,
            Source::Agent,
            longshore_protocol::event::ConversationErrorEvent {
                code: "x".to_owned(),
                detail: needle.to_owned(),
                classification: None,
            },
        ),
    ];
    let (id, ids) = with_events(&store, &events).await;
    for text in [needle, "überraschung \"QUOTED", "RASCHUNG"] {
        let filter = EventFilter { text: Some(text.to_owned()), ..Default::default() };
        assert_eq!(store.count_events(id, filter.clone()).await.unwrap(), 3);
        assert_eq!(found(&store, id, EventQuery { filter, limit: 2, ..Default::default() }).await, ids[..3]);
    }
    let filter = EventFilter { text: Some("%".to_owned()), ..Default::default() };
    assert_eq!(store.count_events(id, filter).await.unwrap(), 0, "no wildcards");
}
