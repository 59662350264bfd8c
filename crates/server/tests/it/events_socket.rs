//! `/sockets/events/{id}`.

use std::path::Path;

use futures::future::join_all;
use longshore_server::Options;
use longshore_testkit::{call, say};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    agents::{events_path, ids, is_state, kinds, message},
    server::{Said, TestServer, answer, until},
};

const NOBODY: &str = "/api/conversations/99999999-2222-3333-4444-555555555555";

#[tokio::test]
async fn the_state_comes_first_then_every_event_in_order_then_the_state_at_rest() {
    let server = TestServer::start().await;
    let command = call("terminal", json!({"command": "echo hello-world"}));
    server.provider().script("m", [command, call("finish", json!({"message": "All done"})), say("second answer")]);
    let conversation = server.create("m", json!({})).await;
    let mut socket = server.follow(&conversation, "").await;
    let first = socket.next().await.json();
    assert!(is_state(&first), "{first}");
    assert_eq!(first["value"]["execution_status"], "idle");
    assert_eq!(first["value"]["agent"]["llm"]["api_key"], "**********");
    assert!(!first["value"].as_object().unwrap().values().any(Value::is_null), "nulls are left out");
    server.say(&conversation, "say hello").await;
    let mut frames = socket.until_settled("finished").await;
    let last = frames.pop().unwrap();
    assert_eq!(last.get("parent_id"), None);
    assert_eq!(frames, server.events(&conversation).await);

    // A message over the socket runs the agent.
    socket.send(r#"{"role": "user", "content": [{"type": "text", "text": "second question"}]}"#).await;
    let more = socket.until_settled("finished").await;
    assert!(more.iter().any(|event| event["llm_message"]["content"][0]["text"] == "second question"));
    assert!(more.iter().any(|event| event["llm_message"]["content"][0]["text"] == "second answer"));
    frames.extend(more[..more.len() - 1].iter().cloned());
    assert_eq!(frames, server.events(&conversation).await);
    server.stop().await;
}

#[tokio::test]
async fn the_past_is_sent_to_those_who_ask() {
    let server = TestServer::start().await;
    let conversation = server.finished("m", [say("done")]).await;
    let all = server.events(&conversation).await;
    let middle = all[all.len() / 2]["timestamp"].as_str().unwrap();
    let since: Vec<_> = all.iter().filter(|event| event["timestamp"].as_str().unwrap() >= middle).cloned().collect();
    for (query, expected) in [
        (String::new(), &[][..]),
        ("?resend_mode=all".to_owned(), &all),
        ("?resend_all=true".to_owned(), &all),
        ("?resend_all=false".to_owned(), &[]),
        ("?resend_mode=since".to_owned(), &[]),
        (format!("?resend_mode=since&after_timestamp={middle}"), &since),
        ("?resend_mode=since&after_timestamp=2020-01-01T00:00:00Z".to_owned(), &all),
        ("?resend_mode=since&after_timestamp=2020-01-01T00:00:00+02:00".to_owned(), &all),
        ("?resend_mode=since&after_timestamp=2999-01-01".to_owned(), &[]),
    ] {
        let mut socket = server.follow(&conversation, &query).await;
        assert!(is_state(&socket.next().await.json()), "{query}");
        for event in expected {
            assert_eq!(&socket.next().await.json(), event, "{query}");
        }
        socket.send("x").await;
        assert_eq!(socket.next().await.json()["kind"], "ServerErrorEvent", "nothing follows: {query}");
    }
    for query in
        ["?resend_mode=bogus", "?resend_mode=", "?resend_mode=since&after_timestamp=garbage", "?resend_all=maybe"]
    {
        let refused = server.try_socket(&events_path(&conversation, query), &[]).await.err().unwrap();
        assert!(refused.to_string().contains("403"), "{query}: {refused}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_key_opens_the_socket_in_the_query_in_a_header_or_in_the_first_message() {
    let server = TestServer::with(Options::default(), &["key-one", "key-two"]).await;
    let wish = server.wish("m", json!({}));
    let (_, info) = answer(server.post("/api/conversations").header("X-Session-API-Key", "key-one").json(&wish)).await;
    let path = format!("/sockets/events/{}", info["id"].as_str().unwrap());
    let by_query = server.socket(&format!("{path}?session_api_key=key-one")).await;
    let by_header = server.try_socket(&path, &[("X-Session-API-Key", "key-two")]).await.unwrap();
    let by_bearer = server.try_socket(&path, &[("Authorization", "Bearer key-two")]).await.unwrap();
    let mut by_message = server.socket(&path).await;
    by_message.send(r#"{"type": "auth", "session_api_key": "key-two"}"#).await;
    for mut socket in [by_query, by_header, by_bearer, by_message] {
        assert!(is_state(&socket.next().await.json()));
        socket.send(r#"{"type": "auth", "session_api_key": "key-one"}"#).await;
        socket.send(r#"{"type": "auth"}"#).await;
        socket.send("x").await;
        assert_eq!(socket.next().await.json()["code"], "JSONDecodeError", "late authentications mean nothing");
    }
    for (path, headers) in [
        (format!("{path}?session_api_key=bad"), &[][..]),
        (format!("{path}?session_api_key=bad"), &[("X-Session-API-Key", "key-one")][..]),
        (path.clone(), &[("X-Session-API-Key", "bad")][..]),
    ] {
        let refused = server.try_socket(&path, headers).await.err().unwrap();
        assert!(refused.to_string().contains("403"), "{path}: {refused}");
    }
    // Nobody without a key learns which conversations there are.
    for path in [&path, &format!("/sockets/events/{}", &NOBODY[19..])] {
        for first in [
            r#"{"type": "auth", "session_api_key": "nope"}"#,
            r#"{"type": "auth"}"#,
            r#"{"role": "user", "content": []}"#,
            "[1]",
            "no json",
        ] {
            let mut socket = server.socket(path).await;
            socket.send(first).await;
            assert_eq!(socket.next().await, Said::Closed(4001), "{first}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_conversation_that_is_not_there_or_goes_away_closes_with_4004() {
    let server = TestServer::start().await;
    assert_eq!(server.follow(NOBODY, "?resend_mode=all").await.next().await, Said::Closed(4004));
    let refused = server.try_socket("/sockets/events/notauuid", &[]).await.err().unwrap();
    assert!(refused.to_string().contains("403"), "{refused}");

    // W11: the official server leaves such sockets open.
    let conversation = server.busy("m").await;
    let mut sockets = [server.follow(&conversation, "").await, server.follow(&conversation, "?resend_mode=all").await];
    for socket in &mut sockets {
        socket.next().await.json();
    }
    let (status, _) = answer(server.request(Method::DELETE, &conversation)).await;
    assert_eq!(status, StatusCode::OK);
    for socket in &mut sockets {
        assert_eq!(socket.until_closed().await, 4004);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_stops_closes_with_1012() {
    let server = TestServer::start().await;
    let conversation = server.busy("m").await;
    let mut socket = server.follow(&conversation, "").await;
    socket.next().await.json();
    server.stop().await;
    assert_eq!(socket.until_closed().await, 1012);
}

#[tokio::test]
async fn bad_frames_are_told_to_their_own_client_only_and_the_socket_stays() {
    let server = TestServer::start().await;
    let conversation = server.create("m", json!({})).await;
    let mut socket = server.follow(&conversation, "").await;
    let mut other = server.follow(&conversation, "").await;
    for socket in [&mut socket, &mut other] {
        socket.next().await.json();
    }
    let deep = "[".repeat(100_000);
    for (frame, code) in [
        (Message::text("not json"), "JSONDecodeError"),
        (Message::text(""), "JSONDecodeError"),
        (Message::binary(b"\xff\xfe".to_vec()), "JSONDecodeError"),
        (Message::text(deep), "JSONDecodeError"),
        (Message::text(r#"{"role": "bogus"}"#), "ValidationError"),
        (Message::text(r#"{"content": "text"}"#), "ValidationError"),
        (Message::text("[]"), "ValidationError"),
        (Message::text("null"), "ValidationError"),
        (Message::text(r#"{"role": "assistant", "content": []}"#), "MessageRefused"),
    ] {
        socket.send_frame(frame.clone()).await;
        let told = socket.next().await.json();
        assert_eq!((&told["kind"], &told["code"]), (&json!("ServerErrorEvent"), &json!(code)), "{told}");
        assert!(!told["detail"].as_str().unwrap().is_empty(), "{told}");
        assert_eq!(told["source"], "environment");
    }
    // Control frames and an unknown object with a key: no message, no end.
    for frame in [Message::Ping(b"are you there".to_vec().into()), Message::Pong(Vec::new().into())] {
        socket.send_frame(frame).await;
    }
    server.provider().script("m", [say("done")]);
    socket.send_frame(Message::binary(message("in a binary frame").to_string().into_bytes())).await;
    let frames = socket.until_settled("finished").await;
    assert_eq!(other.until_settled("finished").await, frames, "the others hear of events only");
    let events = server.events(&conversation).await;
    assert!(!kinds(&events).contains(&"ServerErrorEvent".to_owned()));
    server.stop().await;
}

/// The official Python client breaks a connection with a frame of more than 1 MiB, each time it comes back.
#[tokio::test]
async fn an_event_that_clients_cannot_take_is_found_by_the_search_and_the_socket_goes_on() {
    let server = TestServer::start().await;
    let text = "x".repeat(2_000_000);
    let info = server.make("m", json!({"agent": {"tools": [{"name": "file_editor"}]}})).await;
    let file = Path::new(info["workspace"]["working_dir"].as_str().unwrap()).join("large.txt");
    let create = json!({"command": "create", "path": file, "file_text": text});
    server.provider().script("m", [call("file_editor", create), say("done")]);
    let conversation = format!("/api/conversations/{}", info["id"].as_str().unwrap());
    let mut socket = server.follow(&conversation, "").await;
    server.say(&conversation, "go").await;
    let mut frames = socket.until_settled("finished").await;
    frames.retain(|frame| !is_state(frame));
    assert_eq!(std::fs::metadata(&file).unwrap().len(), 2_000_000);
    let events = server.events(&conversation).await;
    let small: Vec<_> = events.iter().filter(|event| event.to_string().len() < 1 << 20).cloned().collect();
    assert!(small.len() < events.len());
    assert_eq!(ids(&frames), ids(&small));
    let actions = server.look(&format!("{conversation}/events/search?kind=ActionEvent")).await;
    assert_eq!(actions["items"][0]["action"]["file_text"].as_str().unwrap().len(), 2_000_000);

    let mut again = server.follow(&conversation, "?resend_mode=all").await;
    assert!(is_state(&again.next().await.json()));
    for event in small {
        assert_eq!(again.next().await.json()["id"], event["id"]);
    }
    again.send("x").await;
    assert_eq!(again.next().await.json()["kind"], "ServerErrorEvent", "nothing follows");
    server.stop().await;
}

/// W5: on the official server a reader who stalls holds up the conversation.
#[tokio::test]
async fn a_reader_who_stalls_costs_the_others_nothing_and_misses_nothing() {
    const MESSAGES: usize = 60;
    let server = TestServer::start().await;
    let conversation = server.create("m", json!({})).await;
    let mut stalled = server.follow(&conversation, "").await;
    let mut reading = server.follow(&conversation, "").await;
    reading.next().await.json();
    let mut said = message(&"x".repeat(500_000));
    said["run"] = json!(false);
    let path = format!("{conversation}/events");
    let flood = async {
        for _ in 0..MESSAGES {
            let (status, _) = server.post_json(&path, &said).await;
            assert_eq!(status, StatusCode::OK);
        }
    };
    let read = async {
        let mut frames = Vec::new();
        while frames.iter().filter(|frame: &&Value| frame["kind"] == "MessageEvent").count() < MESSAGES {
            frames.push(reading.next().await.json());
        }
        frames
    };
    let ((), frames) = tokio::join!(flood, read);
    server.provider().script("m", [say("done")]);
    answer(server.post(&format!("{conversation}/run"))).await;
    server.until_status(&conversation, "finished").await;
    // It was too slow, or it gets all of it, in order.
    let mut caught_up = Vec::new();
    let code = loop {
        match stalled.next().await {
            Said::Json(frame) if is_state(&frame) && frame["value"]["execution_status"] == "finished" => break None,
            Said::Json(frame) if is_state(&frame) => {}
            Said::Json(frame) => caught_up.push(frame),
            Said::Closed(code) => break Some(code),
        }
    };
    match code {
        None => assert_eq!(ids(&caught_up), ids(&server.events(&conversation).await)),
        Some(code) => assert!(matches!(code, 1006 | 1013), "closed with {code}"),
    }
    assert!(ids(&server.events(&conversation).await).starts_with(&ids(&frames)));
    server.stop().await;
}

#[tokio::test]
async fn clients_that_come_and_go_leave_nothing_behind() {
    let server = TestServer::start().await;
    let conversation = server.create("m", json!({})).await;
    for cycle in 0..100 {
        let mut socket = server.follow(&conversation, "?resend_mode=all").await;
        match cycle % 3 {
            // Gone before anything is read, after it, and with a goodbye.
            0 => {}
            1 => assert!(is_state(&socket.next().await.json())),
            _ => {
                socket.send_frame(Message::Close(None)).await;
                socket.until_closed().await;
            }
        }
    }
    let port = server.address.port();
    // The test's client keeps some connections to the server for its next request.
    until(async || (open_connections(port) <= 2).then_some(())).await;
    server.stop().await;
}

#[tokio::test]
async fn many_follow_one_conversation() {
    let server = TestServer::start().await;
    server.provider().script("m", [call("terminal", json!({"command": "echo hi"})), say("done")]);
    let conversation = server.create("m", json!({})).await;
    let mut sockets = join_all((0..60).map(|_| server.follow(&conversation, ""))).await;
    for socket in &mut sockets {
        assert!(is_state(&socket.next().await.json()));
    }
    server.say(&conversation, "go").await;
    let seen = join_all(sockets.iter_mut().map(|socket| socket.until_settled("finished"))).await;
    let events = server.events(&conversation).await;
    for frames in seen {
        assert_eq!(frames[..frames.len() - 1], events);
    }
    server.stop().await;
}

#[tokio::test]
async fn plain_http_is_told_to_use_a_websocket() {
    let server = TestServer::start().await;
    let (status, body) = answer(server.get(&events_path(NOBODY, ""))).await;
    assert_eq!(status, StatusCode::UPGRADE_REQUIRED);
    assert!(body["detail"].as_str().unwrap().contains("WebSocket"));
    server.stop().await;
}

/// Connections on the server's side of `port` that this process has open.
fn open_connections(port: u16) -> usize {
    let own: Vec<_> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok()?.to_str().map(str::to_owned))
        .collect();
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let local = format!(":{port:04X}");
    table
        .lines()
        .filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            // A connection has another end; a listener has none.
            let is_connection = fields.get(1)?.ends_with(&local) && !fields.get(2)?.ends_with(":0000");
            is_connection.then(|| format!("socket:[{}]", fields[9]))
        })
        .filter(|socket| own.contains(socket))
        .count()
}
