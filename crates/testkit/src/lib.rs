//! What tests of several crates need: today a model provider on loopback.
//!
//! A test of an agent is a script of answers, an action and a look at what happened:
//!
//! ```no_run
//! use longshore_testkit::{ScriptedServer, call, say};
//! use serde_json::json;
//!
//! # async fn test() {
//! let provider = ScriptedServer::start();
//! provider.script("m", [call("terminal", json!({"command": "echo hi"})), say("Done.")]);
//! let llm = provider.llm("m"); // give it to an agent, let the agent run …
//! let requests = provider.wait_for_requests(2).await;
//! assert_eq!(requests[1].body["messages"][3]["role"], "tool");
//! # }
//! ```

mod reply;
mod scripted_server;
mod wire;

pub use reply::{Reply, call, calls, hang, raw, say, status};
pub use scripted_server::{RecordedRequest, ScriptedServer};
