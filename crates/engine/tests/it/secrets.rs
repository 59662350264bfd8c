//! Secrets reach the command that names them, and nobody else.

use std::{
    fs, io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::State, http::HeaderMap, routing::get};
use indexmap::IndexMap;
use longshore_testkit::{call, hang, say};
use serde_json::{Value, json};

use crate::world::{AT_ONCE, World, ann, database, within};

const STATIC: &str = "static-value-4711";
const LOOKED_UP: &str = "looked-up-value-0815";

/// A server that gives a secret to whoever shows the right header, or never answers under `/never`.
async fn secret_server() -> (SocketAddr, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let give = async |State(asked): State<Arc<AtomicUsize>>, headers: HeaderMap| {
        asked.fetch_add(1, Ordering::SeqCst);
        if headers.get("x-session-api-key").is_some_and(|key| key == "the-key-4242") { LOOKED_UP } else { "wrong key" }
    };
    let never = async |State(asked): State<Arc<AtomicUsize>>| {
        asked.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<()>().await;
    };
    let app = Router::new().route("/secret", get(give)).route("/never", get(never)).with_state(Arc::clone(&asked));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, asked)
}

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lookup(address: SocketAddr, path: &str) -> Value {
    json!({"kind": "LookupSecret", "url": format!("http://{address}/{path}"), "headers": {"X-Session-API-Key": "the-key-4242"}})
}

#[tokio::test]
async fn secrets_are_in_the_environment_of_the_command_and_hidden_everywhere_else() {
    let world = World::new();
    let (address, asked) = secret_server().await;
    world.provider.script(
        "m",
        [
            call("terminal", json!({"command": "echo \"<$STATIC_TOKEN>\"; echo -n \"$STATIC_TOKEN\" > static.txt"})),
            call("terminal", json!({"command": "echo \"<$FAR_TOKEN>\"; echo -n \"$FAR_TOKEN\" > far.txt"})),
            call("terminal", json!({"command": format!("echo {LOOKED_UP}")})),
            call("think", json!({"thought": format!("it is {STATIC}")})),
            call("finish", json!({"message": format!("the tokens are {STATIC} and {LOOKED_UP}")})),
        ],
    );
    let secrets = json!({"STATIC_TOKEN": STATIC, "FAR_TOKEN": lookup(address, "secret")});
    let id = world.create("m", json!({"secrets": secrets})).await;
    let mut watch = world.watch(id).await;
    world.go(id).await;
    let frames = watch.until_settled("finished").await;

    assert_eq!(fs::read_to_string(world.file("static.txt")).unwrap(), STATIC);
    assert_eq!(fs::read_to_string(world.file("far.txt")).unwrap(), LOOKED_UP);
    assert_eq!(asked.load(Ordering::SeqCst), 1, "asked for when a command names it, and only then");
    let response = world.engine.final_response(&ann(), id).await.unwrap();
    assert_eq!(response, "the tokens are <secret-hidden> and <secret-hidden>");
    let outputs: Vec<_> = frames.iter().filter(|frame| frame["tool_name"] == "terminal").collect();
    assert!(outputs[1]["observation"]["content"][0]["text"].as_str().unwrap().contains("<<secret-hidden>>"));

    let events = world.events(id).await;
    let seen = [json!(frames).to_string(), json!(events).to_string(), response, world.info(id).await.to_string()];
    for secret in [STATIC, LOOKED_UP, "the-key-4242", "sk-test-key"] {
        assert!(seen.iter().all(|text| !text.contains(secret)), "{secret} is seen");
    }
    // The model reads the results without the values, but what it wrote itself as it wrote it.
    let last = world.provider.requests().pop().unwrap().body.to_string();
    assert!(last.contains("<<secret-hidden>>") && last.contains(&format!("it is {STATIC}")), "{last}");

    world.engine.shutdown().await;
    world.engine.store().close().await;
    for entry in fs::read_dir(world.folder.path()).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        let bytes = fs::read(entry.path()).unwrap();
        for secret in [STATIC, LOOKED_UP, "the-key-4242", "sk-test-key"] {
            let is_there = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!is_there, "{secret} is in {:?}", entry.path());
        }
    }
    assert!(database(world.folder.path()).exists());
}

#[tokio::test]
async fn secrets_survive_a_restart_and_can_be_replaced() {
    let world = World::new();
    let id = world.create("m", json!({"secrets": {"TOKEN": "first-value"}})).await;
    let world = world.restart().await;
    let run = async |expected: &str| {
        world
            .provider
            .script("m", [call("terminal", json!({"command": "echo -n \"$TOKEN\" > token.txt"})), say("done")]);
        world.go(id).await;
        world.until_status(id, "finished").await;
        assert_eq!(fs::read_to_string(world.file("token.txt")).unwrap(), expected);
    };
    run("first-value").await;
    let secrets = IndexMap::from([("TOKEN".to_owned(), serde_json::from_value(json!("second-value")).unwrap())]);
    world.engine.update_secrets(&ann(), id, secrets).await.unwrap();
    run("second-value").await;
    world.engine.shutdown().await;
}

