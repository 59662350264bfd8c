//! Damage is named, and the rest can still be read.

use std::{fs, path::Path};

use longshore_store::{ConversationQuery, Error, EventFilter, EventQuery, Store};
use rusqlite::Connection;

use crate::{
    samples,
    sqlite::{Opened, database, open},
};

/// Runs `sql` on the file of a closed store.
fn change(path: &Path, sql: &str) {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(sql).unwrap();
}

#[tokio::test]
async fn a_damaged_event_is_named() {
    let opened = Opened::new();
    let new = samples::conversation(&samples::owner("ann"));
    opened.store().create_conversation(new.clone()).await.unwrap();
    let events: Vec<_> = (0..4).map(|number| samples::message(number, "hello")).collect();
    opened.store().commit(new.id, samples::commit(0, events.clone())).await.unwrap();
    let folder = opened.close().await;
    change(&database(&folder), "UPDATE event SET json = substr(json, 1, 40) WHERE seq = 2");

    let store = open(&database(&folder)).unwrap();
    assert_eq!(store.events(new.id, 0, 2).await.unwrap().len(), 2);
    assert_eq!(store.events(new.id, 3, 2).await.unwrap().len(), 1);
    let text = EventFilter { text: Some("hello".to_owned()), ..Default::default() };
    let errors = [
        store.events(new.id, 0, 4).await.unwrap_err(),
        store.find_events(new.id, EventQuery { limit: 9, ..Default::default() }).await.unwrap_err(),
        store.events_by_id(new.id, &[events[2].event.id.clone()]).await.unwrap_err(),
        store.count_events(new.id, text).await.unwrap_err(),
    ];
    for error in errors {
        let name = format!("event 2 of conversation {}", new.id);
        assert!(matches!(&error, Error::Damaged { what, .. } if *what == name), "{error:?}");
    }
    assert_eq!(store.commit(new.id, samples::commit(4, vec![samples::pause(0)])).await.unwrap(), 5);
}

#[tokio::test]
async fn a_missing_event_is_named() {
    let opened = Opened::new();
    let new = samples::conversation(&samples::owner("ann"));
    opened.store().create_conversation(new.clone()).await.unwrap();
    opened.store().commit(new.id, samples::commit(0, (0..4).map(samples::pause).collect())).await.unwrap();
    let folder = opened.close().await;
    for seq in [3, 1] {
        change(&database(&folder), &format!("DELETE FROM event WHERE seq = {seq}"));
        let store = open(&database(&folder)).unwrap();
        let error = store.events(new.id, 0, 4).await.unwrap_err();
        let name = format!("event {seq} of conversation {}", new.id);
        assert!(matches!(&error, Error::Damaged { what, .. } if *what == name), "{error:?}");
    }
}

#[tokio::test]
async fn a_damaged_conversation_does_not_hide_the_others() {
    let opened = Opened::new();
    let owner = samples::owner("ann");
    let (bad, good) = (samples::conversation(&owner), samples::conversation(&owner));
    opened.store().create_conversation(bad.clone()).await.unwrap();
    opened.store().create_conversation(good.clone()).await.unwrap();
    let folder = opened.close().await;
    let path = database(&folder);
    for sql in [
        "UPDATE definition SET json = '{' WHERE conversation = 1",
        "UPDATE definition SET json = replace(json, 'gAAAAA', 'gAAAAB') WHERE conversation = 1",
        "UPDATE definition SET secrets = '[]' WHERE conversation = 1",
        "DELETE FROM definition WHERE conversation = 1",
    ] {
        change(&path, sql);
        let store = open(&path).unwrap();
        let error = store.conversation(&owner, bad.id).await.unwrap_err();
        assert!(
            matches!(&error, Error::Damaged { what, .. } if what.ends_with(&format!("of conversation {}", bad.id))),
            "{error:?}"
        );
        assert!(store.conversation(&owner, good.id).await.unwrap().is_some());
        let query = ConversationQuery { limit: 9, ..Default::default() };
        assert_eq!(store.find_conversations(&owner, query).await.unwrap().items.len(), 2);
        assert!(store.delete_conversation(&samples::owner("bob"), bad.id).await.is_ok());
    }
}

/// An error must not quote what it could not read.
#[tokio::test]
async fn an_error_about_a_secret_does_not_tell_it() {
    let opened = Opened::new();
    let owner = samples::owner("ann");
    opened.store().set_secret(&owner, "KEY", Some(samples::secret("x"))).await.unwrap();
    let folder = opened.close().await;
    change(&database(&folder), "UPDATE secret SET json = '{\"kind\":\"StaticSecret\",\"value\":\"hunter2\"}'");
    let error = open(&database(&folder)).unwrap().secrets(&owner).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("KEY") && !text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn a_damaged_page_is_reported() {
    const PAGE: usize = 4096;
    let opened = Opened::new();
    let new = samples::conversation(&samples::owner("ann"));
    opened.store().create_conversation(new.clone()).await.unwrap();
    let events = (0..50).map(|number| samples::message(number, &"x".repeat(900))).collect();
    opened.store().commit(new.id, samples::commit(0, events)).await.unwrap();
    let folder = opened.close().await;
    let path = database(&folder);
    let root: u32 = Connection::open(&path)
        .unwrap()
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'event'", [], |row| row.get(0))
        .unwrap();
    let root = root as usize;
    let mut bytes = fs::read(&path).unwrap();
    bytes[(root - 1) * PAGE..root * PAGE].fill(0xa5);
    fs::write(&path, bytes).unwrap();

    let store = open(&path).unwrap();
    let errors = [
        store.events(new.id, 0, 100).await.unwrap_err(),
        store.commit(new.id, samples::commit(50, vec![samples::pause(0)])).await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(&error, Error::Damaged { what, .. } if *what == path.display().to_string()), "{error:?}");
    }
    assert!(!store.check().await.unwrap().is_empty());
    assert!(store.conversation(&samples::owner("ann"), new.id).await.unwrap().is_some(), "the rest is readable");
}

#[tokio::test]
async fn files_that_are_no_database_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("longshore.db");
    let refuse = |content: &[u8]| {
        fs::write(&path, content).unwrap();
        let error = open(&path).unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), content, "the file stays as it is");
        error
    };
    let error = refuse(&b"This is not a database. ".repeat(300));
    assert!(matches!(&error, Error::Foreign { file, .. } if *file == path), "{error:?}");

    let whole = {
        let folder = Opened::new().close().await;
        fs::read(database(&folder)).unwrap()
    };
    let error = refuse(&whole[..whole.len() / 2 + 100]);
    assert!(matches!(&error, Error::Damaged { what, .. } if *what == path.display().to_string()), "{error:?}");
}

#[tokio::test]
async fn a_database_of_another_program_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("longshore.db");
    change(&path, "CREATE TABLE notes (text)");
    let error = open(&path).unwrap_err();
    assert!(matches!(&error, Error::Foreign { file, .. } if *file == path), "{error:?}");
}
