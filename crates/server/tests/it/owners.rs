//! Two users of one server: neither finds anything of the other, on any route that the document has, and no key opens more
//! than it may.

use std::{cmp::Reverse, collections::BTreeSet};

use async_trait::async_trait;
use longshore_protocol::account::{Scope, UserRole};
use longshore_server::{Authenticator, Limits, Options, Principal, auth::Denied};
use longshore_testkit::{call, say};
use reqwest::{Method, RequestBuilder, StatusCode, multipart::Form, multipart::Part};
use serde_json::{Map, Value, json};

use crate::{
    agents::message,
    server::{Said, Setup, TestServer, answer, until},
};

/// Stands in everything that Ann has and in nothing that Bob says.
const MARK: &str = "annmark";

/// Routes that ask for no key; that of the metrics asks no program on the same machine for one.
const OPEN: [&str; 6] = ["/", "/alive", "/health", "/metrics", "/ready", "/server_info"];

/// Knows two users, whose keys are their names, keys of Ann with which less can be done, and an admin.
#[derive(Debug)]
pub(crate) struct AnnAndBob;

#[async_trait]
impl Authenticator for AnnAndBob {
    fn anybody(&self) -> Option<Principal> {
        None
    }

    async fn authenticate(&self, key: &str) -> Result<Principal, Denied> {
        let ann = |scopes| Principal::new("ann").with(UserRole::User, scopes);
        Ok(match key {
            "ann" | "bob" => Principal::new(key),
            "root" => Principal::new(key).as_admin(),
            "reader" => ann(vec![Scope::Read]),
            "writer" => ann(vec![Scope::Write]),
            "would-be-admin" => ann(Scope::ALL.to_vec()),
            "admin-without-scope" => Principal::new("root").with(UserRole::Admin, vec![Scope::Read, Scope::Write]),
            // To a workspace that Ann has not.
            "bound" => Principal::new("ann").bound_to(uuid::Uuid::nil()),
            _ => return Err(Denied::Unknown),
        })
    }
}

/// A server of two users, and what Ann has on it.
struct World {
    server: TestServer,
    document: Value,
    conversation: String,
    folder: String,
    event: String,
    sha: String,
    /// A command of Ann's conversation, and one outside of it; both run.
    commands: [String; 2],
}

impl World {
    async fn start() -> Self {
        // Each route is asked with a wrong key, too.
        let limits = Limits { wrong_keys_per_minute: 10_000, ..Limits::default() };
        let options = Options { limits, ..Options::default() };
        let authenticator = std::sync::Arc::new(AnnAndBob);
        let server = TestServer::of(Setup { options, authenticator, ..Setup::default() }).await;
        server.provider().script("m", [call("terminal", json!({"command": format!("echo {MARK}")})), say(MARK)]);
        server.provider().respond("m", |_| say(MARK));
        let ann = async |method: Method, path: &str, body: Value| {
            let request = server.request(method, path).header("X-Session-API-Key", "ann");
            let (status, answer) = answer(request.json(&body)).await;
            assert!(status.is_success(), "{path}: {answer}");
            answer
        };
        let wish = server.wish("m", json!({"tags": {"mark": MARK}, "secrets": {"NAME": MARK}}));
        let info = ann(Method::POST, "/api/conversations", wish).await;
        let conversation = info["id"].as_str().unwrap().to_owned();
        let folder = info["workspace"]["working_dir"].as_str().unwrap().to_owned();
        let place = format!("/api/conversations/{conversation}");
        ann(Method::PATCH, &place, json!({"title": MARK})).await;
        ann(Method::POST, &format!("{place}/events"), message(MARK)).await;
        // At the end of the run, so that the requests meet a conversation at rest, with a repository of its own.
        let event = until(async || {
            let info = ann(Method::GET, &place, Value::Null).await;
            let page = ann(Method::GET, &format!("{place}/events/search"), Value::Null).await;
            let is_finished = info["execution_status"] == "finished";
            page["items"][0]["id"].as_str().filter(|_| is_finished).map(str::to_owned)
        })
        .await;
        let setup = format!(
            "echo {MARK} >file && git add . && git -c user.name=N -c user.email=n@x commit -qm {MARK} && \
             git rev-parse HEAD"
        );
        let output = ann(Method::POST, &format!("{place}/bash/execute_bash_command"), json!({"command": setup})).await;
        assert_eq!(output["exit_code"], 0, "{output}");
        let sha = output["stdout"].as_str().unwrap().lines().last().unwrap().to_owned();
        let mut commands = Vec::new();
        for place in [place.as_str(), "/api"] {
            let command = json!({"command": format!("echo {MARK}; sleep 30")});
            let command = ann(Method::POST, &format!("{place}/bash/start_bash_command"), command).await;
            commands.push(command["id"].as_str().unwrap().to_owned());
        }
        let document = answer(server.get("/openapi.json")).await.1;
        Self { document, conversation, folder, event, sha, commands: commands.try_into().unwrap(), server }
    }

