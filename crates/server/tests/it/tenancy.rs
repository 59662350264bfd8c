//! What breaks when a server for one user is shared, as a list of tests: each tries one way in which two users may meet.
//!
//! What else is on that list is tried elsewhere: ids that are taken for secrets, and sockets that hear what is not theirs
//! (`owners.rs`, `native/walk.rs`); paths of the machine in file routes (the attacks on boxes of the program `longshore`);
//! rows without an owner (the store's contract). Nothing uploads files of users elsewhere.

use longshore_protocol::account::Scope;
use longshore_testkit::say;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    agents::message,
    server::{Setup, TestServer, answer, until},
};

struct World {
    server: TestServer,
    ann: String,
    bob: String,
}

impl World {
    async fn start() -> Self {
        let server = TestServer::of(Setup { users: &["root", "ann", "bob"], ..Setup::default() }).await;
        let (ann, bob) = (
            server.key("ann", &[Scope::Read, Scope::Write]).await,
            server.key("bob", &[Scope::Read, Scope::Write]).await,
        );
        Self { server, ann, bob }
    }

    async fn ask(&self, key: &str, method: Method, path: &str, body: Value) -> Value {
        let (status, answer) = answer(self.server.request(method, path).bearer_auth(key).json(&body)).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    /// A conversation whose model is asked with a key of the user's own.
    async fn conversation(&self, key: &str, model: &str) -> String {
        let own = format!("sk-of-{model}");
        let wish = self.server.wish(model, json!({"agent": {"llm": {"api_key": own}, "tools": []}}));
        let info = self.ask(key, Method::POST, "/api/conversations", wish).await;
        info["id"].as_str().unwrap().to_owned()
    }

    async fn run(&self, key: &str, id: &str) {
        self.ask(key, Method::POST, &format!("/api/conversations/{id}/events"), message("go")).await;
        until(async || {
            let info = self.ask(key, Method::GET, &format!("/api/conversations/{id}"), Value::Null).await;
            (info["execution_status"] == "finished").then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn nobody_asks_a_model_with_the_key_of_another() {
    let world = World::start().await;
    for model in ["ann", "bob"] {
        world.server.provider().respond(model, |_| say("done"));
    }
    let (anns, bobs) = tokio::join!(world.conversation(&world.ann, "ann"), world.conversation(&world.bob, "bob"));
    tokio::join!(world.run(&world.ann, &anns), world.run(&world.bob, &bobs));
    for request in world.server.provider().requests() {
        let model = request.model();
        assert_eq!(request.header("authorization"), format!("Bearer sk-of-{model}"), "{model}");
    }
    world.server.stop().await;
}

#[tokio::test]
async fn a_socket_hears_of_its_own_conversation_only() {
    let world = World::start().await;
    for model in ["ann", "bob"] {
        world.server.provider().respond(model, move |_| say(format!("said to {model}")));
    }
    let bobs = world.conversation(&world.bob, "bob").await;
    let key = [("X-Session-API-Key", &*world.bob)];
    let mut socket = world.server.try_socket(&format!("/sockets/events/{bobs}"), &key).await.unwrap();
    // A conversation of somebody else begins, runs and ends while the socket is open.
    let anns = world.conversation(&world.ann, "ann").await;
    world.run(&world.ann, &anns).await;
    world.run(&world.bob, &bobs).await;
    let mut heard = String::new();
    loop {
        let frame = socket.next().await.json();
        heard.push_str(&frame.to_string());
        if frame["key"] == "full_state" && frame["value"]["execution_status"] == "finished" {
            break;
        }
    }
    assert!(heard.contains("said to bob") && !heard.contains("said to ann") && !heard.contains(&anns), "{heard}");
    world.server.stop().await;
}

#[tokio::test]
async fn ids_that_clients_choose_do_not_meet() {
    let world = World::start().await;
    // The same request id, idempotency key and name of a model from two users at the same time.
    let make = async |key: &str| {
        let request = world.server.post("/workspaces").bearer_auth(key).header("Idempotency-Key", "same");
        let (status, made) = answer(request.header("X-Request-ID", "same").json(&json!({}))).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        made["id"].as_str().unwrap().to_owned()
    };
    let (anns, bobs) = tokio::join!(make(&world.ann), make(&world.bob));
    assert_ne!(anns, bobs);
    let request = world.server.get(&format!("/workspaces/{anns}")).bearer_auth(&world.bob);
    assert_eq!(answer(request).await.0, StatusCode::NOT_FOUND);
    world.server.stop().await;
}
