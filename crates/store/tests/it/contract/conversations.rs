use std::sync::Arc;

use indexmap::IndexMap;
use longshore_protocol::{ConversationId, conversation::ExecutionStatus};
use longshore_store::{
    At, BashQuery, Conversation, ConversationOrder, ConversationQuery, Created, Error, EventFilter, NewConversation,
    Owner, Store,
};
use tokio::task::JoinSet;

use crate::samples;

pub(crate) async fn a_conversation_comes_back_as_it_was(store: Arc<dyn Store>) {
    let owner = samples::owner("ann");
    let new = samples::conversation(&owner);
    assert_eq!(store.create_conversation(new.clone()).await.unwrap(), Created::New);
    let read = store.conversation(&owner, new.id).await.unwrap().unwrap();
    assert_eq!(read, as_stored(&new));
    assert_eq!(read.definition.agent.llm.timeout, None, "a null that is not the default");
    assert_eq!(store.conversation(&owner, samples::id()).await.unwrap(), None);
    let changed = NewConversation { tags: IndexMap::new(), ..new.clone() };
    assert_eq!(store.create_conversation(changed).await.unwrap(), Created::Existing(Box::new(read)));
}

fn as_stored(new: &NewConversation) -> Conversation {
    let new = new.clone();
    Conversation {
        id: new.id,
        owner: new.owner,
        created_at: new.created_at,
        updated_at: new.created_at,
        parent: new.parent,
        title: None,
        definition: new.definition,
        progress: new.progress,
        tags: new.tags,
        secrets: new.secrets,
        tail: 0,
    }
}

pub(crate) async fn one_of_many_creators_wins(store: Arc<dyn Store>) {
    let owner = samples::owner("ann");
    let new = samples::conversation(&owner);
    let mut creators = JoinSet::new();
    for _ in 0..32 {
        let (store, new) = (Arc::clone(&store), new.clone());
        creators.spawn(async move { store.create_conversation(new).await.unwrap() });
    }
    let results = creators.join_all().await;
    assert_eq!(results.iter().filter(|created| **created == Created::New).count(), 1);
    let existing = Created::Existing(Box::new(as_stored(&new)));
    assert_eq!(results.iter().filter(|created| **created == existing).count(), 31);
    assert_eq!(store.count_conversations(&owner, None, None).await.unwrap(), 1);
}

pub(crate) async fn owners_do_not_meet(store: Arc<dyn Store>) {
    let (ann, bob) = (samples::owner("ann"), samples::owner("bob"));
    let parent = samples::id();
    let new = NewConversation { parent: Some(parent), ..samples::conversation(&ann) };
    let id = new.id;
    store.create_conversation(new.clone()).await.unwrap();
    store.append_bash(&ann, At::Conversation(id), vec![samples::bash_command(0).into()], u64::MAX).await.unwrap();
    store.append_bash(&ann, At::Own, vec![samples::bash_command(0).into()], u64::MAX).await.unwrap();
    store.set_setting(&ann, "theme", Some("dark".into())).await.unwrap();
    store.set_secret(&ann, "KEY", Some(samples::secret("x"))).await.unwrap();

    assert_eq!(store.create_conversation(NewConversation { owner: bob.clone(), ..new }).await.unwrap(), Created::Taken);
    assert_eq!(store.conversation(&bob, id).await.unwrap(), None);
    assert_eq!(list(&store, &bob, ConversationQuery::default()).await, []);
    assert_eq!(list(&store, &bob, ConversationQuery { from: Some(id), ..Default::default() }).await, []);
    assert_eq!(store.count_conversations(&bob, None, None).await.unwrap(), 0);
    assert_eq!(store.count_conversations(&bob, Some(ExecutionStatus::Idle), None).await.unwrap(), 0);
    assert_eq!(store.children(&bob, parent).await.unwrap(), []);
    let all = BashQuery { limit: 10, ..Default::default() };
    assert_eq!(store.find_bash(&bob, At::Own, all.clone()).await.unwrap().items, []);
    assert_eq!(store.clear_bash(&bob, At::Own).await.unwrap(), 0);
    let refused = [
        store.find_bash(&bob, At::Conversation(id), all.clone()).await.map(|_| ()),
        store.append_bash(&bob, At::Conversation(id), vec![samples::bash_command(0).into()], u64::MAX).await,
        store.clear_bash(&bob, At::Conversation(id)).await.map(|_| ()),
    ];
    for result in refused {
        assert!(matches!(result, Err(Error::NoSuchConversation(missing)) if missing == id), "{result:?}");
    }
    assert_eq!(store.setting(&bob, "theme").await.unwrap(), None);
    assert!(store.secrets(&bob).await.unwrap().is_empty());
    assert!(!store.set_secret(&bob, "KEY", None).await.unwrap());
    store.set_setting(&bob, "theme", None).await.unwrap();
    assert!(!store.delete_conversation(&bob, id).await.unwrap());

    assert!(store.conversation(&ann, id).await.unwrap().is_some());
    assert_eq!(store.children(&ann, parent).await.unwrap(), [id]);
    assert_eq!(store.find_bash(&ann, At::Conversation(id), all.clone()).await.unwrap().items.len(), 1);
    assert_eq!(store.find_bash(&ann, At::Own, all).await.unwrap().items.len(), 1);
    assert_eq!(store.setting(&ann, "theme").await.unwrap(), Some("dark".into()));
    assert_eq!(store.secrets(&ann).await.unwrap().len(), 1);
}