    /// All operations that ask for a key, those that end something last.
    fn operations(&self) -> Vec<Operation<'_>> {
        let mut operations: Vec<_> = self.document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .filter(|(path, _)| !OPEN.contains(&path.as_str()))
            // Those of the native API are walked by its own tests.
            .filter(|(path, _)| !path.starts_with("/workspaces") && !path.starts_with("/conversations"))
            .flat_map(|(path, item)| {
                item.as_object().unwrap().iter().map(move |(method, description)| Operation {
                    method: method.to_uppercase().parse().unwrap(),
                    path,
                    description,
                })
            })
            .collect();
        operations.sort_by_key(|operation| (operation.is_removal(), Reverse(operation.path.len())));
        operations
    }

    /// A request that is right in every respect, about what Ann has.
    fn request(&self, operation: &Operation<'_>) -> RequestBuilder {
        let mut path = operation.path.to_owned();
        let mut query = Vec::new();
        for parameter in operation.description["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap();
            if parameter["in"] == "path" {
                path = path.replace(&format!("{{{name}}}"), &self.named(operation, name).unwrap());
            } else if parameter["required"] == true {
                let value =
                    self.named(operation, name).unwrap_or_else(|| self.sample(&parameter["schema"]).to_string());
                query.push((name, value));
            }
        }
        let request = self.server.request(operation.method.clone(), &path).query(&query);
        let content = &operation.description["requestBody"]["content"];
        if content.get("multipart/form-data").is_some() {
            return request.multipart(Form::new().part("file", Part::bytes(b"new".as_slice()).file_name("x")));
        }
        match content["application/json"].get("schema") {
            Some(schema) => request.json(&self.sample(schema)),
            None => request,
        }
    }

    /// What a name stands for in the world.
    fn named(&self, operation: &Operation<'_>, name: &str) -> Option<String> {
        let is_inside = operation.is_inside();
        let text = match name {
            "conversation_id" | "ids" => &self.conversation,
            "event_id" if operation.path.contains("bash") => &self.commands[usize::from(!is_inside)],
            "event_id" | "event_ids" => &self.event,
            "command_id" => &self.commands[usize::from(!is_inside)],
            "sha" => &self.sha,
            // Outside of conversations everybody acts on the machine; what is where belongs to nobody.
            "path" if !is_inside => return Some(self.server.path("shared")),
            "path" if operation.path.contains("create_directory") => return Some(format!("{}/new", self.folder)),
            "path" if operation.path.contains("/file/") || operation.path.contains("diff") => {
                return Some(format!("{}/file", self.folder));
            }
            "path" => &self.folder,
            // A user and a key that are not there.
            "name" => return Some("nobody".to_owned()),
            "key_id" => return Some("0".repeat(16)),
            _ => return None,
        };
        Some(text.clone())
    }

    /// A value that a schema allows, with required fields only.
    fn sample(&self, schema: &Value) -> Value {
        if let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) {
            return match name {
                "StartConversation" => self.server.wish("m", json!({"conversation_id": self.conversation})),
                "ConversationId" => json!(self.conversation),
                name => self.sample(&self.document["components"]["schemas"][name]),
            };
        }
        for choice in ["oneOf", "anyOf"] {
            if let Some(choices) = schema[choice].as_array() {
                let choice = choices.iter().find(|choice| choice["type"] != "null").unwrap();
                return self.sample(choice);
            }
        }
        if let Some(parts) = schema["allOf"].as_array() {
            let parts = parts.iter().map(|part| self.sample(part));
            return Value::Object(parts.filter_map(|part| part.as_object().cloned()).flatten().collect());
        }
        if let Some(one) = schema["enum"].get(0).or_else(|| schema.get("const")) {
            return one.clone();
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds.iter().find(|kind| *kind != "null").unwrap(),
            kind => kind,
        };
        match kind.as_str().unwrap_or("object") {
            "string" if schema["format"] == "uuid" => json!(self.conversation),
            "string" => json!("true"),
            "integer" | "number" => schema.get("minimum").cloned().unwrap_or(json!(1)),
            "boolean" => json!(true),
            "array" => json!([self.sample(&schema["items"])]),
            _ => {
                let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
                let fields = required.map(|name| (name.to_owned(), self.sample(&schema["properties"][name])));
                Value::Object(fields.collect::<Map<_, _>>())
            }
        }
    }
}

