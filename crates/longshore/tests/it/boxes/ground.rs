//! A server with boxes of one kind, of which nothing is left in the end.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use longshore_sandbox::{Backend, Bubblewrap, BubblewrapOptions, Deployment, Docker, DockerOptions, Found, SandboxId};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::{process::Child, time::Instant};

use crate::support::{PATIENCE, PROGRAM, World, code_of, signal};

/// What a box is made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bubblewrap,
    Docker,
}

impl Kind {
    fn flag(self) -> &'static str {
        match self {
            Self::Bubblewrap => "bubblewrap",
            Self::Docker => "docker:longshore-test/debian",
        }
    }

    fn backend(self, deployment: Deployment) -> Arc<dyn Backend> {
        match self {
            Self::Bubblewrap => Arc::new(Bubblewrap::new(deployment, BubblewrapOptions::default())),
            Self::Docker => Arc::new(Docker::new(deployment, DockerOptions::default())),
        }
    }

    /// Whether this machine can make such boxes; a test that must not be skipped fails instead.
    async fn is_here(self, world: &World) -> bool {
        let (name, dir, program) = ("probe".to_owned(), world.path().join("probe"), PROGRAM.into());
        let Err(error) = self.backend(Deployment { name, dir, program }).check().await else { return true };
        let must_be_here = match self {
            Self::Bubblewrap => "LONGSHORE_REQUIRE_ROOT",
            Self::Docker => "LONGSHORE_REQUIRE_DOCKER",
        };
        assert!(std::env::var_os(must_be_here).is_none_or(|value| value != "1"), "{error}");
        println!("skipped: {error}");
        false
    }
}

/// A server with boxes of one kind.
pub(crate) struct Ground {
    pub(crate) kind: Kind,
    pub(crate) world: World,
    pub(crate) client: reqwest::Client,
    server: Option<Child>,
    url: String,
    starts: u32,
    arguments: Vec<String>,
}

/// In the server's environment, and in no box.
pub(crate) const SERVERS_SECRET: &str = "canary-of-the-environment";

impl Ground {
    /// A server that runs; none where there can be no such boxes.
    pub(crate) async fn new(kind: Kind, config: &str) -> Option<Self> {
        let mut ground = Self::prepared(kind, config).await?;
        ground.start().await;
        Some(ground)
    }

    /// A server that does not run yet.
    pub(crate) async fn prepared(kind: Kind, config: &str) -> Option<Self> {
        let world = World::new();
        if !kind.is_here(&world).await {
            return None;
        }
        let file = world.path().join("config.toml");
        fs::write(&file, format!("{config}\n[lifecycle]\nsweep_interval = 1\n")).unwrap();
        let arguments = ["serve", "--port", "0", "--sandbox", kind.flag(), "--config", file.to_str().unwrap()];
        let arguments = arguments.map(str::to_owned).to_vec();
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Some(Self { kind, world, client, server: None, url: String::new(), starts: 0, arguments })
    }

    pub(crate) async fn start(&mut self) {
        self.starts += 1;
        let log = self.world.path().join(format!("log.{}", self.starts));
        let arguments: Vec<_> = self.arguments.iter().map(String::as_str).collect();
        let mut command = self.world.command(&arguments);
        command.env("CANARY", SERVERS_SECRET).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        if let Some(engine) = std::env::var_os("DOCKER_HOST") {
            command.env("DOCKER_HOST", engine);
        }
        let mut server = command.spawn().unwrap();
        let end = Instant::now() + PATIENCE;
        let line = loop {
            let text = fs::read_to_string(&log).unwrap();
            if let Some(line) = text.lines().find(|line| line.contains("Longshore serves")) {
                break line.to_owned();
            }
            assert!(server.try_wait().unwrap().is_none() && Instant::now() < end, "it does not serve: {text}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let line: Value = serde_json::from_str(&line).unwrap();
        self.url = format!("http://{}", line["address"].as_str().unwrap());
        self.server = Some(server);
    }

    /// Kills the server.
    pub(crate) async fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().await.unwrap();
        }
    }

    /// Asks the server to end, and waits for it.
    pub(crate) async fn stop(&mut self) {
        let mut server = self.server.take().unwrap();
        signal(&server, Signal::TERM);
        assert_eq!(code_of(&mut server).await, Some(0));
    }

    /// The number of the server's process.
    pub(crate) fn pid(&self) -> u32 {
        self.server.as_ref().unwrap().id().unwrap()
    }

    /// The port that the server listens at.
    pub(crate) fn port(&self) -> u16 {
        reqwest::Url::parse(&self.url).unwrap().port().unwrap()
    }

