//! Requests that were recorded with the official server, sent to this one: the same status, fields and words.
//!
//! `recordings/*.jsonl` has one exchange a line. Ids and folders of the recording are replaced by those of the test.
//! Where this server is meant to differ, the test says so.

use std::collections::{BTreeMap, BTreeSet};

use longshore_testkit::call;
use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::server::{TestServer, answer};

#[derive(Debug, Deserialize)]
struct Exchange {
    method: String,
    path: String,
    #[serde(default)]
    params: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    req: Value,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    status: u16,
    resp: Value,
}

/// Fields whose values are equal, where both answers have them.
const EQUAL: [&str; 15] = [
    "command",
    "cwd",
    "timeout",
    "exit_code",
    "stdout",
    "stderr",
    "success",
    "file_size",
    "modified",
    "original",
    "detail",
    "status",
    "path",
    "subject",
    "author",
];

/// What the replay knows of the recording's names.
struct Replay<'a> {
    server: &'a TestServer,
    /// Ids and commits of the recording with those of the test.
    names: BTreeMap<String, String>,
    folder: &'static str,
}

impl Replay<'_> {
    fn translate(&self, text: &str) -> String {
        let text = text.replace(self.folder, self.server.folder.to_str().unwrap());
        // The official server's page ids are file names that end in the id.
        let bare = text.rsplit_once('_').map_or(text.as_str(), |(_, id)| id);
        if let Some(ours) = self.names.get(bare) {
            return ours.clone();
        }
        self.names.iter().fold(text, |text, (theirs, ours)| text.replace(theirs, ours))
    }

    async fn send(&mut self, exchange: &Exchange) -> Value {
        let method: Method = exchange.method.parse().unwrap();
        let mut request = self.server.request(method, &self.translate(&exchange.path));
        let mut params = Vec::new();
        for (name, value) in exchange.params.iter().flatten() {
            for value in value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice) {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                params.push((name, self.translate(&text)));
            }
        }
        request = request.query(&params);
        for (name, value) in &exchange.headers {
            request = request.header(name, value);
        }
        if exchange.path == "/api/file/upload" {
            if exchange.status != 422 {
                request =
                    request.multipart(Form::new().part("file", Part::bytes(b"hello upload".as_slice()).file_name("x")));
            }
        } else if !exchange.req.is_null() {
            let body: Value = serde_json::from_str(&self.translate_all(&exchange.req)).unwrap();
            request = request.json(&body);
        }
        let (status, body) = answer(request).await;
        assert_eq!(status.as_u16(), exchange.status, "{exchange:?}: {body}");
        for name in ["id", "command_id"] {
            self.learn(&exchange.resp[name], &body[name]);
        }
        self.learn(&exchange.resp["commits"][0]["sha"], &body["commits"][0]["sha"]);
        if exchange.path.ends_with("/events/search") && exchange.params.is_none() {
            for (theirs, ours) in
                exchange.resp["items"].as_array().unwrap().iter().zip(body["items"].as_array().unwrap())
            {
                self.learn(&theirs["id"], &ours["id"]);
            }
        }
        body
    }

    fn translate_all(&self, value: &Value) -> String {
        let text = value.to_string().replace(self.folder, self.server.folder.to_str().unwrap());
        self.names.iter().fold(text, |text, (theirs, ours)| text.replace(theirs, ours))
    }

    fn learn(&mut self, theirs: &Value, ours: &Value) {
        if let (Some(theirs), Some(ours)) = (theirs.as_str(), ours.as_str()) {
            self.names.insert(theirs.to_owned(), ours.to_owned());
        }
    }

    /// Compares answers: the fields of objects, nulls, and the values of [`EQUAL`] fields but `except`.
    fn compare(&self, theirs: &Value, ours: &Value, except: &[&str], at: &str) {
        match (theirs, ours) {
            (Value::Object(theirs), Value::Object(ours)) => {
                let keys = |object: &serde_json::Map<String, Value>| object.keys().cloned().collect::<BTreeSet<_>>();
                assert_eq!(keys(theirs), keys(ours), "{at}");
                for (key, theirs) in theirs {
                    let (at, ours) = (format!("{at}.{key}"), &ours[key]);
                    if except.contains(&key.as_str()) {
                        continue;
                    }
                    if EQUAL.contains(&key.as_str()) && !theirs.is_object() && !theirs.is_array() {
                        let theirs = theirs.as_str().map_or_else(|| theirs.clone(), |text| json!(self.translate(text)));
                        assert_eq!(&theirs, ours, "{at}");
                    }
                    self.compare(theirs, ours, except, &at);
                }
            }
            (Value::Array(theirs), Value::Array(ours)) => {
                for (index, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
                    self.compare(theirs, ours, except, &format!("{at}[{index}]"));
                }
            }
            _ => assert_eq!(theirs.is_null(), ours.is_null(), "{at}: {theirs} and {ours}"),
        }
    }
}

fn exchanges(text: &str) -> impl Iterator<Item = Exchange> {
    text.lines().map(|line| serde_json::from_str(line).unwrap())
}