struct Operation<'a> {
    method: Method,
    path: &'a str,
    description: &'a Value,
}

impl Operation<'_> {
    fn is_inside(&self) -> bool {
        self.path.contains("{conversation_id}")
    }

    fn is_for_admins(&self) -> bool {
        self.path.starts_with("/admin/") || self.path == "/api/audit"
    }

    fn is_removal(&self) -> bool {
        self.method == Method::DELETE || self.path.ends_with("/stop")
    }
}

#[tokio::test]
async fn no_route_gives_one_user_anything_of_another() {
    let world = World::start().await;
    let operations = world.operations();
    let as_user = |operation, user| world.request(operation).header("X-Session-API-Key", user);
    assert!(operations.len() > 50, "only {} operations", operations.len());
    for operation in &operations {
        let name = format!("{} {}", operation.method, operation.path);
        let unauthorized = (StatusCode::UNAUTHORIZED, json!({"detail": "Unauthorized"}));
        assert_eq!(answer(world.request(operation)).await, unauthorized, "{name}");
        assert_eq!(answer(as_user(operation, "eve")).await, unauthorized, "{name}");
        if operation.is_for_admins() {
            for key in ["ann", "would-be-admin", "admin-without-scope"] {
                assert_eq!(answer(as_user(operation, key)).await.0, StatusCode::FORBIDDEN, "{name} as {key}");
            }
            let status = answer(as_user(operation, "root")).await.0;
            assert!(status.is_success() || status == StatusCode::NOT_FOUND, "{name} as root: {status}");
            continue;
        }
        let too_little = if operation.method == Method::GET { "writer" } else { "reader" };
        assert_eq!(answer(as_user(operation, too_little)).await.0, StatusCode::FORBIDDEN, "{name} as {too_little}");
        if operation.is_inside() {
            assert_eq!(answer(as_user(operation, "bound")).await.0, StatusCode::NOT_FOUND, "{name} with a bound key");
        }
        let (status, body) = answer(as_user(operation, "bob")).await;
        assert!(!body.to_string().contains(MARK), "{name} shows {body}");
        if operation.is_inside() {
            assert_eq!(status, StatusCode::NOT_FOUND, "{name}: {body}");
        }
    }
    // All requests were right: Ann gets what she asks for, and Bob has changed nothing of it.
    let mut shown = BTreeSet::new();
    for operation in operations.iter().filter(|operation| !operation.is_for_admins()) {
        let name = format!("{} {}", operation.method, operation.path);
        let (status, body) = answer(as_user(operation, "ann")).await;
        let is_busy = status == StatusCode::CONFLICT && operation.path.ends_with("/run");
        let is_about_nothing = operation.path.starts_with("/keys")
            || !operation.is_inside() && operation.path.contains("/file/")
            || !operation.is_inside() && operation.path.contains("/git/");
        assert!(status.is_success() || is_busy || is_about_nothing, "{name}: {status} {body}");
        if body.to_string().contains(MARK) {
            shown.insert(operation.path);
        }
    }
    assert!(shown.len() > 10, "Ann is shown her own only by {shown:?}");
    world.server.stop().await;
}