    /// Bytes of memory that the server has.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// What the server has logged since it was last started.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.world.path().join(format!("log.{}", self.starts))).unwrap()
    }

    /// The server answers, and says that all is well.
    pub(crate) async fn must_be_healthy(&self) {
        let answer = self.client.get(format!("{}/health", self.url)).send().await.expect("the server answers");
        assert!(answer.status().is_success(), "{answer:?}");
    }

    /// The user's box.
    pub(crate) fn of_user(&self) -> Boxed {
        Boxed { base: format!("{}/api", self.url), client: self.client.clone() }
    }

    /// The box of a new conversation, made from `options`, which runs.
    pub(crate) async fn boxed(&self, options: Value) -> Boxed {
        let boxed = self.unmade(options).await;
        boxed.must("true").await;
        boxed
    }

    /// The place of a new conversation, which has no box yet.
    pub(crate) async fn unmade(&self, options: Value) -> Boxed {
        self.client().try_unmade(options).await.expect("a conversation")
    }

    /// A client of the server, as long as it runs.
    pub(crate) fn client(&self) -> Client {
        Client { url: self.url.clone(), client: self.client.clone() }
    }

    /// Gives the server more arguments when it is started the next time.
    pub(crate) fn add_arguments(&mut self, arguments: &[&str]) {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    }

    /// A box of the server that ran before.
    pub(crate) fn again(&self, boxed: &Boxed) -> Boxed {
        let path = reqwest::Url::parse(&boxed.base).unwrap().path().to_owned();
        Boxed { base: format!("{}{path}", self.url), client: self.client.clone() }
    }

    pub(crate) fn deployment(&self) -> Option<Deployment> {
        let file = fs::read_to_string(self.world.data().join("deployment")).ok()?;
        let name = file.split_whitespace().next()?.to_owned();
        Some(Deployment { name, dir: self.world.data().join("boxes"), program: PROGRAM.into() })
    }

    /// All boxes that there are in any form.
    pub(crate) async fn found(&self) -> Vec<Found> {
        let Some(deployment) = self.deployment() else { return Vec::new() };
        self.kind.backend(deployment).list().await.unwrap()
    }

    /// What there is on this machine of all boxes but `but`: processes, containers, mounts, control groups, folders.
    pub(crate) fn left(&self, but: &[SandboxId]) -> Vec<String> {
        let Some(Deployment { name, dir, .. }) = self.deployment() else { return Vec::new() };
        let mut left = Vec::new();
        left.extend(processes().filter(|(_, line)| line.contains(&name)).map(|(pid, line)| format!("{pid}: {line}")));
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        left.extend(mounts.lines().filter(|line| line.contains(dir.to_str().unwrap())).map(str::to_owned));
        let groups = folders(Path::new("/sys/fs/cgroup"), &format!("longshore-{name}"), 6);
        let folders = groups.into_iter().chain([dir.clone(), dir.join("docker")]).flat_map(|folder| {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries.filter(|entry| entry.path().is_dir()).map(|entry| entry.path().display().to_string())
        });
        left.extend(folders.filter(|path| ["/etc", "/docker", "/images"].iter().all(|own| !path.ends_with(own))));
        if self.kind == Kind::Docker {
            let label = format!("label=longshore.deployment={name}");
            for kind in [&["ps", "--all", "--format", "{{.Names}}"][..], &["volume", "ls", "--quiet"]] {
                let found = docker(&[kind, &["--filter", &label]].concat());
                left.extend(found.lines().map(|line| format!("{}: {line}", kind[0])));
            }
        }
        left.retain(|what| !but.iter().any(|id| what.contains(&id.to_string())));
        left
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        drop(self.server.take());
        let Some(deployment) = self.deployment() else { return };
        let (kind, name) = (self.kind, deployment.name.clone());
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let backend = kind.backend(deployment);
                for found in backend.list().await.unwrap() {
                    backend.destroy(found.id).await.unwrap();
                }
            });
        });
        let cleaned = cleaning.join();
        let left = self.left(&[]);
        for group in folders(Path::new("/sys/fs/cgroup"), &format!("longshore-{name}"), 6) {
            let _ = fs::remove_dir(group);
        }
        if std::thread::panicking() {
            let log = self.log();
            let told = log.lines().filter(|line| !line.contains("\"INFO\""));
            println!("{}", told.take(20).collect::<Vec<_>>().join("\n"));
        } else {
            assert!(cleaned.is_ok() && left.is_empty(), "left: {left:#?}");
        }
    }
}

/// A client of a server that may be gone at any moment.
#[derive(Clone)]
pub(crate) struct Client {
    url: String,
    client: reqwest::Client,
}

