//! What users spent on models.

use std::sync::Arc;

use jiff::civil::{Date, date};
use longshore_protocol::{ConversationId, metrics::Call};
use longshore_store::{
    Commit, Error, NewConversation, Owner, Store, UsageBy, UsageQuery, UsageRow, UsageTotals, day_of,
};

use crate::samples;

/// The day of [`samples::call`].
const DAY: Date = date(2025, 11, 20);

const SECONDS_OF_DAY: f64 = 86_400.0;

async fn conversation(store: &Arc<dyn Store>, owner: &Owner) -> ConversationId {
    let new = samples::conversation(owner);
    let id = new.id;
    store.create_conversation(new).await.unwrap();
    id
}

async fn spend(store: &Arc<dyn Store>, id: ConversationId, tail: u64, calls: Vec<Call>) -> Result<u64, Error> {
    store.commit(id, Commit { calls, ..samples::commit(tail, Vec::new()) }).await
}

/// A call of a model, so many days after [`DAY`].
fn call(model: &str, days: u32, prompt_tokens: u64, cost: f64) -> Call {
    let mut call = samples::call("agent", prompt_tokens);
    model.clone_into(&mut call.usage.model);
    call.timestamp += f64::from(days) * SECONDS_OF_DAY;
    call.cost = cost;
    call
}

fn by(by: UsageBy) -> UsageQuery {
    UsageQuery { owner: None, since: None, until: None, by, from: None, limit: 100 }
}

/// Keys, calls, tokens and cost.
fn short(rows: &[UsageRow]) -> Vec<(&str, u64, u64, f64)> {
    rows.iter().map(|row| (row.key.as_str(), row.totals.calls, row.totals.tokens(), row.totals.cost)).collect()
}

pub(crate) async fn calls_are_summed_by_day_model_and_owner(store: Arc<dyn Store>) {
    let (ann, bob) = (samples::owner("ann"), samples::owner("bob"));
    let (first, second) = (conversation(&store, &ann).await, conversation(&store, &ann).await);
    let of_bob = conversation(&store, &bob).await;
    spend(&store, first, 0, vec![call("a", 0, 10, 0.5), call("b", 0, 20, 0.25)]).await.unwrap();
    spend(&store, second, 0, vec![call("a", 1, 30, 1.0)]).await.unwrap();
    spend(&store, of_bob, 0, vec![call("a", 0, 1000, 8.0)]).await.unwrap();
    store.charge(&ann, call("a", 0, 5, 0.125)).await.unwrap();

    assert_eq!(day_of(&call("a", 0, 0, 0.0)), DAY);
    let spent = store.spent(&ann, DAY).await.unwrap();
    let expected = UsageTotals {
        calls: 3,
        prompt_tokens: 35,
        completion_tokens: 6,
        cache_read_tokens: 9,
        cache_write_tokens: 12,
        reasoning_tokens: 15,
        cost: 0.875,
    };
    assert_eq!(spent.day, expected);
    assert_eq!((spent.all.calls, spent.all.tokens(), spent.all.cost), (4, 73, 1.875));
    assert_eq!(store.spent(&samples::owner("eve"), DAY).await.unwrap(), longshore_store::Spent::default());

    let of_ann = UsageQuery { owner: Some(ann.clone()), ..by(UsageBy::Day) };
    let days = store.usage(of_ann.clone()).await.unwrap();
    assert_eq!(short(&days.items), [("2025-11-20", 3, 41, 0.875), ("2025-11-21", 1, 32, 1.0)]);
    let models = store.usage(UsageQuery { by: UsageBy::Model, ..of_ann.clone() }).await.unwrap();
    assert_eq!(short(&models.items), [("a", 3, 51, 1.625), ("b", 1, 22, 0.25)]);
    let later = store.usage(UsageQuery { since: Some(date(2025, 11, 21)), ..of_ann.clone() }).await.unwrap();
    assert_eq!(short(&later.items), [("2025-11-21", 1, 32, 1.0)]);
    let until = store.usage(UsageQuery { until: Some(DAY), by: UsageBy::Owner, ..of_ann }).await.unwrap();
    assert_eq!(short(&until.items), [("ann", 3, 41, 0.875)]);

    let page = store.usage(UsageQuery { limit: 1, ..by(UsageBy::Owner) }).await.unwrap();
    assert_eq!((short(&page.items), page.next.as_deref()), (vec![("ann", 4, 73, 1.875)], Some("bob")));
    let rest = store.usage(UsageQuery { from: page.next, limit: 1, ..by(UsageBy::Owner) }).await.unwrap();
    assert_eq!((short(&rest.items), rest.next), (vec![("bob", 1, 1002, 8.0)], None));
}

pub(crate) async fn a_refused_commit_spends_nothing(store: Arc<dyn Store>) {
    let ann = samples::owner("ann");
    let id = conversation(&store, &ann).await;
    let refused = spend(&store, id, 7, vec![call("a", 0, 10, 0.5)]).await;
    assert!(matches!(refused, Err(Error::Conflict { .. })), "{refused:?}");
    assert_eq!(store.spent(&ann, DAY).await.unwrap().all.calls, 0);
    assert!(store.usage_by_conversation(&ann, None, None, 10).await.unwrap().items.is_empty());
}

