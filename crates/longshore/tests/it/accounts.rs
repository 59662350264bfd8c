//! `longshore user`, `longshore key`, and a server with users.

use std::time::Duration;

use reqwest::StatusCode;
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    serve::{Server, client},
    support::{PATIENCE, World, code_of, signal},
};

/// Runs the program and gives what it writes to standard output.
async fn must(world: &World, arguments: &[&str]) -> String {
    let ended = world.run(arguments).await;
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.stderr);
    ended.stdout
}

async fn fails(world: &World, arguments: &[&str]) -> String {
    let ended = world.run(arguments).await;
    assert!(ended.code.is_some_and(|code| code != 0) && ended.stdout.is_empty(), "{arguments:?}: {ended:?}");
    ended.stderr
}

async fn status(server: &Server, key: &str) -> StatusCode {
    client().get(format!("{}/me", server.url)).bearer_auth(key).send().await.unwrap().status()
}

/// Waits until a key opens nothing.
async fn until_kept_out(server: &Server, key: &str) {
    let kept_out = async {
        while status(server, key).await != StatusCode::UNAUTHORIZED {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, kept_out).await.expect("the key still opens");
}

#[tokio::test]
async fn users_and_keys_are_managed_beside_a_server_that_runs() {
    let world = World::new();
    let start = async || {
        let arguments = ["serve", "--port", "0", "--log-format", "json", "--sandbox", "local"];
        let mut command = world.command(&arguments);
        command.arg("--insecure-shared-machine");
        Server::start(command).await
    };
    assert_eq!(must(&world, &["user", "add", "ann"]).await, "");
    let key = must(&world, &["key", "create", "--user", "ann"]).await;
    let key = key.strip_suffix('\n').unwrap();
    assert!(key.starts_with("lsk_") && !key.contains(char::is_whitespace), "the key alone: {key:?}");

    let mut server = start().await;
    assert_eq!(status(&server, key).await, StatusCode::OK);
    assert_eq!(status(&server, "other").await, StatusCode::UNAUTHORIZED);
    // The server has the database open, and the program works beside it.
    must(&world, &["user", "add", "bob", "--role", "admin"]).await;
    let bobs = must(&world, &["key", "create", "--user", "bob", "--scope", "read", "--expires", "1h"]).await;
    assert_eq!(status(&server, bobs.trim()).await, StatusCode::OK);
    must(&world, &["user", "disable", "bob"]).await;
    until_kept_out(&server, bobs.trim()).await;
    must(&world, &["key", "revoke", &key[..20]]).await;
    until_kept_out(&server, key).await;
    signal(&server.child, Signal::TERM);
    assert_eq!(code_of(&mut server.child).await, Some(0));

    let users = must(&world, &["user", "list", "--json"]).await;
    let users: Vec<Value> = users.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(users.iter().map(|user| &user["name"]).collect::<Vec<_>>(), ["ann", "bob"]);
    assert!(users[0]["disabled_at"].is_null() && users[1]["disabled_at"].is_string());
    let keys = must(&world, &["key", "list", "--user", "ann", "--json"]).await;
    assert!(!keys.contains(key) && keys.contains(&key[4..20]), "{keys}");
    let listed: Value = serde_json::from_str(&keys).unwrap();
    assert!(listed["last_used_at"].is_string() && listed["revoked_at"].is_string(), "{keys}");
    assert!(must(&world, &["key", "list"]).await.contains("revoked"));
    // Nothing of a key is on the disk.
    let database = std::fs::read(world.data().join("longshore.db")).unwrap();
    let random = &key.as_bytes()[21..];
    assert!(!database.windows(random.len()).any(|window| window == random));
}

#[tokio::test]
async fn a_server_with_users_does_not_let_them_share_the_machine() {
    let world = World::new();
    must(&world, &["user", "add", "ann"]).await;
    let refusal = fails(&world, &["serve", "--port", "0", "--sandbox", "local"]).await;
    assert!(refusal.contains("--insecure-shared-machine") && refusal.contains("bubblewrap"), "{refusal}");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let world = World::new();
    must(&world, &["user", "add", "ann"]).await;
    for (arguments, reason) in [
        (&["user", "add", "ann"][..], "already"),
        (&["user", "add", "a b"], "letters"),
        (&["user", "add", "bob", "--role", "king"], "user and admin"),
        (&["user", "add", "bob", "--options", "{\"env\": {\"A\": s3cr3t}}"], "JSON"),
        (&["user", "disable", "nobody"], "no user nobody"),
        (&["key", "create", "--user", "nobody"], "no user nobody"),
        (&["key", "create", "--user", "ann", "--scope", "admin"], "role admin"),
        (&["key", "create", "--user", "ann", "--expires", "2001-01-01T00:00:00Z"], "passed"),
        (&["key", "create", "--user", "ann", "--expires", "soon"], "90d"),
        (&["key", "create", "--user", "ann", "--workspace", "x"], "no id"),
        (&["key", "revoke", "0000000000000000"], "no key"),
    ] {
        let said = fails(&world, arguments).await;
        assert!(said.contains(reason) && !said.contains("s3cr3t"), "{arguments:?}: {said}");
    }
}