impl Client {
    /// The place of a new conversation.
    pub(crate) async fn try_unmade(&self, options: Value) -> Option<Boxed> {
        let body = json!({
            "agent": {"kind": "Agent", "llm": {"model": "scripted/none"}, "tools": []},
            "workspace": {"working_dir": "/workspace", "sandbox": options},
        });
        let request = self.client.post(format!("{}/api/conversations", self.url)).json(&body);
        let answer = request.send().await.ok()?;
        let made: Value = answer.error_for_status().ok()?.json().await.ok()?;
        Some(self.of_conversation(made["id"].as_str()?))
    }

    /// Deletes the conversation that a box belongs to.
    pub(crate) async fn try_delete(&self, boxed: &Boxed) {
        let _ = self.client.delete(&boxed.base).send().await;
    }

    /// The places of all conversations.
    pub(crate) async fn conversations(&self) -> Vec<Boxed> {
        let answer = self.client.get(format!("{}/api/conversations/search?limit=100", self.url)).send().await.unwrap();
        let page: Value = answer.json().await.unwrap();
        let items = page["items"].as_array().unwrap().iter();
        items.map(|item| self.of_conversation(item["id"].as_str().unwrap())).collect()
    }

    fn of_conversation(&self, id: &str) -> Boxed {
        Boxed { base: format!("{}/api/conversations/{id}", self.url), client: self.client.clone() }
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
    client: reqwest::Client,
}

impl Boxed {
    /// Runs a script. `Err` is what the server says if it cannot.
    pub(crate) async fn try_sh(&self, script: &str, seconds: u64) -> Result<Said, String> {
        let body = json!({"command": script, "timeout": seconds});
        let request = self.client.post(format!("{}/bash/execute_bash_command", self.base)).json(&body);
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
        let request = self.client.post(format!("{}/bash/start_bash_command", self.base)).json(&body);
        assert!(request.send().await.unwrap().status().is_success());
    }

    pub(crate) async fn upload(&self, path: &str, content: &str) -> u16 {
        let body = format!(
            "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n{content}\r\n--x--\r\n"
        );
        let request = self.client.post(self.url("file/upload", path));
        let request = request.header("Content-Type", "multipart/form-data; boundary=x").body(body);
        request.send().await.unwrap().status().as_u16()
    }

    fn url(&self, route: &str, path: &str) -> reqwest::Url {
        reqwest::Url::parse_with_params(&format!("{}/{route}", self.base), [("path", path)]).unwrap()
    }

    /// Asks for a file.
    pub(crate) async fn fetch(&self, path: &str) -> reqwest::Response {
        self.client.get(self.url("file/download", path)).send().await.unwrap()
    }

    /// The status, and the content of a file or why it cannot be had.
    pub(crate) async fn download(&self, path: &str) -> (u16, String) {
        let answer = self.fetch(path).await;
        let status = answer.status().as_u16();
        (status, String::from_utf8_lossy(&answer.bytes().await.unwrap()).into_owned())
    }

    /// As [`Boxed::download`], with a path that is escaped already.
    pub(crate) async fn download_raw(&self, escaped: &str) -> (u16, Vec<u8>) {
        let answer = self.client.get(format!("{}/file/download?path={escaped}", self.base)).send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
    }

    /// What the server says of the box.
    pub(crate) async fn info(&self) -> Value {
        self.client.get(format!("{}/sandbox", self.base)).send().await.unwrap().json().await.unwrap()
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
            let page: Value = self.client.get(url).send().await.unwrap().json().await.unwrap();
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
        let request = self.client.patch(format!("{}/sandbox", self.base)).json(&json!({"resource_limits": limits}));
        request.send().await.unwrap().status().as_u16()
    }

    /// Removes the box, if the server still runs.
    pub(crate) async fn try_remove(&self) {
        let _ = self.client.delete(format!("{}/sandbox", self.base)).send().await;
    }

    /// Puts the box to sleep, if the server still runs.
    pub(crate) async fn try_pause(&self) {
        let _ = self.client.post(format!("{}/sandbox/pause", self.base)).send().await;
    }

    /// Removes the box.
    pub(crate) async fn remove(&self) {
        let answer = self.client.delete(format!("{}/sandbox", self.base)).send().await.unwrap();
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

/// Runs the engine's own client.
pub(crate) fn docker(arguments: &[&str]) -> String {
    let output = std::process::Command::new("docker").args(arguments).output().unwrap();
    assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// All processes of this machine, with their command lines.
pub(crate) fn processes() -> impl Iterator<Item = (u32, String)> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        Some((pid, String::from_utf8_lossy(&line).replace('\0', " ")))
    })
}

fn folders(folder: &Path, name: &str, depth: u32) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if entry.file_name() == name {
            found.push(entry.path());
        } else if depth > 0 {
            found.extend(folders(&entry.path(), name, depth - 1));
        }
    }
    found
}
