//! A server on a port of its own, with a store and a folder of its own.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use longshore_engine::{Budgets, Clock, Engine, Parts, QueueLimits, SameForAll};
use longshore_llm::{Models, ModelsOptions};
use longshore_protocol::{
    Secret,
    account::{Scope, UserOptions, UserRole},
};
use longshore_sandbox::{Backends, LocalBackend, Sandboxes, Settings};
use longshore_server::{
    Accounts, Authenticator, Chain, KeyWish, Oidc, OidcOptions, Options, SandboxPlaces, Server, StoredKeys, UserWish,
    auth::StaticKeys,
};
use longshore_store::{Keys, Sqlite, Store};
use longshore_testkit::ScriptedServer;
use longshore_tools::Registry;
use longshore_workspace::LocalOptions;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{self, Message, client::IntoClientRequest},
};

/// The longest a test waits for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// What a server is made of.
pub(crate) struct Setup {
    pub(crate) options: Options,
    pub(crate) authenticator: Arc<dyn Authenticator>,
    /// Tokens that are accepted as well.
    pub(crate) oidc: Option<OidcOptions>,
    pub(crate) max_concurrent_runs: usize,
    /// Users in the store, besides whom the authenticator knows; the first is an admin.
    pub(crate) users: &'static [&'static str],
    pub(crate) queue: QueueLimits,
    pub(crate) models: ModelsOptions,
    pub(crate) budgets: Arc<dyn Budgets>,
}

impl Default for Setup {
    fn default() -> Self {
        let authenticator = Arc::new(StaticKeys::new([]));
        Self {
            options: Options::default(),
            authenticator,
            oidc: None,
            max_concurrent_runs: 10,
            users: &[],
            queue: QueueLimits::default(),
            models: ModelsOptions::default(),
            budgets: Arc::new(SameForAll::default()),
        }
    }
}

pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
    pub(crate) folder: PathBuf,
    provider: OnceLock<ScriptedServer>,
    store: Arc<Sqlite>,
    pub(crate) accounts: Accounts,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<std::io::Result<()>>,
    directory: Arc<TempDir>,
}

impl TestServer {
    /// A server that asks for no key.
    pub(crate) async fn start() -> Self {
        Self::with(Options::default(), &[]).await
    }

    /// A server with these options and keys.
    pub(crate) async fn with(options: Options, keys: &[&str]) -> Self {
        let authenticator = Arc::new(StaticKeys::new(keys.iter().map(|key| Secret::new(*key))));
        Self::of(Setup { options, authenticator, ..Setup::default() }).await
    }

    pub(crate) async fn of(setup: Setup) -> Self {
        Self::within(Arc::new(TempDir::new().unwrap()), setup).await
    }

