use std::sync::Arc;

use longshore_protocol::{ConversationId, UtcTime};
use longshore_store::{Commit, Error, Store};
use serde_json::json;

use crate::samples;

pub(crate) async fn what_is_done_is_counted(store: Arc<dyn Store>) {
    let before = store.vitals();
    store.set_setting(&samples::owner("ann"), "a", Some(json!(1))).await.unwrap();
    let none = ConversationId(uuid::Uuid::new_v4());
    store.commit(none, Commit::new(0, UtcTime(jiff::Timestamp::now()))).await.unwrap_err();
    let after = store.vitals();
    assert_eq!(after.writes, before.writes + 2);
    assert_eq!(after.latency.classes.iter().sum::<u64>(), after.writes);
    assert!(after.latency.total > before.latency.total);
    assert_eq!(after.errors, 0, "a wish that cannot be granted is no failure of the store");
    let space = store.space().unwrap();
    assert!(space.database + space.log > 0 && space.free <= space.disk, "{space:?}");
}

pub(crate) async fn a_closed_store_is_not_well(store: Arc<dyn Store>) {
    store.probe().await.unwrap();
    store.close().await;
    assert!(matches!(store.probe().await, Err(Error::Closed)));
}
