//! `/sockets/bash-events`.

use std::collections::BTreeSet;

use futures::future::join_all;
use longshore_server::Options;
use serde_json::{Value, json};

use crate::server::{Said, Socket, TestServer};

const PATH: &str = "/sockets/bash-events";

/// The next frames up to the last output of a command.
async fn command(socket: &mut Socket) -> Vec<Value> {
    let mut frames = Vec::new();
    loop {
        let frame = socket.next().await.json();
        let is_last = frame["kind"] == "BashOutput" && !frame["exit_code"].is_null();
        frames.push(frame);
        if is_last {
            return frames;
        }
    }
}

#[tokio::test]
async fn commands_of_rest_and_socket_are_seen_by_all() {
    let server = TestServer::start().await;
    let (mut one, mut other) = (server.socket(PATH).await, server.socket(PATH).await);
    // A socket watches once it answers: what is wrong is told to its own client only.
    for (text, code) in [("{bad", "JSONDecodeError"), (r#"{"bad": 1}"#, "ValidationError"), ("[1]", "ValidationError")]
    {
        one.send(text).await;
        let error = one.next().await.json();
        assert_eq!((&error["kind"], &error["code"]), (&json!("BashError"), &json!(code)), "{text}");
    }
    other.send("x").await;
    other.next().await.json();

    let output = server.execute(json!({"command": "echo rest"})).await;
    for socket in [&mut one, &mut other] {
        let frames = command(socket).await;
        assert_eq!((frames.len(), &frames[0]["command"], &frames[1]), (2, &json!("echo rest"), &output));
        assert_eq!(frames[0]["cwd"], Value::Null, "nulls are written");
    }
    one.send(r#"{"type": "auth", "session_api_key": "late"}"#).await;
    one.send(r#"{"command": "echo socket"}"#).await;
    for socket in [&mut one, &mut other] {
        assert_eq!(command(socket).await[1]["stdout"], "socket\n");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_replay_has_everything_once() {
    const BEFORE: usize = 60;
    const DURING: usize = 60;
    let server = TestServer::start().await;
    for number in 0..BEFORE {
        server.execute(json!({"command": format!("echo {number}")})).await;
    }
    // Sockets open while commands run, so that events are stored, replayed and published in every order.
    let path = format!("{PATH}?resend_mode=all");
    let watched = (0..10).map(async |_| {
        let mut socket = server.socket(&path).await;
        let mut ids = Vec::new();
        let mut ended = 0;
        while ended < BEFORE + DURING {
            let frame = socket.next().await.json();
            ended += usize::from(!frame["exit_code"].is_null());
            ids.push(frame["id"].as_str().unwrap().to_owned());
        }
        ids
    });
    let commands = (0..DURING).map(|number| server.execute(json!({"command": format!("echo {number}")})));
    let (_, watched) = tokio::join!(join_all(commands), join_all(watched));
    for ids in watched {
        assert_eq!(ids.len(), 2 * (BEFORE + DURING));
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "an event came twice");
    }
    let refused = server.try_socket(&format!("{PATH}?resend_mode=bogus"), &[]).await.err().unwrap();
    assert!(refused.to_string().contains("403"), "{refused}");
    server.stop().await;
}

#[tokio::test]
async fn a_key_opens_the_socket_in_the_query_in_a_header_or_in_the_first_message() {
    let server = TestServer::with(Options::default(), &["key-one", "key-two"]).await;
    let by_query = server.socket(&format!("{PATH}?session_api_key=key-one")).await;
    let by_header = server.try_socket(PATH, &[("X-Session-API-Key", "key-two")]).await.unwrap();
    let by_bearer = server.try_socket(PATH, &[("Authorization", "Bearer key-two")]).await.unwrap();
    let mut by_message = server.socket(PATH).await;
    by_message.send(r#"{"type": "auth", "session_api_key": "key-two"}"#).await;
    for mut socket in [by_query, by_header, by_bearer, by_message] {
        socket.send(r#"{"type": "auth", "session_api_key": "key-one"}"#).await;
        socket.send("[]").await;
        assert_eq!(socket.next().await.json()["kind"], "BashError");
    }
    for (path, headers) in [
        (format!("{PATH}?session_api_key=bad"), &[][..]),
        (format!("{PATH}?session_api_key=bad"), &[("X-Session-API-Key", "key-one")][..]),
        (PATH.to_owned(), &[("X-Session-API-Key", "bad")][..]),
    ] {
        let refused = server.try_socket(&path, headers).await.err().unwrap();
        assert!(refused.to_string().contains("403"), "{path}: {refused}");
    }
    for first in [
        r#"{"type": "auth", "session_api_key": "nope"}"#,
        r#"{"type": "auth"}"#,
        r#"{"command": "true"}"#,
        "[1]",
        "no json",
    ] {
        let mut socket = server.socket(PATH).await;
        socket.send(first).await;
        assert_eq!(socket.next().await, Said::Closed(4001), "{first}");
    }
    let mut silent = server.socket(PATH).await;
    assert_eq!(silent.next().await, Said::Closed(4001));
    server.stop().await;
}

#[tokio::test]
async fn too_many_sockets_are_turned_away() {
    let server = TestServer::start().await;
    let mut sockets = Vec::new();
    for _ in 0..50 {
        let mut socket = server.socket(PATH).await;
        socket.send("[]").await;
        socket.next().await.json();
        sockets.push(socket);
    }
    let mut refused = server.socket(PATH).await;
    assert_eq!(refused.next().await, Said::Closed(1013));
    drop(sockets);
    crate::server::until(async || {
        let mut socket = server.socket(PATH).await;
        socket.send("[]").await;
        matches!(socket.next().await, Said::Json(_)).then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped_and_holds_up_nobody() {
    let server = TestServer::start().await;
    let mut stalled = server.socket(PATH).await;
    stalled.send("[]").await;
    let mut reading = server.socket(PATH).await;
    reading.send("[]").await;
    reading.next().await.json();
    let flood = json!({"command": "head -c 50000000 /dev/zero | tr '\\0' x", "timeout": 60});
    let (output, frames) = tokio::join!(server.execute(flood), command(&mut reading));
    assert_eq!(output["stdout"].as_str().unwrap().len(), 50_000_000);
    assert_eq!(frames.last().unwrap()["id"], output["id"]);
    let code = loop {
        if let Said::Closed(code) = stalled.next().await {
            break code;
        }
    };
    // 1006 if even the goodbye could not be sent in time.
    assert!(matches!(code, 1013 | 1006), "closed with {code}");
    server.stop().await;
}

#[tokio::test]
async fn plain_http_is_told_to_use_a_websocket() {
    let server = TestServer::start().await;
    let (status, body) = crate::server::answer(server.get(PATH)).await;
    assert_eq!(status, 426);
    assert!(body["detail"].as_str().unwrap().contains("WebSocket"));
    server.stop().await;
}