    async fn within(directory: Arc<TempDir>, setup: Setup) -> Self {
        let Setup { options, authenticator, oidc, max_concurrent_runs, users, queue, models, budgets } = setup;
        let folder = directory.path().canonicalize().unwrap().join("work");
        std::fs::create_dir_all(&folder).unwrap();
        let store = Sqlite::open(&directory.path().join("store.db"), Keys::new(&Secret::new("test"), &[])).unwrap();
        let store = Arc::new(store);
        let accounts = Accounts::new(Arc::clone(&store) as Arc<dyn Store>);
        for (number, name) in users.iter().enumerate() {
            let role = if number == 0 { UserRole::Admin } else { UserRole::User };
            let wish = UserWish { name: name.parse().unwrap(), role, options: UserOptions::default() };
            accounts.add_user(wish).await.unwrap();
        }
        let stored = StoredKeys::open(Arc::clone(&store) as Arc<dyn Store>).await.unwrap();
        let open = longshore_outbound::Options::new(longshore_outbound::Policy::open());
        let http = longshore_outbound::Client::new(open).unwrap();
        let mut chain = vec![authenticator, Arc::new(stored)];
        if let Some(options) = oidc {
            chain.push(Arc::new(Oidc::start(options, http.clone(), Arc::clone(&store) as Arc<dyn Store>).unwrap()));
        }
        let authenticator = Arc::new(Chain(chain));
        // Without the start files of whoever runs the tests.
        let mut local = LocalOptions::new(&folder);
        local.env.push(("HOME".into(), directory.path().into()));
        let settings = Settings { working_dir: folder.clone(), ..Settings::default() };
        let backends = Backends::new(vec![Arc::new(LocalBackend::new(local))]);
        let sandboxes = Sandboxes::new(settings, backends, Arc::clone(&store) as Arc<dyn Store>);
        sandboxes.recover().await.unwrap();
        let rows = Arc::clone(&store) as Arc<dyn Store>;
        let places = SandboxPlaces::new(sandboxes, rows);
        let parts = Parts {
            store: Arc::clone(&store) as Arc<dyn Store>,
            models: Models::new(ModelsOptions { http: http.clone(), ..models }),
            tools: Registry::new(),
            workspaces: Arc::new(places.clone()),
            http,
            clock: Clock::system(),
            budgets,
        };
        let engine = longshore_engine::Options {
            conversations_dir: directory.path().join("conversations"),
            max_concurrent_runs,
            queue,
            idle_ttl: Duration::from_mins(1),
        };
        let builder = Server::builder(Engine::new(parts, engine), places);
        let server = builder.options(options).authenticator(authenticator).build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server.serve(listener, async {
            let _ = stopped.await;
        }));
        let client = Client::builder().no_proxy().timeout(PATIENCE * 3).build().unwrap();
        let provider = OnceLock::new();
        Self { address, client, folder, provider, store, accounts, stop: Some(stop), task, directory }
    }

    /// The provider of the models that [`Self::wish`] names.
    pub(crate) fn provider(&self) -> &ScriptedServer {
        self.provider.get_or_init(ScriptedServer::start)
    }

    /// A key of a user who is in the store.
    pub(crate) async fn key(&self, user: &str, scopes: &[Scope]) -> String {
        let wish = KeyWish { scopes: Some(scopes.to_vec()), ..KeyWish::default() };
        self.accounts.create_key(&user.parse().unwrap(), wish).await.unwrap().key
    }

    /// Stops the server and returns when it has stopped.
    pub(crate) async fn stop(mut self) -> Arc<TempDir> {
        let _ = self.stop.take().unwrap().send(());
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
        self.store.close().await;
        self.directory
    }

    /// Another server over the store and the folder of one that has stopped.
    pub(crate) async fn again(directory: Arc<TempDir>) -> Self {
        Self::within(directory, Setup::default()).await
    }

    /// As [`Self::again`], with other users.
    pub(crate) async fn again_with(directory: Arc<TempDir>, authenticator: Arc<dyn Authenticator>) -> Self {
        Self::within(directory, Setup { authenticator, ..Setup::default() }).await
    }

    /// Ends the server without giving it a chance to tidy up.
    pub(crate) async fn crash(self) -> Arc<TempDir> {
        self.task.abort();
        let _ = self.task.await;
        self.store.close().await;
        self.directory
    }

    /// Takes the store away from under the server.
    pub(crate) async fn close_store(&self) {
        self.store.close().await;
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path))
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.request(Method::POST, path)
    }

    /// A path below the server's folder, as text.
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    pub(crate) async fn socket(&self, path: &str) -> Socket {
        self.try_socket(path, &[]).await.unwrap()
    }

    pub(crate) async fn try_socket(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Socket, tungstenite::Error> {
        let mut request = format!("ws://{}{path}", self.address).into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        Ok(Socket(tokio_tungstenite::connect_async(request).await?.0))
    }
}

/// Sends a request and returns status and body: JSON if it is, else text.
pub(crate) async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Asks until the answer is there.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(mut ask: impl FnMut() -> F) -> T {
    tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("what must happen did not happen in time")
}

/// Whether a process whose command line has this text is there.
pub(crate) fn is_running(text: &str) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else { return false };
    let own = std::process::id().to_string();
    processes.flatten().any(|process| {
        let path: &Path = &process.path();
        process.file_name().to_str() != Some(&own)
            && std::fs::read(path.join("cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).replace('\0', " ").contains(text))
    })
}

#[derive(Debug)]
pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>);

/// What a socket says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Said {
    Json(Value),
    Closed(u16),
}

impl Said {
    pub(crate) fn json(self) -> Value {
        match self {
            Self::Json(value) => value,
            Self::Closed(code) => panic!("closed with {code}"),
        }
    }
}

impl Socket {
    pub(crate) async fn send(&mut self, text: &str) {
        self.send_frame(Message::text(text)).await;
    }

    pub(crate) async fn send_frame(&mut self, frame: Message) {
        use futures::SinkExt;
        self.0.send(frame).await.unwrap();
    }

    pub(crate) async fn next(&mut self) -> Said {
        use futures::StreamExt;
        tokio::time::timeout(PATIENCE, async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Text(text))) => return Said::Json(serde_json::from_str(&text).unwrap()),
                    Some(Ok(Message::Close(frame))) => {
                        return Said::Closed(frame.map_or(1005, |frame| u16::from(frame.code)));
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Said::Closed(1006),
                }
            }
        })
        .await
        .expect("the socket says nothing")
    }
}
