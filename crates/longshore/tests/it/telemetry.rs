//! What a server tells those who watch it: traces to a collector, ids in its log.

use std::{collections::BTreeMap, fs};

use axum::{Router, body::Bytes, extract::State, routing::post};
use longshore_testkit::{ScriptedServer, call, say};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value},
    trace::v1::Span,
};
use prost::Message as _;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};

use crate::{
    serve::{Server, client},
    support::{World, code_of, signal},
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A collector that takes OTLP over HTTP.
struct Collector {
    address: String,
    received: mpsc::UnboundedReceiver<ExportTraceServiceRequest>,
    task: JoinHandle<()>,
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (sender, received) = mpsc::unbounded_channel();
        let router = Router::new().route("/v1/traces", post(take)).with_state(sender);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, received, task }
    }

    /// All spans that came, by their names, and the attributes of whom they came from. To be called when the server has ended.
    fn spans(mut self) -> (BTreeMap<String, Vec<Span>>, BTreeMap<String, String>) {
        self.task.abort();
        let (mut spans, mut resource) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::new());
        while let Ok(request) = self.received.try_recv() {
            for part in request.resource_spans {
                resource.extend(attributes(&part.resource.unwrap().attributes));
                for span in part.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                    spans.entry(span.name.clone()).or_default().push(span);
                }
            }
        }
        (spans, resource)
    }
}

async fn take(State(sender): State<mpsc::UnboundedSender<ExportTraceServiceRequest>>, body: Bytes) {
    sender.send(ExportTraceServiceRequest::decode(body).unwrap()).unwrap();
}

fn attributes(all: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &KeyValue| match value.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text.clone()),
        any_value::Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    };
    all.iter().filter_map(|attribute| Some((attribute.key.clone(), text(attribute)?))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Has an agent run a command, asked for by somebody with a trace. Returns the id of the conversation, and the log.
async fn work(mut server: Server, world: &World, provider: &ScriptedServer) -> (String, Vec<Value>) {
    provider.script("m", [call("terminal", json!({"command": "echo hidden-text"})), say("done")]);
    let conversation = json!({
        "agent": {"kind": "Agent", "tools": [{"name": "terminal"}], "llm": {
            "model": "openai/m", "base_url": provider.url(), "api_key": "sk-hidden-key", "num_retries": 0,
        }},
        "workspace": {"working_dir": world.workspace()},
        "initial_message": {"content": [{"type": "text", "text": "hidden-text"}]},
    });
    let request = client().post(format!("{}/api/conversations?q=hidden-query", server.url)).json(&conversation);
    let request = request.header("traceparent", format!("00-{TRACE}-{PARENT}-01")).header("x-request-id", "asked");
    let info: Value = request.send().await.unwrap().error_for_status().unwrap().json().await.unwrap();
    let id = info["id"].as_str().unwrap().to_owned();
    let path = format!("{}/api/conversations/{id}", server.url);
    loop {
        let info: Value = client().get(&path).send().await.unwrap().json().await.unwrap();
        match info["execution_status"].as_str().unwrap() {
            "finished" => break,
            "running" => tokio::task::yield_now().await,
            other => panic!("the run ended in {other}"),
        }
    }
    signal(&server.child, Signal::TERM);
    assert_eq!(code_of(&mut server.child).await, Some(0));
    let log = server.log.rest().await;
    assert!(!log.contains("hidden"), "{log}");
    (id, log.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[tokio::test]
async fn a_trace_goes_on_from_the_request_to_the_run_the_tool_and_the_model() {
    let (world, collector, provider) = (World::new(), Collector::start().await, ScriptedServer::start());
    let config = world.path().join("longshore.toml");
    let text = format!(
        "[telemetry]\notlp_endpoint = \"{}\"\nservice_name = \"mine\"\npropagate_to_models = true\n",
        collector.address
    );
    fs::write(&config, text).unwrap();
    let mut command = world.command(&["serve", "--port", "0", "--config"]);
    command.arg(&config);
    let server = Server::start(command).await;
    let (id, log) = work(server, &world, &provider).await;
    let (spans, resource) = collector.spans();
    assert_eq!(resource["service.name"], "mine");

    let is_traced = |span: &&Span| hex(&span.trace_id) == TRACE;
    let of = |name: &str| spans[name].iter().filter(is_traced).collect::<Vec<_>>();
    let [request] = of("request")[..] else { panic!("{spans:?}") };
    assert_eq!(hex(&request.parent_span_id), PARENT);
    let known = attributes(&request.attributes);
    assert_eq!((&*known["http.route"], &*known["http.response.status_code"]), ("/api/conversations", "201"));
    assert_eq!((&*known["user.id"], &*known["request.id"]), ("local", "asked"));
    let [run] = of("run")[..] else { panic!("{spans:?}") };
    assert_eq!(run.parent_span_id, request.span_id);
    assert_eq!(attributes(&run.attributes)["conversation.id"], id);
    let (calls, tools) = (of("model_call"), of("tool"));
    assert_eq!((calls.len(), tools.len()), (2, 1));
    assert!(calls.iter().chain(&tools).all(|span| span.parent_span_id == run.span_id));
    assert_eq!(attributes(&tools[0].attributes)["tool.name"], "terminal");
    assert_eq!(attributes(&calls[0].attributes)["gen_ai.response.model"], "openai/m");
    assert!(!format!("{spans:?}").contains("hidden"), "a trace holds no texts");

    let carried: Vec<_> = provider.requests().iter().map(|asked| asked.header("traceparent").to_owned()).collect();
    let expected: Vec<_> = calls.iter().map(|call| format!("00-{TRACE}-{}-01", hex(&call.span_id))).collect();
    assert_eq!(carried, expected);

    let line = log.iter().find(|line| line["spans"]["request.id"] == "asked").unwrap();
    assert_eq!(line["spans"]["trace.id"], TRACE);
}

#[tokio::test]
async fn every_line_of_a_request_says_whose_and_what_it_is() {
    let (world, provider) = (World::new(), ScriptedServer::start());
    let server = Server::start(world.command(&["serve", "--port", "0"])).await;
    let (id, log) = work(server, &world, &provider).await;
    let line = log.iter().find(|line| line["spans"]["request.id"] == "asked").unwrap();
    assert_eq!((&line["message"], &line["spans"]["user.id"]), (&json!("request"), &json!("local")));
    let route = format!("/api/conversations/{id}");
    let line = log.iter().find(|line| line["http.path"] == *route).unwrap();
    assert_eq!(line["spans"]["conversation.id"], *id);
    assert!(provider.requests().iter().all(|asked| asked.header("traceparent").is_empty()), "nobody asked for that");
}

#[tokio::test]
async fn a_dead_collector_costs_a_warning() {
    let (world, provider) = (World::new(), ScriptedServer::start());
    // Nobody listens where somebody just did.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut command = world.command(&["serve", "--port", "0"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://user:hidden-password@{gone}"));
    command.env("OTEL_BSP_SCHEDULE_DELAY", "20");
    let (_, log) = work(Server::start(command).await, &world, &provider).await;
    let warnings =
        log.iter().filter(|line| line["message"].as_str().is_some_and(|text| text.contains("spans cannot be sent")));
    assert_eq!(warnings.count(), 1);
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_without_being_shown() {
    let world = World::new();
    let mut command = world.command(&["serve", "--port", "0"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "hidden://x");
    let ended = crate::support::end_of(command).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("address of the collector") && !ended.stderr.contains("hidden"), "{}", ended.stderr);
}