#[tokio::test]
async fn no_socket_gives_one_user_anything_of_another() {
    let world = World::start().await;
    let key = |user| [("X-Session-API-Key", user)];
    let events = format!("/sockets/events/{}?resend_mode=all", world.conversation);
    let mut bob = world.server.try_socket(&events, &key("bob")).await.unwrap();
    assert_eq!(bob.next().await, Said::Closed(4004));
    let mut ann = world.server.try_socket(&events, &key("ann")).await.unwrap();
    assert!(ann.next().await.json().to_string().contains(MARK));

    let mut bob = world.server.try_socket("/sockets/bash-events?resend_mode=all", &key("bob")).await.unwrap();
    let mut ann = world.server.try_socket("/sockets/bash-events?resend_mode=all", &key("ann")).await.unwrap();
    assert!(ann.next().await.json().to_string().contains(MARK));
    bob.send("x").await;
    assert_eq!(bob.next().await.json()["code"], "JSONDecodeError", "nothing else comes first");
    ann.send(&json!({"command": format!("echo {MARK}")}).to_string()).await;
    ann.until(|frame| frame["exit_code"] == 0).await;

    for path in [&*events, "/sockets/bash-events"] {
        let refused = world.server.try_socket(path, &key("writer")).await.unwrap_err().to_string();
        assert!(refused.contains("403"), "{path}: {refused}");
        let mut reader = world.server.try_socket(path, &key("reader")).await.unwrap();
        reader.send(&json!({"command": "echo x", "role": "user", "content": []}).to_string()).await;
        reader.until(|frame| frame["code"] == "Forbidden").await;
    }
    let mut bound = world.server.try_socket(&events, &key("bound")).await.unwrap();
    assert_eq!(bound.next().await, Said::Closed(4004));
    bob.send("x").await;
    assert_eq!(bob.next().await.json()["code"], "JSONDecodeError", "nothing else came meanwhile");
    world.server.stop().await;
}

#[tokio::test]
async fn an_id_that_is_taken_is_no_window() {
    let world = World::start().await;
    let wish = world.server.wish("m", json!({"conversation_id": world.conversation}));
    let request = world.server.post("/api/conversations").header("X-Session-API-Key", "bob").json(&wish);
    let (status, body) = answer(request).await;
    let detail = format!("conversation id {} is taken: choose another one, or leave it out", world.conversation);
    assert_eq!((status, body), (StatusCode::CONFLICT, json!({"detail": detail})));
    let wish = world.server.wish("m", json!({"parent_conversation_id": world.conversation}));
    let request = world.server.post("/api/conversations").header("X-Session-API-Key", "bob").json(&wish);
    assert_eq!(answer(request).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    world.server.stop().await;
}

#[tokio::test]
async fn only_an_admin_reads_the_metrics_from_elsewhere() {
    let server = TestServer::of(Setup { authenticator: std::sync::Arc::new(AnnAndBob), ..Setup::default() }).await;
    let far = || server.get("/metrics").header("X-Forwarded-For", "198.51.100.1");
    assert_eq!(far().send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let users = far().header("X-Session-API-Key", "bob").send().await.unwrap();
    assert_eq!(users.status(), StatusCode::FORBIDDEN);
}
