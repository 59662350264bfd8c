//! The native API, as two users with keys of their own see it.

mod conversations;
mod execute;
mod files;
mod page;
mod stream;
mod walk;
mod workspaces;

use std::sync::Arc;

use async_trait::async_trait;
use longshore_protocol::account::{Scope, UserRole};
use longshore_server::{Authenticator, Options, Principal, auth::Denied, own_workspace_id};
use longshore_store::Owner;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::server::{Setup, TestServer, answer};

/// An id that nobody has.
const NOBODY: &str = "99999999-2222-3333-4444-555555555555";

/// Knows Ann and Bob by keys that are their names: `ann`, `ann:read` and `ann:write` for keys with one scope, and `ann@ID` for one that is
/// bound to a workspace.
#[derive(Debug)]
struct Names;

#[async_trait]
impl Authenticator for Names {
    async fn authenticate(&self, key: &str) -> Result<Principal, Denied> {
        let known = |name: &str| ["ann", "bob"].contains(&name).then(|| Principal::new(name)).ok_or(Denied::Unknown);
        match key.split_once([':', '@']) {
            None => known(key),
            Some((name, "read")) => Ok(known(name)?.with(UserRole::User, vec![Scope::Read])),
            Some((name, "write")) => Ok(known(name)?.with(UserRole::User, vec![Scope::Write])),
            Some((name, id)) => Ok(known(name)?.bound_to(id.parse().map_err(|_| Denied::Unknown)?)),
        }
    }
}

/// A server of Ann and Bob.
struct World(TestServer);

impl World {
    async fn start() -> Self {
        Self::with(Options::default()).await
    }

    async fn with(mut options: Options) -> Self {
        // All users are at one address, and some show wrong keys.
        options.limits.wrong_keys_per_minute = 1000;
        Self(TestServer::of(Setup { options, authenticator: Arc::new(Names), ..Setup::default() }).await)
    }

    fn request(&self, key: &str, method: Method, path: &str) -> RequestBuilder {
        self.0.request(method, path).bearer_auth(key)
    }

    async fn ask(&self, key: &str, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let request = self.request(key, method, path);
        answer(if body.is_null() { request } else { request.json(&body) }).await
    }

    async fn get(&self, key: &str, path: &str) -> (StatusCode, Value) {
        self.ask(key, Method::GET, path, Value::Null).await
    }

    async fn post(&self, key: &str, path: &str, body: Value) -> (StatusCode, Value) {
        self.ask(key, Method::POST, path, body).await
    }

    async fn delete(&self, key: &str, path: &str) -> (StatusCode, Value) {
        self.ask(key, Method::DELETE, path, Value::Null).await
    }

    /// Makes a workspace in a folder of this name and returns its path.
    async fn workspace(&self, key: &str, name: &str) -> String {
        let (status, info) = self.post(key, "/workspaces", json!({"working_dir": self.0.path(name)})).await;
        assert_eq!(status, StatusCode::CREATED, "{info}");
        format!("/workspaces/{}", info["id"].as_str().unwrap())
    }

    /// The model of this name.
    fn llm(&self, model: &str) -> Value {
        json!({"model": format!("openai/{model}"), "base_url": self.0.provider().url(), "api_key": "sk-test-key", "num_retries": 0})
    }

    /// Makes a conversation of a model and returns its path.
    async fn conversation(&self, key: &str, model: &str, more: Value) -> String {
        let mut wish = json!({"llm": self.llm(model)});
        wish.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, info) = self.post(key, "/conversations", wish).await;
        assert_eq!(status, StatusCode::CREATED, "{info}");
        format!("/conversations/{}", info["id"].as_str().unwrap())
    }

    /// Waits until a conversation does this.
    async fn until_status(&self, key: &str, conversation: &str, status: &str) -> Value {
        crate::server::until(async || {
            let (_, info) = self.get(key, conversation).await;
            (info["status"] == status).then_some(info)
        })
        .await
    }
}

/// The path of the workspace that a user has anyway.
fn own(user: &str) -> String {
    format!("/workspaces/{}", own_workspace_id(&Owner(user.into())))
}

/// The last part of a path.
fn id(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}
