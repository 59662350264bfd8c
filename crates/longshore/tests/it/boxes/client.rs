//! What a client of the server does with boxes.

use std::time::Duration;

use longshore_sandbox::SandboxId;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::PATIENCE;

/// A client of a server that may be gone at any moment.
#[derive(Clone, Default)]
pub(crate) struct Client {
    url: String,
    http: reqwest::Client,
}

impl Client {
    /// A client of the server at an address.
    pub(crate) fn new(address: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Self { url: format!("http://{address}"), http }
    }

    /// The port that the server listens at.
    pub(crate) fn port(&self) -> u16 {
        reqwest::Url::parse(&self.url).unwrap().port().unwrap()
    }

    /// The server answers, and says that all is well.
    pub(crate) async fn must_be_healthy(&self) {
        let answer = self.http.get(format!("{}/health", self.url)).send().await.expect("the server answers");
        assert!(answer.status().is_success(), "{answer:?}");
    }

    /// The user's box.
    pub(crate) fn of_user(&self) -> Boxed {
        self.at("/api")
    }

    /// A box that another client knows, perhaps one of the server that ran before.
    pub(crate) fn again(&self, boxed: &Boxed) -> Boxed {
        self.at(reqwest::Url::parse(&boxed.base).unwrap().path())
    }

    fn at(&self, path: &str) -> Boxed {
        Boxed { base: format!("{}{path}", self.url), http: self.http.clone() }
    }

    /// The place of a new conversation.
    pub(crate) async fn try_unmade(&self, options: Value) -> Option<Boxed> {
        let body = json!({
            "agent": {"kind": "Agent", "llm": {"model": "scripted/none"}, "tools": []},
            "workspace": {"working_dir": "/workspace", "sandbox": options},
        });
        let request = self.http.post(format!("{}/api/conversations", self.url)).json(&body);
        let answer = request.send().await.ok()?;
        let made: Value = answer.error_for_status().ok()?.json().await.ok()?;
        Some(self.of_conversation(made["id"].as_str()?))
    }

    /// Deletes the conversation that a box belongs to.
    pub(crate) async fn try_delete(&self, boxed: &Boxed) {
        let _ = self.http.delete(&boxed.base).send().await;
    }

    /// The places of all conversations.
    pub(crate) async fn conversations(&self) -> Vec<Boxed> {
        let answer = self.http.get(format!("{}/api/conversations/search?limit=100", self.url)).send().await.unwrap();
        let page: Value = answer.json().await.unwrap();
        let items = page["items"].as_array().unwrap().iter();
        items.map(|item| self.of_conversation(item["id"].as_str().unwrap())).collect()
    }

    fn of_conversation(&self, id: &str) -> Boxed {
        self.at(&format!("/api/conversations/{id}"))
    }
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i64,
    pub(crate) text: String,
}

/// A box, as a client of the server reaches it.
#[derive(Clone)]
pub(crate) struct Boxed {
    base: String,
    http: reqwest::Client,
}

impl Boxed {
    /// Runs a script. `Err` is what the server says if it cannot.
    pub(crate) async fn try_sh(&self, script: &str, seconds: u64) -> Result<Said, String> {
        let body = json!({"command": script, "timeout": seconds});
        let request = self.http.post(format!("{}/bash/execute_bash_command", self.base)).json(&body);
        let answer = request.send().await.map_err(|error| error.to_string())?;
        if !answer.status().is_success() {
            return Err(answer.text().await.unwrap());
        }
        let output: Value = answer.json().await.unwrap();
        let text = |name: &str| output[name].as_str().unwrap_or_default().to_owned();
        Ok(Said { code: output["exit_code"].as_i64().unwrap(), text: text("stdout") + &text("stderr") })
    }

    pub(crate) async fn sh(&self, script: &str) -> Said {
        self.try_sh(script, 30).await.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Runs a script that must succeed.
    pub(crate) async fn must(&self, script: &str) -> String {
        let said = self.sh(script).await;
        assert_eq!(said.code, 0, "{script}: {}", said.text);
        said.text.trim().to_owned()
    }

    /// Starts a script and does not wait.
    pub(crate) async fn start(&self, script: &str) {
        let body = json!({"command": script, "timeout": 300});
        let request = self.http.post(format!("{}/bash/start_bash_command", self.base)).json(&body);
        assert!(request.send().await.unwrap().status().is_success());
    }

    pub(crate) async fn upload(&self, path: &str, content: &str) -> u16 {
        let body = format!(
            "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n{content}\r\n--x--\r\n"
        );
        let request = self.http.post(self.url("file/upload", path));
        let request = request.header("Content-Type", "multipart/form-data; boundary=x").body(body);
        request.send().await.unwrap().status().as_u16()
    }

    fn url(&self, route: &str, path: &str) -> reqwest::Url {
        reqwest::Url::parse_with_params(&format!("{}/{route}", self.base), [("path", path)]).unwrap()
    }

    /// Asks for a file.
    pub(crate) async fn fetch(&self, path: &str) -> reqwest::Response {
        self.http.get(self.url("file/download", path)).send().await.unwrap()
    }

    /// The status, and the content of a file or why it cannot be had.
    pub(crate) async fn download(&self, path: &str) -> (u16, String) {
        let answer = self.fetch(path).await;
        let status = answer.status().as_u16();
        (status, String::from_utf8_lossy(&answer.bytes().await.unwrap()).into_owned())
    }

    /// As [`Boxed::download`], with a path that is escaped already.
    pub(crate) async fn download_raw(&self, escaped: &str) -> (u16, Vec<u8>) {
        let answer = self.http.get(format!("{}/file/download?path={escaped}", self.base)).send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
    }

    /// What the server says of the box.
    pub(crate) async fn info(&self) -> Value {
        self.http.get(format!("{}/sandbox", self.base)).send().await.unwrap().json().await.unwrap()
    }

    /// The box's id, if there is a box.
    pub(crate) async fn try_id(&self) -> Option<SandboxId> {
        self.info().await["id"].as_str()?.parse().ok()
    }

    /// All that happened to the box, from position `from`.
    pub(crate) async fn events(&self, mut from: u64) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            let url = format!("{}/sandbox/events?from_seq={from}", self.base);
            let page: Value = self.http.get(url).send().await.unwrap().json().await.unwrap();
            let items = page["items"].as_array().unwrap();
            if items.is_empty() {
                return events;
            }
            events.extend_from_slice(items);
            from = page["next_seq"].as_u64().unwrap();
        }
    }

    /// Changes the box's limits, and returns the status of the answer.
    pub(crate) async fn limit(&self, limits: Value) -> u16 {
        let request = self.http.patch(format!("{}/sandbox", self.base)).json(&json!({"resource_limits": limits}));
        request.send().await.unwrap().status().as_u16()
    }

    /// Removes the box, if the server still runs.
    pub(crate) async fn try_remove(&self) {
        let _ = self.http.delete(format!("{}/sandbox", self.base)).send().await;
    }

    /// Puts the box to sleep, if the server still runs.
    pub(crate) async fn try_pause(&self) {
        let _ = self.http.post(format!("{}/sandbox/pause", self.base)).send().await;
    }

    /// Removes the box.
    pub(crate) async fn remove(&self) {
        let answer = self.http.delete(format!("{}/sandbox", self.base)).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// Waits until the box is in a state.
    pub(crate) async fn until_state(&self, wanted: &str) {
        eventually(&format!("the box is {wanted}"), async || self.info().await["state"] == wanted).await;
    }
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < end, "{what}: not in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
