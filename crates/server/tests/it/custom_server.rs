//! The example of a server of one's own, over real HTTP.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

/// The example as a process; killed with the test.
struct Example {
    child: Child,
    address: String,
    client: Client,
    _folder: tempfile::TempDir,
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Example {
    fn start() -> Self {
        let folder = tempfile::TempDir::new().unwrap();
        // Beside the tests' own folder, as cargo has it.
        let program: PathBuf =
            std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples/custom_server");
        assert!(program.exists(), "cargo builds examples only together with all tests: leave --test out");
        let mut command = Command::new(program);
        let command = command.arg(folder.path()).arg("127.0.0.1:0").stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let client = Client::builder().no_proxy().build().unwrap();
        Self { child, address: address.trim().to_owned(), client, _folder: folder }
    }

    async fn ask(&self, key: &str, method: Method, path: &str, body: Value) -> (StatusCode, Value, bool) {
        let request = self.client.request(method, format!("{}{path}", self.address)).bearer_auth(key);
        let request = if body.is_null() { request } else { request.json(&body) };
        let response = request.send().await.unwrap();
        let (status, is_wrapped) = (response.status(), response.headers().contains_key("x-served-by"));
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)), is_wrapped)
    }

    async fn get(&self, key: &str, path: &str) -> (StatusCode, Value, bool) {
        self.ask(key, Method::GET, path, Value::Null).await
    }
}

#[tokio::test]
async fn the_example_does_what_it_says() {
    let example = Example::start();
    // Its own keys, before its own routes and ours.
    let denied = (StatusCode::UNAUTHORIZED, json!({"detail": "Unauthorized"}), true);
    for path in ["/tier", "/workspaces", "/api/tools/"] {
        assert_eq!(example.get("wrong", path).await, denied, "{path}");
    }
    let motto = example.client.get(format!("{}/motto", example.address)).send().await.unwrap();
    assert_eq!((motto.status(), motto.text().await.unwrap()), (StatusCode::OK, "Work ashore.".to_owned()));
    // Its own routes know the principal, and its layer is around all.
    for (key, user, tier, timeout) in [("ann-key", "ann", "Paid", 3600), ("bob-key", "bob", "Free", 60)] {
        let expected = (StatusCode::OK, json!({"user": user, "tier": tier}), true);
        assert_eq!(example.get(key, "/tier").await, expected);
        // What users pay for is what workspaces are made from: the one that each has, and those they make.
        let (_, list, is_wrapped) = example.get(key, "/workspaces").await;
        assert_eq!((&list["items"][0]["timeout"], is_wrapped), (&json!(timeout), true), "{list}");
        let (status, made, _) = example.ask(key, Method::POST, "/workspaces", json!({})).await;
        assert_eq!((status, &made["timeout"], &made["user_id"]), (StatusCode::CREATED, &json!(timeout), &json!(user)));
        let path = format!("/workspaces/{}/execute", made["id"].as_str().unwrap());
        let (_, output, _) = example.ask(key, Method::POST, &path, json!({"command": "echo works"})).await;
        assert_eq!(output["stdout"], "works\n", "{output}");
    }
    assert_eq!(example.get("ann-key", "/nothing").await.0, StatusCode::NOT_FOUND);
}
