use std::sync::Arc;

use longshore_store::{Error, Store};
use serde_json::json;

use crate::samples;

pub(crate) async fn settings_are_kept(store: Arc<dyn Store>) {
    let owner = samples::owner("ann");
    assert_eq!(store.setting(&owner, "llm").await.unwrap(), None);
    let value = json!({"b": null, "a": [1, "x"], "api_key": samples::API_KEY, "headers": {"X": "", "n": 1.5}});
    store.set_setting(&owner, "llm", Some(value.clone())).await.unwrap();
    store.set_setting(&owner, "other", Some(json!("text"))).await.unwrap();
    assert_eq!(store.setting(&owner, "llm").await.unwrap(), Some(value));
    store.set_setting(&owner, "llm", Some(json!(null))).await.unwrap();
    assert_eq!(store.setting(&owner, "llm").await.unwrap(), Some(json!(null)));
    store.set_setting(&owner, "llm", None).await.unwrap();
    store.set_setting(&owner, "llm", None).await.unwrap();
    assert_eq!(store.setting(&owner, "llm").await.unwrap(), None);
    assert_eq!(store.setting(&owner, "other").await.unwrap(), Some(json!("text")));
}

pub(crate) async fn secrets_are_kept(store: Arc<dyn Store>) {
    let owner = samples::owner("ann");
    assert!(!store.set_secret(&owner, "B", Some(samples::secret("1"))).await.unwrap());
    assert!(store.set_secret(&owner, "B", Some(samples::secret("2"))).await.unwrap());
    let lookup = json!({
        "kind": "LookupSecret", "url": "https://example.com", "headers": {"Authorization": "Bearer x", "Accept": "y"},
    });
    let lookup = serde_json::from_value(lookup).unwrap();
    assert!(!store.set_secret(&owner, "A", Some(lookup)).await.unwrap());
    let secrets = store.secrets(&owner).await.unwrap();
    assert_eq!(secrets.keys().collect::<Vec<_>>(), ["A", "B"]);
    assert_eq!(secrets["B"], samples::secret("2"));
    let expected = json!({"Authorization": "Bearer x", "Accept": "y"});
    let read = longshore_protocol::secret::exposed(|| serde_json::to_value(&secrets["A"]).unwrap());
    assert_eq!(read["headers"], expected);
    assert!(store.set_secret(&owner, "B", None).await.unwrap());
    assert!(!store.set_secret(&owner, "B", None).await.unwrap());
    assert_eq!(store.secrets(&owner).await.unwrap().len(), 1);
}

pub(crate) async fn a_closed_store_says_so(store: Arc<dyn Store>) {
    let owner = samples::owner("ann");
    let id = samples::conversation(&owner);
    store.create_conversation(id.clone()).await.unwrap();
    tokio::join!(store.close(), store.close());
    assert!(matches!(store.conversation(&owner, id.id).await, Err(Error::Closed)));
    assert!(matches!(store.commit(id.id, samples::commit(0, Vec::new())).await, Err(Error::Closed)));
    store.close().await;
}