pub(crate) async fn lists_are_ordered_and_paged(store: Arc<dyn Store>) {
    use ConversationOrder::{Created, CreatedDescending, Updated, UpdatedDescending};
    let owner = samples::owner("ann");
    // Two of each time, so that ties are between ids; changed in the opposite order.
    let mut made = Vec::new();
    for number in 0..8 {
        let new = NewConversation { created_at: samples::time(number / 2), ..samples::conversation(&owner) };
        made.push((number / 2, new.id));
        store.create_conversation(new).await.unwrap();
    }
    for (created, id) in &made {
        let mut commit = samples::commit(0, Vec::new());
        commit.at = samples::time(100 - created);
        store.commit(*id, commit).await.unwrap();
    }
    store.create_conversation(samples::conversation(&samples::owner("bob"))).await.unwrap();

    let mut by_creation = made.clone();
    by_creation.sort_unstable();
    let mut by_change = made.clone();
    by_change.sort_unstable_by_key(|(created, id)| (-created, *id));
    for (order, expected, backwards) in [
        (Created, &by_creation, false),
        (CreatedDescending, &by_creation, true),
        (Updated, &by_change, false),
        (UpdatedDescending, &by_change, true),
    ] {
        let mut expected: Vec<_> = expected.iter().map(|(_, id)| *id).collect();
        if backwards {
            expected.reverse();
        }
        let mut found = Vec::new();
        let mut from = None;
        loop {
            let query = ConversationQuery { order, from, limit: 3, ..Default::default() };
            let page = store.find_conversations(&owner, query).await.unwrap();
            assert!(page.items.len() <= 3);
            found.extend(page.items.iter().map(|item| item.id));
            let Some(next) = page.next else { break };
            assert_eq!(next.len(), 32, "without dashes");
            from = Some(next.parse().unwrap());
        }
        assert_eq!(found, expected, "{order:?}");

        let unknown = ConversationQuery { order, from: Some(samples::id()), limit: 20, ..Default::default() };
        assert_eq!(list(&store, &owner, unknown).await, expected);
    }
}

pub(crate) async fn lists_filter(store: Arc<dyn Store>) {
    let owner = samples::owner("ann");
    let mut ids = Vec::new();
    for number in 0..4 {
        let new = NewConversation { created_at: samples::time(number), ..samples::conversation(&owner) };
        ids.push(new.id);
        store.create_conversation(new).await.unwrap();
    }
    let mut commit = samples::commit(0, Vec::new());
    commit.progress = Some(samples::progress(ExecutionStatus::Finished));
    store.commit(ids[1], commit.clone()).await.unwrap();
    store.commit(ids[3], commit).await.unwrap();

    let base = ConversationQuery { order: ConversationOrder::Created, limit: 10, ..Default::default() };
    let finished = ConversationQuery { status: Some(ExecutionStatus::Finished), ..base.clone() };
    assert_eq!(list(&store, &owner, finished.clone()).await, [ids[1], ids[3]]);
    assert_eq!(list(&store, &owner, ConversationQuery { from: Some(ids[2]), ..finished.clone() }).await, [ids[3]]);
}

