//! Secret keys: from the operator, from a file, and their change.

use std::{fs, os::unix::fs::PermissionsExt};

use longshore_protocol::{Secret, secret::Cipher};
use longshore_store::{Error, Keys, Sqlite, Store};

use crate::{
    samples::{self, API_KEY},
    sqlite::{Opened, database, keys},
};

fn secret(text: &str) -> Secret {
    Secret::new(text)
}

#[test]
fn blank_texts_and_own_tokens_stay_as_they_are() {
    let keys = keys("first");
    for text in ["", " \n"] {
        assert_eq!(keys.seal(text), text);
        assert_eq!(keys.open(text).unwrap(), text);
    }
    let token = keys.seal("abc");
    assert_eq!(keys.seal(&token), token);
    assert_eq!(keys.open(&token).unwrap(), "abc");
    let foreign = self::keys("other").seal("abc");
    for lookalike in ["gAAAAA", "gAAAAABnot-a-token", &foreign, &token[..token.len() - 4]] {
        let sealed = keys.seal(lookalike);
        assert_ne!(sealed, lookalike);
        assert_eq!(keys.open(&sealed).unwrap(), lookalike);
    }
    for damage in ["abc", "gAAAAA", &foreign, &token[..token.len() - 4]] {
        let error = keys.open(damage).unwrap_err();
        assert!(!error.contains(damage), "{error}");
    }
}

#[test]
fn previous_keys_decrypt_and_the_current_one_encrypts() {
    let old = keys("old").seal("abc");
    let rotated = Keys::new(&secret("new"), &[secret("older"), secret("old")]);
    assert_eq!(rotated.open(&old).unwrap(), "abc");
    let new = rotated.seal("abc");
    assert_eq!(keys("new").open(&new).unwrap(), "abc");
    assert!(keys("old").open(&new).is_err());
    assert_eq!(format!("{rotated:?}"), "Keys");
}

#[test]
fn a_key_file_is_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("new folder");
    let token = Keys::load_or_create(&directory, None, Vec::new()).unwrap().seal("abc");
    let file = directory.join("secret.key");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "nothing is left over");
    for configured in [None, Some(secret(" ")), Some(secret("given"))] {
        let keys = Keys::load_or_create(&directory, configured, vec![secret("")]).unwrap();
        assert_eq!(keys.open(&token).unwrap(), "abc");
    }
    let given = Keys::load_or_create(&directory, Some(secret("given")), Vec::new()).unwrap();
    assert_eq!(keys("given").open(&given.seal("x")).unwrap(), "x", "the given key encrypts");

    for content in ["\n".to_owned(), "x".repeat(5000)] {
        fs::write(&file, content).unwrap();
        let error = Keys::load_or_create(&directory, None, Vec::new()).unwrap_err();
        assert!(matches!(&error, Error::Damaged { what, .. } if *what == file.display().to_string()), "{error:?}");
    }
}

#[test]
fn no_key_file_is_made_if_the_operator_gives_a_key() {
    let folder = tempfile::tempdir().unwrap();
    Keys::load_or_create(folder.path(), Some(secret("given")), Vec::new()).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn all_who_start_at_once_get_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let keys: Vec<Keys> = std::thread::scope(|scope| {
        let starts: Vec<_> =
            (0..8).map(|_| scope.spawn(|| Keys::load_or_create(folder.path(), None, Vec::new()).unwrap())).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    let token = keys[0].seal("abc");
    assert!(keys.iter().all(|keys| keys.open(&token).as_deref() == Ok("abc")));
}

#[tokio::test]
async fn a_new_key_takes_over_and_the_old_one_can_go() {
    let opened = Opened::new();
    let owner = samples::owner("ann");
    let new = samples::conversation(&owner);
    opened.store().create_conversation(new.clone()).await.unwrap();
    let arguments = format!("{{\"key\":\"{API_KEY}\"}}");
    let event = longshore_store::NewEvent { arguments: Some(arguments.clone()), ..samples::pause(0) };
    opened.store().commit(new.id, samples::commit(0, vec![event, samples::pause(1)])).await.unwrap();
    let setting = serde_json::json!({"api_key": API_KEY, "list": [{"token": "t"}, 1]});
    opened.store().set_setting(&owner, "llm", Some(setting.clone())).await.unwrap();
    opened.store().set_secret(&owner, "KEY", Some(samples::secret("s"))).await.unwrap();
    let before = opened.store().conversation(&owner, new.id).await.unwrap();
    let folder = opened.close().await;
    let path = database(&folder);

    let error = Sqlite::open(&path, keys("second")).unwrap_err();
    assert!(matches!(&error, Error::WrongKey(file) if *file == path), "{error:?}");

    for keys in [Keys::new(&secret("second"), &[secret("first")]), keys("second")] {
        let store = Sqlite::open(&path, keys).unwrap();
        assert_eq!(store.conversation(&owner, new.id).await.unwrap(), before);
        let events = store.events(new.id, 0, 9).await.unwrap();
        assert_eq!(events[0].arguments.as_deref(), Some(&*arguments));
        assert_eq!(store.setting(&owner, "llm").await.unwrap(), Some(setting.clone()));
        assert_eq!(store.secrets(&owner).await.unwrap()["KEY"], samples::secret("s"));
    }
    assert!(matches!(Sqlite::open(&path, keys("first")), Err(Error::WrongKey(_))));
}
