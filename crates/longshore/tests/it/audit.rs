//! `longshore audit`, beside a server and after its death.

use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    serve::{Server, client},
    support::{World, code_of, signal},
};
use rustix::process::Signal;

/// Makes and deletes conversations that are not there, until the server is gone. Tells how many requests were answered.
async fn load(url: String) -> u64 {
    let client = client();
    let path = format!("{url}/api/conversations/00000000-0000-4000-8000-000000000000");
    let mut answered = 0;
    while client.delete(&path).send().await.is_ok() {
        answered += 1;
    }
    answered
}

#[tokio::test]
async fn a_log_passes_while_its_server_works_and_after_it_was_killed() {
    let world = World::new();
    let mut last = 0;
    for _ in 0..3 {
        let mut server = Server::start(world.command(&["serve", "--port", "0"])).await;
        let mut clients = JoinSet::new();
        for _ in 0..4 {
            clients.spawn(load(server.url.clone()));
        }
        let grown = async || {
            let ended = world.run(&["audit", "verify"]).await;
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
            let count: u64 = ended.stdout.split(' ').next().unwrap().parse().unwrap();
            count
        };
        while grown().await < last + 100 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        signal(&server.child, Signal::KILL);
        code_of(&mut server.child).await;
        let answered: u64 = clients.join_all().await.into_iter().sum();
        assert!(answered > 0);
        last = grown().await;
    }
    let ended = world.run(&["audit", "show", "--json", "--limit", "2", "--action", "conversation.delete"]).await;
    let lines: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[0]["actor"], &lines[0]["status"]), (2, &json!("local"), &json!(404)));
    assert!(lines[0]["seq"].as_u64() < lines[1]["seq"].as_u64(), "the latest comes last");
}

#[tokio::test]
async fn what_was_changed_is_named() {
    let world = World::new();
    let mut server = Server::start(world.command(&["serve", "--port", "0"])).await;
    let path = format!("{}/api/conversations/00000000-0000-4000-8000-000000000000", server.url);
    for _ in 0..3 {
        client().delete(&path).send().await.unwrap();
    }
    signal(&server.child, Signal::TERM);
    assert_eq!(code_of(&mut server.child).await, Some(0));
    let shown = world.run(&["audit", "show", "--since", "1h", "--actor", "local"]).await;
    assert_eq!(shown.stdout.matches("conversation.delete").count(), 3, "{}{}", shown.stdout, shown.stderr);
    assert_eq!(world.run(&["audit", "verify"]).await.code, Some(0));

    let database = Connection::open(world.data().join("longshore.db")).unwrap();
    database.execute_batch("DROP TRIGGER audit_no_update; UPDATE audit SET actor = 'somebody' WHERE seq = 2").unwrap();
    let ended = world.run(&["audit", "verify"]).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("record 2:"), "{}", ended.stderr);
    assert_eq!(world.run(&["audit", "verify", "--from", "3"]).await.code, Some(0));
    let nothing = world.run(&["audit", "verify", "--data-dir", "/nowhere"]).await;
    assert!(nothing.code == Some(1) && nothing.stderr.contains("/nowhere"), "{}", nothing.stderr);
}

#[tokio::test]
async fn changes_of_users_on_the_command_line_are_logged() {
    let world = World::new();
    assert_eq!(world.run(&["user", "add", "ann"]).await.code, Some(0));
    let key = world.run(&["key", "create", "--user", "ann"]).await.stdout;
    let mut server = Server::start(world.command(&["serve", "--port", "0", "--insecure-shared-machine"])).await;
    assert_eq!(world.run(&["user", "disable", "ann"]).await.code, Some(0), "beside a server");
    let shown = world.run(&["audit", "show", "--json"]).await.stdout;
    let actions: Vec<_> = shown
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|record| (record["action"].clone(), record["owner"].clone()))
        .collect();
    assert_eq!(actions, ["user.create", "key.create", "user.update"].map(|action| (json!(action), json!("ann"))));
    assert!(!shown.contains(key.trim()));
    signal(&server.child, Signal::TERM);
    assert_eq!(code_of(&mut server.child).await, Some(0));
    assert_eq!(world.run(&["audit", "verify"]).await.code, Some(0));
}