#[tokio::test]
async fn a_secret_is_not_looked_up_at_a_closed_address_and_the_log_says_why() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let world = World::new();
    let (address, asked) = secret_server().await;
    let closed = SocketAddr::from(([0, 0, 0, 0], address.port()));
    world.provider.script(
        "m",
        [call("terminal", json!({"command": "echo -n \"<$FAR_TOKEN>\" > far.txt"})), say("no token, so be it")],
    );
    let lookup = lookup(closed, "secret?token=hidden-query-16");
    let id = world.create("m", json!({"secrets": {"FAR_TOKEN": lookup}})).await;
    world.go(id).await;
    world.until_status(id, "finished").await;
    assert_eq!(fs::read_to_string(world.file("far.txt")).unwrap(), "<>");
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    let log = log.text();
    assert!(log.contains("FAR_TOKEN") && log.contains("0.0.0.0 is an unspecified address"), "{log}");
    assert!(log.contains("[outbound] allow") && !log.contains("hidden-query-16") && !log.contains("key-4242"), "{log}");
    world.engine.shutdown().await;
}

#[tokio::test]
async fn a_secret_that_cannot_be_looked_up_does_not_hold_an_interrupt_up() {
    let world = World::new();
    let (address, asked) = secret_server().await;
    world.provider.script("m", [call("terminal", json!({"command": "echo $SLOW"})), say("done")]);
    let id = world.create("m", json!({"secrets": {"SLOW": lookup(address, "never")}})).await;
    world.go(id).await;
    crate::world::until("the secret is asked for", async || asked.load(Ordering::SeqCst) == 1).await;
    within(AT_ONCE, "interrupt", world.engine.interrupt(&ann(), id)).await.unwrap();
    world.engine.run(&ann(), id).await.unwrap();
    world.until_status(id, "finished").await;

    world.provider.script("m", [call("terminal", json!({"command": "echo $SLOW"}))]);
    world.go(id).await;
    crate::world::until("the secret is asked for", async || asked.load(Ordering::SeqCst) == 2).await;
    let begun = std::time::Instant::now();
    world.engine.shutdown().await;
    assert!(begun.elapsed() < Duration::from_millis(1400), "nothing was left to wait for: {:?}", begun.elapsed());
}

#[tokio::test]
async fn text_is_masked_while_it_is_written() {
    let world = World::new();
    world
        .provider
        .script("m", [say("the token is static- value-4711 or static-value-4711 , is it not?").reasoning(STATIC)]);
    let more = json!({"agent": {"llm": {"stream": true}}, "secrets": {"TOKEN": STATIC}});
    let id = world.create("m", more).await;
    let mut watch = world.watch(id).await;
    world.go(id).await;
    let frames = watch.until_settled("finished").await;
    let text = |field: &str| -> String { frames.iter().filter_map(|frame| frame[field].as_str()).collect() };
    assert_eq!(text("content"), "the token is static- value-4711 or <secret-hidden> , is it not?");
    assert_eq!(text("reasoning_content").replace("<secret-hidden>", ""), "");
    assert!(frames.iter().filter(|frame| frame["kind"] == "StreamingDeltaEvent").count() > 1, "it came in pieces");
    let log = world.log(id).await;
    assert!(!log.contains(&"StreamingDeltaEvent".to_owned()), "pieces are not stored: {log:?}");
    world.engine.shutdown().await;
}

#[tokio::test]
async fn what_an_interrupted_answer_left_behind_is_not_shown_with_the_next() {
    let world = World::new();
    world.provider.script("m", [say("old old old old old old old").hang_after(6), hang(), say("brand new")]);
    let more = json!({"agent": {"llm": {"stream": true}}, "secrets": {"TOKEN": STATIC}});
    let id = world.create("m", more).await;
    let mut watch = world.watch(id).await;
    world.go(id).await;
    watch.until(|frame| frame["kind"] == "StreamingDeltaEvent").await;
    world.provider.wait_for_hanging(1).await;
    world.engine.interrupt(&ann(), id).await.unwrap();
    watch.until_settled("paused").await;
    world.provider.wait_for_hang_ups(1).await;
    world.engine.run(&ann(), id).await.unwrap();
    world.provider.wait_for_hanging(1).await;
    world.provider.release();
    let frames = watch.until_settled("finished").await;
    let shown: String = frames.iter().filter_map(|frame| frame["content"].as_str()).collect();
    assert_eq!(shown, "brand new");
    world.engine.shutdown().await;
}

#[tokio::test]
async fn secrets_have_limits_that_say_what_to_do() {
    let world = World::new();
    world.provider.script("m", [say("hi")]);
    let id = world.create("m", json!({})).await;
    let secret = |size: usize| serde_json::from_value(json!("x".repeat(size))).unwrap();
    let add = async |names: std::ops::Range<usize>, size: usize| {
        let secrets = names.map(|number| (format!("S{number}"), secret(size))).collect();
        world.engine.update_secrets(&ann(), id, secrets).await.map_err(|error| error.to_string())
    };
    assert!(add(0..1, 64 << 10).await.is_ok());
    assert!(add(0..1, (64 << 10) + 1).await.unwrap_err().contains("put it into a file"));
    assert!(add(0..257, 4).await.unwrap_err().contains("at most 256"));
    assert!(add(1..200, 4).await.is_ok());
    assert!(add(200..300, 4).await.unwrap_err().contains("at most 256"), "those that are there count too");
    assert!(add(0..17, 64 << 10).await.unwrap_err().contains("bytes of secrets in all"));
    world.engine.shutdown().await;
}
