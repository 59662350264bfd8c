//! What happens in a conversation, over a socket and as Server-Sent Events.

use longshore_testkit::{call, say};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite;

use super::{NOBODY, World};
use crate::server::{PATIENCE, Said};

/// Server-Sent Events as they arrive.
struct Events {
    response: reqwest::Response,
    text: String,
}

impl Events {
    async fn open(world: &World, path: &str, last: Option<&str>) -> Self {
        let mut request = world.request("ann", Method::GET, path).header("Accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next event: its id and its frame. None at the end.
    async fn next(&mut self) -> Option<(Option<String>, Value)> {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let event: String = self.text.drain(..end + 2).collect();
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                if let Some(data) = field("data: ") {
                    return Some((field("id: ").map(str::to_owned), serde_json::from_str(data).unwrap()));
                }
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await.unwrap().unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The events up to the one whose frame is this.
    async fn until(&mut self, is_last: impl Fn(&Value) -> bool) -> Vec<(Option<String>, Value)> {
        let mut events = Vec::new();
        loop {
            events.push(self.next().await.expect("the stream ends too early"));
            if is_last(&events.last().unwrap().1) {
                return events;
            }
        }
    }
}

/// The end of a run, as it stands in the log.
fn is_finished(frame: &Value) -> bool {
    frame["type"] == "status" && frame["status"] == "finished" && frame.get("seq").is_some()
}

/// The frames that are in the log, as type and text.
fn story<'a>(frames: impl Iterator<Item = &'a Value>) -> Vec<String> {
    let logged = frames.filter(|frame| frame.get("seq").is_some());
    let line = |frame: &Value| {
        let content = frame["content"].as_str().unwrap().trim_end();
        let text = if content.is_empty() { frame["status"].as_str().unwrap_or_default() } else { content };
        format!("{} {text}", frame["type"].as_str().unwrap())
    };
    logged.map(line).collect()
}

#[tokio::test]
async fn a_socket_takes_messages_and_tells_what_happens() {
    let world = World::start().await;
    let script = [call("terminal", json!({"command": "echo hello"})), call("finish", json!({"message": "All done."}))];
    world.0.provider().script("m", script);
    let conversation = world.conversation("ann", "m", json!({})).await;
    let key = [("Authorization", "Bearer ann")];
    let mut socket = world.0.try_socket(&format!("{conversation}/stream"), &key).await.unwrap();
    let first = socket.next().await.json();
    assert_eq!((&first["type"], &first["status"], first.get("seq")), (&json!("status"), &json!("idle"), None));
    for (wrong, code) in [("x", "JSONDecodeError"), ("{}", "ValidationError"), (r#"{"message": ""}"#, "MessageRefused")]
    {
        socket.send(wrong).await;
        let frame = socket.next().await.json();
        assert_eq!((&frame["type"], &frame["code"]), (&json!("error"), &json!(code)), "{wrong}: {frame}");
    }
    socket.send(&json!({"message": "Say hello."}).to_string()).await;
    let mut frames = Vec::new();
    while !frames.last().is_some_and(is_finished) {
        frames.push(socket.next().await.json());
    }
    let find = |kind: &str| frames.iter().find(|frame| frame["type"] == kind).unwrap();
    let (action, observation) = (find("action"), find("observation"));
    assert_eq!((&action["tool"], &action["arguments"]["command"]), (&json!("terminal"), &json!("echo hello")));
    assert_eq!((&observation["exit_code"], &observation["tool_call_id"]), (&json!(0), &action["tool_call_id"]));
    let story = story(frames.iter());
    let mut rest = story.iter();
    for expected in [
        "message Say hello.",
        "status running",
        "action echo hello",
        "observation hello",
        "message All done.",
        "status finished",
    ] {
        assert!(rest.any(|line| line == expected), "{expected} is not where it should be in {story:?}");
    }
    world.0.stop().await;
}

#[tokio::test]
async fn events_go_on_where_a_client_was() {
    let world = World::start().await;
    let script = [call("terminal", json!({"command": "echo hello"})), say("All done."), say("Again.")];
    world.0.provider().script("m", script);
    let conversation = world.conversation("ann", "m", json!({"message": "Say hello."})).await;
    let stream = format!("{conversation}/stream");
    let all = Events::open(&world, &stream, None).await.until(is_finished).await;
    let logged: Vec<_> = all.iter().filter(|(id, _)| id.is_some()).collect();
    for (id, frame) in &logged {
        assert_eq!(*id.as_ref().unwrap(), frame["seq"].to_string());
    }
    assert!(logged.windows(2).all(|pair| pair[0].1["seq"].as_u64() < pair[1].1["seq"].as_u64()));
    let middle = logged.len() / 2;
    let seen = logged[middle].0.as_deref().unwrap();
    let expected: Vec<_> = logged[middle + 1..].iter().map(|(_, frame)| frame.clone()).collect();
    for (path, last) in [(stream.clone(), Some(seen)), (format!("{stream}?after_seq={seen}"), None)] {
        let rest = Events::open(&world, &path, last).await.until(is_finished).await;
        let rest: Vec<_> = rest.into_iter().filter(|(id, _)| id.is_some()).map(|(_, frame)| frame).collect();
        assert_eq!(rest, expected);
    }
    // Beyond the end of the log: what comes from now on.
    let mut news = Events::open(&world, &format!("{stream}?after_seq=99999999"), None).await;
    assert_eq!(news.next().await.unwrap().1["status"], "finished");
    world.post("ann", &format!("{conversation}/messages"), json!({"message": "Once more."})).await;
    let frames = news.until(is_finished).await;
    let story = story(frames.iter().map(|(_, frame)| frame));
    for (line, is_there) in [("message Once more.", true), ("message Again.", true), ("message Say hello.", false)] {
        assert_eq!(story.iter().any(|found| found == line), is_there, "{line}: {story:?}");
    }
    assert_eq!(world.delete("ann", &conversation).await.0, StatusCode::NO_CONTENT);
    let ended = news.until(|frame| frame["type"] == "error").await;
    assert_eq!(ended.last().unwrap().1["code"], "deleted");
    assert!(news.next().await.is_none());
    world.0.stop().await;
}

#[tokio::test]
async fn a_frame_that_is_too_large_is_cut() {
    let world = World::start().await;
    world.0.provider().script("m", [say("x".repeat(2 << 20))]);
    let conversation = world.conversation("ann", "m", json!({"message": "go"})).await;
    let frames = Events::open(&world, &format!("{conversation}/stream"), None).await.until(is_finished).await;
    let is_answer = |frame: &&Value| frame["source"] == "agent" && frame["type"] == "message";
    let said = frames.iter().map(|(_, frame)| frame).find(is_answer).unwrap();
    assert_eq!(said["truncated"], true);
    assert!(said.to_string().len() <= 1 << 20);
    world.0.stop().await;
}

#[tokio::test]
async fn a_stream_opens_with_a_good_key_only() {
    let world = World::start().await;
    let conversation = world.conversation("ann", "m", json!({})).await;
    let stream = format!("{conversation}/stream");
    for (path, key, expected) in [
        (stream.clone(), "eve", StatusCode::UNAUTHORIZED),
        (stream.clone(), "bob", StatusCode::NOT_FOUND),
        (format!("/conversations/{NOBODY}/stream"), "ann", StatusCode::NOT_FOUND),
        ("/conversations/x/stream".to_owned(), "eve", StatusCode::UNAUTHORIZED),
        ("/conversations/x/stream".to_owned(), "ann", StatusCode::UNPROCESSABLE_ENTITY),
        (format!("{stream}?after_seq=x"), "ann", StatusCode::UNPROCESSABLE_ENTITY),
        (format!("{stream}?session_api_key=eve"), "ann", StatusCode::FORBIDDEN),
    ] {
        let (status, body) = world.get(key, &path).await;
        assert_eq!(status, expected, "{path} as {key}: {body}");
    }
    assert_eq!(world.0.get(&stream).send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let wrong = world.request("ann", Method::GET, &stream).header("Last-Event-ID", "x").send().await.unwrap();
    assert_eq!(wrong.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let in_query = world.0.get(&format!("{stream}?session_api_key=ann")).send().await.unwrap();
    assert_eq!(in_query.status(), StatusCode::OK);

    for (key, status) in [("eve", 403), ("bob", 404)] {
        match world.0.try_socket(&stream, &[("X-Session-API-Key", key)]).await.map(drop) {
            Err(tungstenite::Error::Http(response)) => assert_eq!(response.status().as_u16(), status),
            other => panic!("{key}: {other:?}"),
        }
    }
    for (key, said) in [("bob", Said::Closed(4004)), ("eve", Said::Closed(4001))] {
        let mut socket = world.0.socket(&stream).await;
        socket.send(&json!({"type": "auth", "session_api_key": key}).to_string()).await;
        assert_eq!(socket.next().await, said, "{key}");
    }
    let mut reader = world.0.socket(&stream).await;
    reader.send(&json!({"type": "auth", "session_api_key": "ann:read"}).to_string()).await;
    assert_eq!(reader.next().await.json()["type"], "status");
    reader.send(&json!({"message": "go"}).to_string()).await;
    assert_eq!(reader.next().await.json()["code"], "Forbidden");
    world.0.stop().await;
}