#[tokio::test]
async fn commands() {
    let server = TestServer::start().await;
    let mut replay = Replay { server: &server, names: BTreeMap::new(), folder: "/no/folder" };
    for exchange in exchanges(include_str!("recordings/e_bash.jsonl")) {
        let body = replay.send(&exchange).await;
        if exchange.path.ends_with("/stop") || exchange.path.ends_with("start_bash_command") {
            // The recording paused here too, so that the commands had begun.
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        }
        let command = exchange.req["command"].as_str().unwrap_or_default();
        let except: &[&str] = if command.starts_with("trap 'echo trapped") || command.contains("env | grep") {
            // What is said after SIGTERM is kept here, and the environment is another.
            &["stdout"]
        } else if exchange.req["cwd"] == "/nonexistent" {
            &["stderr"]
        } else if exchange.path.ends_with("/search") {
            // Output is shown here before the end, so there are more events.
            &["items", "next_page_id"]
        } else {
            &[]
        };
        replay.compare(&exchange.resp, &body, except, &exchange.path);
        if let (Some(theirs), Some(ours)) = (exchange.resp["items"].as_array(), body["items"].as_array()) {
            for item in ours {
                let same_kind = theirs.iter().find(|theirs| theirs["kind"] == item["kind"]);
                if let Some(theirs) = same_kind {
                    let except = ["id", "stdout", "stderr", "exit_code", "command", "cwd", "timeout"];
                    replay.compare(theirs, item, &except, &exchange.path);
                }
            }
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn files_and_git() {
    let server = TestServer::start().await;
    let mut replay = Replay { server: &server, names: BTreeMap::new(), folder: "/var/tmp/rec_e" };
    let run = async |command: &str| {
        let output = server.execute(json!({"command": command})).await;
        assert_eq!(output["exit_code"], 0, "{output}");
    };
    run("mkdir -p files && cd files && mkdir -p sub/alpha sub/Beta sub/x1 sub/x2 sub/Zeta sub/.hid && touch sub/file")
        .await;
    run("git init -q -b main gitrepo").await;
    let mut git_answers = 0;
    for exchange in exchanges(include_str!("recordings/f_files_git.jsonl")) {
        git_answers += usize::from(exchange.path.starts_with("/api/git/"));
        if git_answers == 3 {
            run("cd gitrepo && printf '1\\n2\\n3\\n' >one.txt && echo x >two.txt && echo bye >gone.txt && git add . && \
                 git -c user.name=N -c user.email=n@x commit -qm 'first commit' && printf '1\\n2 changed\\n3\\n' >one.txt && \
                 rm gone.txt && git mv two.txt moved.txt && echo new >'new file.txt'")
            .await;
            git_answers += 1;
        }
        let body = replay.send(&exchange).await;
        let is_refusal_of_git =
            exchange.resp["detail"].as_str().is_some_and(|detail| detail.starts_with("Git command"));
        if is_refusal_of_git {
            assert!(body["detail"].as_str().unwrap().starts_with("Git command failed: "), "{body}");
        }
        let except: &[&str] = match exchange.path.as_str() {
            "/api/file/home" => &["home", "favorites"],
            _ if is_refusal_of_git => &["detail"],
            _ => &[],
        };
        if let (Value::Array(theirs), Value::Array(ours)) = (&exchange.resp, &body) {
            assert_eq!(theirs.len(), ours.len(), "{exchange:?}: {body}");
        }
        replay.compare(&exchange.resp, &body, except, &format!("{} {:?}", exchange.path, exchange.params));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_conversation() {
    let server = TestServer::start().await;
    let names = BTreeMap::from([("http://127.0.0.1:8390/v1".to_owned(), server.provider().url())]);
    let mut replay = Replay { server: &server, names, folder: "/var/tmp/rec_a" };
    let command = call("terminal", json!({"command": "echo hello-world", "summary": "print hello"}));
    let end = call("finish", json!({"message": "All done: hello-world printed", "summary": "done"}));
    server.provider().script("m-hello", [command, end]);
    for exchange in exchanges(include_str!("recordings/a_hello.jsonl")) {
        let body = replay.send(&exchange).await;
        if exchange.path.ends_with("/run") {
            server.until_status(exchange.path.trim_end_matches("/run"), "finished").await;
        }
        // What an agent and its model are made of is compared where their types are.
        let except: &[&str] =
            &["agent", "annotations", "input", "persistence_dir", "stats", "tool_module_qualnames", "runtime_info"];
        replay.compare(&exchange.resp, &body, except, &format!("{} {:?}", exchange.path, exchange.params));
    }
    server.stop().await;
}

/// Wishes at the edge of what makes sense.
#[tokio::test]
async fn edges_of_conversations() {
    let server = TestServer::start().await;
    let mut replay = Replay { server: &server, names: BTreeMap::new(), folder: "/var/tmp/rec_m" };
    for exchange in exchanges(include_str!("recordings/s_misc_edges.jsonl")) {
        let body = replay.send(&exchange).await;
        // The context of a mistake is as the library of the official server has it.
        let except = ["agent", "ctx", "input", "persistence_dir", "stats", "tool_module_qualnames", "runtime_info"];
        replay.compare(&exchange.resp, &body, &except, &format!("{} {:?}", exchange.path, exchange.params));
    }
    server.stop().await;
}
