use std::sync::Arc;

use longshore_protocol::{
    Secret,
    account::{ApiKey, Identity, Scope, User, UserName, UserOptions, UserRole},
    sandbox::SandboxOptions,
};
use longshore_store::{Store, UserChange};
use uuid::Uuid;

use crate::samples;

fn name(text: &str) -> UserName {
    text.parse().unwrap()
}

fn user(text: &str) -> User {
    let env = [("TOKEN".to_owned(), Secret::new(samples::API_KEY))].into();
    let sandbox = SandboxOptions { env: Some(env), ..SandboxOptions::default() };
    let identity = Identity { issuer: "https://id.example".to_owned(), subject: text.to_owned() };
    User {
        name: name(text),
        role: UserRole::User,
        created_at: samples::time(1),
        disabled_at: None,
        options: UserOptions {
            sandbox: Some(sandbox),
            max_workspaces: Some(3),
            budget: None,
            identity: Some(identity),
        },
    }
}

fn key(user: &str, seconds: i64) -> ApiKey {
    ApiKey {
        id: Uuid::new_v4().simple().to_string()[..16].to_owned(),
        user: name(user),
        label: "for tests".to_owned(),
        scopes: vec![Scope::Read, Scope::Write],
        workspace_id: Some(Uuid::new_v4()),
        created_at: samples::time(seconds),
        expires_at: Some(samples::time(100)),
        last_used_at: None,
        revoked_at: None,
    }
}

pub(crate) async fn users_are_kept_by_name(store: Arc<dyn Store>) {
    for other in ["ben", "ann", "cid"] {
        assert!(store.create_user(user(other)).await.unwrap());
    }
    let other = User { role: UserRole::Admin, ..user("ann") };
    assert!(!store.create_user(other).await.unwrap(), "the name is taken");
    assert_eq!(store.user(&name("ann")).await.unwrap(), Some(user("ann")));
    assert_eq!(store.user(&name("Ann")).await.unwrap(), None);
    let names = async |after: Option<&str>, limit| {
        let after = after.map(name);
        let users = store.users(after.as_ref(), limit).await.unwrap();
        users.into_iter().map(|user| user.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(None, 2).await, ["ann", "ben"]);
    assert_eq!(names(Some("ben"), 2).await, ["cid"]);
}

pub(crate) async fn users_change(store: Arc<dyn Store>) {
    store.create_user(user("ann")).await.unwrap();
    let ann = name("ann");
    let change = |seconds| UserChange::new(samples::time(seconds));
    let disable = UserChange { is_disabled: Some(true), ..change(5) };
    let disabled = store.change_user(&ann, disable.clone()).await.unwrap().unwrap();
    assert_eq!(disabled, User { disabled_at: Some(samples::time(5)), ..user("ann") });
    let again = UserChange { at: samples::time(6), ..disable };
    assert_eq!(store.change_user(&ann, again).await.unwrap().unwrap(), disabled, "the first time stays");
    let other = UserChange { role: Some(UserRole::Admin), options: Some(UserOptions::default()), ..change(7) };
    let changed = store.change_user(&ann, other).await.unwrap().unwrap();
    let expected = User { role: UserRole::Admin, options: UserOptions::default(), ..disabled };
    assert_eq!(changed, expected);
    let enabled = UserChange { is_disabled: Some(false), ..change(8) };
    let enabled = store.change_user(&ann, enabled).await.unwrap().unwrap();
    assert_eq!(enabled, User { disabled_at: None, ..expected });
    assert_eq!(store.change_user(&name("ben"), change(9)).await.unwrap(), None);
}

pub(crate) async fn keys_are_found_and_end(store: Arc<dyn Store>) {
    store.create_user(user("ann")).await.unwrap();
    store.create_user(user("ben")).await.unwrap();
    let (first, second, third) = (key("ann", 1), key("ann", 2), key("ben", 3));
    for (key, hash) in [(&second, [2; 32]), (&first, [1; 32]), (&third, [3; 32])] {
        assert!(store.create_api_key(key.clone(), hash).await.unwrap());
    }
    assert!(!store.create_api_key(key("cid", 1), [4; 32]).await.unwrap(), "there is no such user");
    assert!(!store.create_api_key(first.clone(), [5; 32]).await.unwrap(), "the id is taken");
    let found = store.api_key(&first.id).await.unwrap().unwrap();
    assert_eq!((found.key, found.hash, found.user), (first.clone(), [1; 32], user("ann")));
    assert!(store.api_key("none").await.unwrap().is_none());

    let (ann, ben) = (name("ann"), name("ben"));
    assert_eq!(store.api_keys(None, None, 9).await.unwrap(), [first.clone(), second.clone(), third.clone()]);
    assert_eq!(store.api_keys(Some(&ann), Some(&first.id), 9).await.unwrap(), std::slice::from_ref(&second));
    assert_eq!(store.api_keys(Some(&ben), None, 9).await.unwrap(), std::slice::from_ref(&third));

    assert_eq!(store.revoke_api_key(&first.id, Some(&ben), samples::time(9)).await.unwrap(), None);
    let revoked = ApiKey { revoked_at: Some(samples::time(9)), ..first.clone() };
    assert_eq!(store.revoke_api_key(&first.id, Some(&ann), samples::time(9)).await.unwrap(), Some(revoked.clone()));
    assert_eq!(store.revoke_api_key(&first.id, None, samples::time(10)).await.unwrap(), Some(revoked));

    let uses = vec![(second.id.clone(), samples::time(20)), ("none".to_owned(), samples::time(20))];
    store.note_api_key_uses(uses).await.unwrap();
    store.note_api_key_uses(vec![(second.id.clone(), samples::time(15))]).await.unwrap();
    let used = store.api_key(&second.id).await.unwrap().unwrap().key;
    assert_eq!(used, ApiKey { last_used_at: Some(samples::time(20)), ..second });
}
