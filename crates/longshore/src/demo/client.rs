//! The demo's client: it uses the server as any other program would, over HTTP and WebSocket.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use longshore_protocol::{Agent, ConversationId, Llm, Secret, secret, tool::ToolSpec};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};

/// The header that carries the key.
pub(super) const KEY_HEADER: &str = "X-Session-API-Key";
/// Model calls that the agent may make.
const MAX_ITERATIONS: u64 = 40;
/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server and the key to it.
pub(super) struct Client {
    http: reqwest::Client,
    pub(super) url: String,
    pub(super) key: Secret,
}

/// What happens in a conversation.
pub(super) struct Events(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    pub(super) fn new(url: String, key: Secret) -> Result<Self> {
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build();
        Ok(Self { http: http.context("the HTTP client cannot be made")?, url, key })
    }

    /// Makes a conversation about a folder.
    pub(super) async fn create(&self, llm: Llm, folder: &Path) -> Result<ConversationId> {
        let agent = Agent::new(llm, ["terminal", "file_editor", "task_tracker"].map(ToolSpec::new).to_vec());
        let agent = secret::exposed(|| serde_json::to_value(agent)).context("the agent cannot be written")?;
        let workspace = json!({"kind": "LocalWorkspace", "working_dir": folder.to_string_lossy()});
        let body = json!({"agent": agent, "workspace": workspace, "max_iterations": MAX_ITERATIONS});
        let made = self.call(Method::POST, "/api/conversations", body).await?;
        let id = made["id"].as_str().and_then(|id| id.parse().ok());
        id.context("the server made a conversation without an id")
    }

    /// Listens to a conversation from its beginning.
    pub(super) async fn listen(&self, id: ConversationId) -> Result<Events> {
        let url = format!("{}/sockets/events/{id}?resend_mode=all", self.url.replacen("http", "ws", 1));
        let mut request = url.into_client_request().context("the socket's address makes no sense")?;
        let key = self.key.expose().parse().context("the key cannot stand in a header")?;
        request.headers_mut().insert(KEY_HEADER, key);
        let (socket, _) = connect_async(request).await.context("the socket does not open")?;
        Ok(Events(socket))
    }

    /// Says something to the agent and lets it begin.
    pub(super) async fn say(&self, id: ConversationId, text: &str) -> Result<()> {
        let message = json!({"role": "user", "content": [{"type": "text", "text": text}], "run": true});
        self.call(Method::POST, &format!("/api/conversations/{id}/events"), message).await.map(drop)
    }

    /// Breaks the run off.
    pub(super) async fn interrupt(&self, id: ConversationId) -> Result<()> {
        self.call(Method::POST, &format!("/api/conversations/{id}/interrupt"), json!({})).await.map(drop)
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> Result<Value> {
        let what = format!("{method} {path}");
        let request = self.http.request(method, format!("{}{path}", self.url));
        let response = request.header(KEY_HEADER, self.key.expose()).json(&body).send().await;
        let response = response.with_context(|| format!("{what} got no answer"))?;
        let status = response.status();
        let text = response.text().await.with_context(|| format!("the answer to {what} broke off"))?;
        if !status.is_success() {
            bail!("{what} was answered with {status}: {text}");
        }
        serde_json::from_str(&text).with_context(|| format!("the answer to {what} is not JSON"))
    }
}

impl Events {
    /// The JSON text of the next event. May be dropped and called again without loss.
    pub(super) async fn next(&mut self) -> Result<String> {
        loop {
            let message = self.0.next().await.context("the server closed the socket")?;
            if let Message::Text(text) = message.context("the socket broke off")? {
                return Ok(text.as_str().to_owned());
            }
        }
    }
}