pub(crate) async fn what_was_spent_outlives_the_conversation(store: Arc<dyn Store>) {
    let ann = samples::owner("ann");
    let id = conversation(&store, &ann).await;
    spend(&store, id, 0, vec![call("a", 0, 10, 0.5)]).await.unwrap();
    let before = store.spent(&ann, DAY).await.unwrap();
    assert!(store.delete_conversation(&ann, id).await.unwrap());
    assert_eq!(store.spent(&ann, DAY).await.unwrap(), before);
    assert!(store.usage_by_conversation(&ann, None, None, 10).await.unwrap().items.is_empty());
}

pub(crate) async fn conversations_are_listed_by_cost(store: Arc<dyn Store>) {
    let (ann, bob) = (samples::owner("ann"), samples::owner("bob"));
    let mut ids = Vec::new();
    for (tokens, cost) in [(10, 0.5), (30, 2.0), (20, 2.0), (40, 0.0)] {
        let id = conversation(&store, &ann).await;
        spend(&store, id, 0, vec![call("a", 0, tokens, cost / 2.0), call("b", 3, 0, cost / 2.0)]).await.unwrap();
        ids.push(id);
    }
    conversation(&store, &ann).await;
    let of_bob = conversation(&store, &bob).await;
    spend(&store, of_bob, 0, vec![call("a", 0, 1, 9.0)]).await.unwrap();

    let expected = [ids[1], ids[2], ids[0], ids[3]];
    let mut seen = Vec::new();
    let mut from = None;
    loop {
        let page = store.usage_by_conversation(&ann, None, from, 3).await.unwrap();
        seen.extend(page.items);
        from = page.next.map(|id| id.parse().unwrap());
        if from.is_none() {
            break;
        }
    }
    assert_eq!(seen.iter().map(|usage| usage.id).collect::<Vec<_>>(), expected);
    assert_eq!((seen[0].totals.calls, seen[0].totals.tokens(), seen[0].totals.cost), (2, 34, 2.0));
    let elsewhere = Some(uuid::Uuid::from_u128(7));
    let new = NewConversation { workspace: elsewhere, ..samples::conversation(&ann) };
    let apart = new.id;
    store.create_conversation(new).await.unwrap();
    spend(&store, apart, 0, vec![call("a", 0, 1, 0.0)]).await.unwrap();
    let bound = store.usage_by_conversation(&ann, elsewhere, None, 9).await.unwrap();
    assert_eq!(bound.items.iter().map(|usage| usage.id).collect::<Vec<_>>(), [apart]);
    let first = store.usage_by_conversation(&ann, None, Some(of_bob), 1).await.unwrap();
    assert_eq!(first.items[0].id, ids[1], "what is another's is not there");
}

pub(crate) async fn absurd_counts_do_no_harm(store: Arc<dyn Store>) {
    let ann = samples::owner("ann");
    let id = conversation(&store, &ann).await;
    let mut absurd = call(&"m".repeat(100_000), 0, u64::MAX, f64::INFINITY);
    absurd.usage.completion_tokens = u64::MAX;
    let mut later = absurd.clone();
    later.timestamp = f64::MAX;
    later.cost = f64::MAX;
    for tail in 0..20 {
        spend(&store, id, 0, vec![absurd.clone(), later.clone()])
            .await
            .unwrap_or_else(|error| panic!("{tail}: {error}"));
    }
    spend(&store, id, 0, vec![call("a", 0, 1, -5.0)]).await.unwrap();
    let spent = store.spent(&ann, DAY).await.unwrap();
    assert_eq!(spent.all.calls, 41);
    assert!(spent.all.tokens() > 1_000_000_000 && spent.all.cost.is_finite() && spent.day.cost >= 0.0);
    assert_eq!(store.usage_by_conversation(&ann, None, None, 9).await.unwrap().items[0].totals.calls, 41);
    let models = store.usage(by(UsageBy::Model)).await.unwrap();
    assert!(models.items.iter().all(|row| row.key.len() <= 200));
}

pub(crate) async fn many_models_become_others(store: Arc<dyn Store>) {
    let ann = samples::owner("ann");
    let id = conversation(&store, &ann).await;
    let calls = (0..150).map(|number| call(&format!("m{number}"), 0, 1, 0.0)).collect();
    spend(&store, id, 0, calls).await.unwrap();
    spend(&store, id, 0, vec![call("m0", 0, 1, 0.0)]).await.unwrap();
    let models = store.usage(UsageQuery { limit: 1000, ..by(UsageBy::Model) }).await.unwrap();
    assert_eq!(models.items.len(), 101);
    let calls = |key: &str| models.items.iter().find(|row| row.key == key).map(|row| row.totals.calls);
    assert_eq!((calls("m0"), calls("others")), (Some(2), Some(50)));
    assert_eq!(store.spent(&ann, DAY).await.unwrap().all.calls, 151);
}

pub(crate) async fn parallel_calls_are_all_counted(store: Arc<dyn Store>) {
    let ann = samples::owner("ann");
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (store, ann) = (Arc::clone(&store), ann.clone());
        writers.spawn(async move {
            let id = conversation(&store, &ann).await;
            for _ in 0..10 {
                spend(&store, id, 0, vec![call("a", 0, 3, 0.25)]).await.unwrap();
                store.charge(&ann, call("b", 0, 3, 0.25)).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    let all = store.spent(&ann, DAY).await.unwrap().all;
    assert_eq!((all.calls, all.tokens(), all.cost), (400, 2000, 100.0));
}
