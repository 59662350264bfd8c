use std::sync::Arc;

use longshore_store::{AuditEntry, AuditHash, AuditQuery, MAX_AUDIT_DETAILS, MAX_AUDIT_TEXT, Seq, Store};
use serde_json::json;

use crate::samples;

/// Appends one record a second: ann creates and runs in turn, bob deletes every third.
async fn fill(store: &dyn Store, count: i64) {
    let entry = |second: i64| match second % 3 {
        0 => samples::audit(second, "bob", "conversation.delete"),
        1 => samples::audit(second, "ann", "conversation.create"),
        _ => samples::audit(second, "ann", "conversation.run"),
    };
    store.append_audit((1..=count).map(entry).collect()).await.unwrap();
}

async fn found(store: &dyn Store, query: AuditQuery) -> Vec<Seq> {
    let limit = if query.limit == 0 { 100 } else { query.limit };
    let records = store.find_audit(AuditQuery { limit, ..query }).await.unwrap();
    records.into_iter().map(|record| record.seq).collect()
}

async fn is_whole(store: &dyn Store) -> bool {
    store.verify_audit(1, &|_, _| {}).await.unwrap().problem.is_none()
}

pub(crate) async fn records_come_back_as_they_were(store: Arc<dyn Store>) {
    assert_eq!(store.audit_head().await.unwrap().seq, 0);
    assert!(is_whole(&*store).await);
    let entries = [samples::audit(1, "ann", "a.b"), AuditEntry::new(samples::time(2), "c.d")];
    let head = store.append_audit(entries.to_vec()).await.unwrap();
    assert_eq!((head, head.seq), (store.audit_head().await.unwrap(), 2));
    let records = store.find_audit(AuditQuery { from: Some(1), limit: 9, ..Default::default() }).await.unwrap();
    assert_eq!(records.iter().map(|record| record.entry.clone()).collect::<Vec<_>>(), entries);
    assert_eq!((records[0].previous, records[1].previous), (AuditHash::default(), records[0].hash));
    assert_eq!(records[1].hash, head.hash);
    let verdict = store.verify_audit(1, &|_, _| {}).await.unwrap();
    assert_eq!((verdict.count, verdict.last, verdict.problem, verdict.is_signed), (2, head, None, true));
}

pub(crate) async fn filters_combine(store: Arc<dyn Store>) {
    fill(&*store, 9).await;
    let some = |text: &str| Some(text.to_owned());
    let query = AuditQuery { actor: some("bob"), ..Default::default() };
    assert_eq!(found(&*store, query).await, [9, 6, 3]);
    let query = AuditQuery { action: some("conversation.run"), from: Some(3), ..Default::default() };
    assert_eq!(found(&*store, query).await, [5, 8]);
    let query = AuditQuery { target: some("c4"), ..Default::default() };
    assert_eq!(found(&*store, query).await, [4]);
    let (since, before) = (Some(samples::time(3)), Some(samples::time(6)));
    let query = AuditQuery { actor: some("ann"), since, before, ..Default::default() };
    assert_eq!(found(&*store, query).await, [5, 4]);
    let query = AuditQuery { actor: some("ann"), action: some("conversation.delete"), ..Default::default() };
    assert_eq!(found(&*store, query).await, [0; 0]);
}

pub(crate) async fn both_directions_page(store: Arc<dyn Store>) {
    fill(&*store, 5).await;
    let page = async |from, below| found(&*store, AuditQuery { from, below, limit: 2, ..Default::default() }).await;
    assert_eq!(
        [page(None, None).await, page(None, Some(4)).await, page(None, Some(2)).await],
        [vec![5, 4], vec![3, 2], vec![1]]
    );
    assert_eq!(
        [page(Some(1), None).await, page(Some(3), None).await, page(Some(5), None).await],
        [vec![1, 2], vec![3, 4], vec![5]]
    );
}

pub(crate) async fn concurrent_writers_make_one_chain(store: Arc<dyn Store>) {
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            for number in 0..20 {
                store.append_audit(vec![samples::audit(number, &format!("u{writer}"), "a.b"); 2]).await.unwrap();
            }
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    let verdict = store.verify_audit(1, &|_, _| {}).await.unwrap();
    assert_eq!((verdict.count, verdict.problem), (320, None));
    assert_eq!(verdict.last, store.audit_head().await.unwrap());
}

pub(crate) async fn old_records_go(store: Arc<dyn Store>) {
    fill(&*store, 6).await;
    let now = samples::time(100);
    assert_eq!(store.prune_audit(samples::time(1), now).await.unwrap(), 0);
    assert_eq!(store.prune_audit(samples::time(4), now).await.unwrap(), 3);
    assert_eq!(store.prune_audit(samples::time(4), now).await.unwrap(), 0);
    assert_eq!(found(&*store, AuditQuery::default()).await, [7, 6, 5, 4]);
    assert!(is_whole(&*store).await);
    let checkpoint = &store.find_audit(AuditQuery { limit: 1, ..Default::default() }).await.unwrap()[0];
    assert_eq!(
        (&*checkpoint.entry.action, &checkpoint.entry.details["removed_through"]),
        ("audit.checkpoint", &json!(3))
    );
    // All of it, the former checkpoint included.
    assert_eq!(store.prune_audit(samples::time(1000), samples::time(2000)).await.unwrap(), 4);
    assert_eq!(found(&*store, AuditQuery::default()).await, [8]);
    store.append_audit(vec![samples::audit(2001, "ann", "a.b")]).await.unwrap();
    assert!(is_whole(&*store).await);
}

pub(crate) async fn long_texts_are_cut(store: Arc<dyn Store>) {
    let long = "é".repeat(MAX_AUDIT_TEXT);
    let mut entry = samples::audit(1, &long, &long);
    entry.details.insert("x".to_owned(), json!("x".repeat(MAX_AUDIT_DETAILS)));
    store.append_audit(vec![entry]).await.unwrap();
    let record = store.find_audit(AuditQuery { limit: 1, ..Default::default() }).await.unwrap().remove(0);
    assert_eq!(record.entry.action, "é".repeat(MAX_AUDIT_TEXT / 2));
    assert_eq!(record.entry.actor.unwrap().len(), MAX_AUDIT_TEXT);
    assert!(record.entry.details.contains_key("left_out"));
    assert!(is_whole(&*store).await);
}