pub(crate) async fn children_and_running_ones_are_found(store: Arc<dyn Store>) {
    let (ann, bob) = (samples::owner("ann"), samples::owner("bob"));
    let parent = samples::id();
    let mut made = Vec::new();
    for (number, owner) in [&ann, &bob, &ann].into_iter().enumerate() {
        let new = NewConversation {
            parent: Some(parent),
            created_at: samples::time(i64::try_from(number).unwrap()),
            ..samples::conversation(owner)
        };
        made.push((owner.clone(), new.id));
        store.create_conversation(new).await.unwrap();
    }
    assert_eq!(store.children(&ann, parent).await.unwrap(), [made[0].1, made[2].1]);
    assert_eq!(store.children(&ann, made[0].1).await.unwrap(), []);

    assert_eq!(store.interrupted().await.unwrap(), []);
    let mut commit = samples::commit(0, Vec::new());
    commit.progress = Some(samples::progress(ExecutionStatus::Running));
    for (_, id) in &made[..2] {
        store.commit(*id, commit.clone()).await.unwrap();
    }
    assert_eq!(store.interrupted().await.unwrap(), made[..2]);
    commit.progress = Some(samples::progress(ExecutionStatus::Error));
    store.commit(made[0].1, commit).await.unwrap();
    assert_eq!(store.interrupted().await.unwrap(), made[1..2]);
}

pub(crate) async fn deletion_takes_everything(store: Arc<dyn Store>) {
    let owner = samples::owner("ann");
    let new = samples::conversation(&owner);
    let id = new.id;
    store.create_conversation(new.clone()).await.unwrap();
    let mut commit = samples::commit(0, vec![samples::pause(0)]);
    commit.calls = vec![samples::call("agent", 1)];
    store.commit(id, commit).await.unwrap();
    store.append_bash(&owner, At::Conversation(id), vec![samples::bash_command(0).into()], u64::MAX).await.unwrap();

    assert!(store.delete_conversation(&owner, id).await.unwrap());
    assert!(!store.delete_conversation(&owner, id).await.unwrap());
    assert_eq!(store.conversation(&owner, id).await.unwrap(), None);
    assert_eq!(store.events(id, 0, 10).await.unwrap(), []);
    assert_eq!(store.count_events(id, EventFilter::default()).await.unwrap(), 0);
    assert_eq!(store.calls(&[id]).await.unwrap(), [[]]);
    assert_eq!(store.unfinished_bash().await.unwrap(), []);

    assert_eq!(store.create_conversation(new).await.unwrap(), Created::New);
    assert_eq!(store.events(id, 0, 10).await.unwrap(), []);
    assert_eq!(store.calls(&[id]).await.unwrap(), [[]]);
}

pub(crate) async fn changes_are_kept(store: Arc<dyn Store>) {
    let owner = samples::owner("ann");
    let new = samples::conversation(&owner);
    let mut expected = as_stored(&new);
    store.create_conversation(new.clone()).await.unwrap();

    let mut commit = samples::commit(0, Vec::new());
    commit.at = samples::time(50);
    commit.title = Some("A title".to_owned());
    store.commit(new.id, commit).await.unwrap();
    (expected.updated_at, expected.title) = (samples::time(50), Some("A title".to_owned()));
    assert_eq!(store.conversation(&owner, new.id).await.unwrap().unwrap(), expected);

    expected.definition.agent.llm.api_key = None;
    expected.definition.max_iterations = 99;
    expected.progress = samples::progress(ExecutionStatus::Paused);
    expected.tags = IndexMap::from([("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())]);
    expected.secrets = IndexMap::new();
    let mut commit = samples::commit(0, vec![samples::pause(0)]);
    commit.at = expected.updated_at;
    commit.definition = Some(expected.definition.clone());
    commit.progress = Some(expected.progress.clone());
    commit.tags = Some(expected.tags.clone());
    commit.secrets = Some(expected.secrets.clone());
    expected.tail = store.commit(new.id, commit).await.unwrap();
    assert_eq!(expected.tail, 1);
    assert_eq!(store.conversation(&owner, new.id).await.unwrap().unwrap(), expected);
}

async fn list(store: &Arc<dyn Store>, owner: &Owner, query: ConversationQuery) -> Vec<ConversationId> {
    let query = ConversationQuery { limit: query.limit.max(1), ..query };
    store.find_conversations(owner, query).await.unwrap().items.iter().map(|item| item.id).collect()
}
