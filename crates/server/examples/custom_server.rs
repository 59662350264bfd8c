//! A server of one's own: keys from a table, workspaces by what the user pays for, a line for each request, and a route more.
//!
//! ```text
//! cargo run -p longshore-server --example custom_server -- DATA_FOLDER [ADDRESS]
//! curl -H 'Authorization: Bearer ann-key' http://127.0.0.1:8000/tier
//! ```

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to whoever runs it")]

use std::{collections::BTreeMap, error::Error, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::{
    Json, Router,
    extract::{Request, State},
    middleware::{Next, from_fn},
    response::Response,
    routing::get,
};
use longshore_engine::{Clock, Engine, Parts, QueueLimits, SameForAll};
use longshore_llm::{Models, ModelsOptions};
use longshore_protocol::{Secret, sandbox::SandboxOptions};
use longshore_sandbox::{Backends, LocalBackend, Sandboxes, Settings};
use longshore_server::{Authenticator, Principal, SandboxPlaces, Server, auth::Denied};
use longshore_store::{Keys, Owner, Sqlite, Store};
use longshore_tools::Registry;
use longshore_workspace::LocalOptions;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What a user pays for.
#[derive(Debug, Clone, Copy)]
enum Tier {
    Free,
    Paid,
}

impl Tier {
    /// The tier of a user. A real server asks its own records.
    fn of(user: &Owner) -> Self {
        if &*user.0 == "ann" { Self::Paid } else { Self::Free }
    }

    /// What workspaces are made from. With boxes of `docker` or `bubblewrap` this is also where limits of memory and processors go.
    fn options(self) -> SandboxOptions {
        let timeout = match self {
            Self::Free => 60,
            Self::Paid => 3600,
        };
        SandboxOptions { timeout: Some(timeout), ..SandboxOptions::default() }
    }
}

/// Knows users by keys in a table. A real server keeps hashes, and compares them in constant time.
#[derive(Debug)]
struct Table(BTreeMap<&'static str, &'static str>);

#[async_trait]
impl Authenticator for Table {
    async fn authenticate(&self, key: &str) -> Result<Principal, Denied> {
        self.0.get(key).map(|user| Principal::new(*user)).ok_or(Denied::Unknown)
    }
}

/// Says how long each request took.
async fn log(request: Request, next: Next) -> Response {
    let (line, began) = (format!("{} {}", request.method(), request.uri().path()), std::time::Instant::now());
    let mut response = next.run(request).await;
    eprintln!("{line} {} in {:?}", response.status(), began.elapsed());
    response.headers_mut().insert("x-served-by", "custom-server".parse().expect("the text is a header's"));
    response
}

/// A route more: it runs for principals only, and knows which one.
async fn tier(principal: Principal) -> Json<Value> {
    Json(json!({"user": *principal.user().0, "tier": format!("{:?}", Tier::of(principal.user()))}))
}

/// A route that is open to all, with a state of its own.
async fn motto(State(motto): State<&'static str>) -> &'static str {
    motto
}

/// Conversations and workspaces in a folder, without boxes: everything happens on this machine.
async fn engine(folder: &Path) -> Result<(Engine, SandboxPlaces), Box<dyn Error>> {
    // The key that encrypts what is secret at rest. A real server keeps it elsewhere.
    let keys = Keys::new(&Secret::new("change me"), &[]);
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(&folder.join("longshore.db"), keys)?);
    let settings = Settings { working_dir: folder.join("workspace"), ..Settings::default() };
    let backends = Backends::new(vec![Arc::new(LocalBackend::new(LocalOptions::new(folder)))]);
    let sandboxes = Sandboxes::new(settings, backends, Arc::clone(&store));
    sandboxes.recover().await?;
    let places = SandboxPlaces::new(sandboxes, Arc::clone(&store));
    // What users name is not asked for on this machine and in its networks.
    let http = longshore_outbound::Client::default();
    let parts = Parts {
        store,
        models: Models::new(ModelsOptions { http: http.clone(), ..ModelsOptions::default() }),
        tools: Registry::new(),
        workspaces: Arc::new(places.clone()),
        http,
        budgets: Arc::new(SameForAll::default()),
        clock: Clock::system(),
    };
    let options = longshore_engine::Options {
        conversations_dir: folder.join("conversations"),
        max_concurrent_runs: 8,
        queue: QueueLimits::default(),
        idle_ttl: Duration::from_mins(10),
    };
    Ok((Engine::new(parts, options), places))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("give a folder for the data")?;
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8000".to_owned());
    let folder = std::path::absolute(folder)?;
    std::fs::create_dir_all(&folder)?;

    let (engine, places) = engine(&folder).await?;
    let server = Server::builder(engine, places)
        .authenticator(Arc::new(Table(BTreeMap::from([("ann-key", "ann"), ("bob-key", "bob")]))))
        .workspace_factory(|user: &Owner| Tier::of(user).options())
        .layer(from_fn(log))
        .routes(Router::new().route("/tier", get(tier)))
        .open_routes(Router::new().route("/motto", get(motto)).with_state("Work ashore."))
        .build();

    let listener = TcpListener::bind(address).await?;
    println!("http://{}", listener.local_addr()?);
    server.serve(listener, async { drop(tokio::signal::ctrl_c().await) }).await?;
    Ok(())
}
