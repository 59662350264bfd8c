//! Who did what is in the audit log, and nothing is changed unseen.

use std::sync::Arc;

use async_trait::async_trait;
use longshore_protocol::Secret;
use longshore_server::{AuditOptions, Authenticator, Limits, Options, Principal, auth::Denied};
use longshore_store::{AuditLog, AuditQuery, AuditRecord, Keys};
use longshore_testkit::{call, say};
use reqwest::{Method, StatusCode};
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    agents::message,
    server::{PATIENCE, Said, Setup, TestServer, answer, until},
};

const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

fn options(audit: AuditOptions) -> Options {
    Options { audit, ..Options::default() }
}

/// The records that the server shows, oldest first.
async fn records(server: &TestServer, query: &str) -> Vec<Value> {
    let (status, page) = answer(server.get(&format!("/api/audit?from_seq=1&limit=1000{query}"))).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    page["items"].as_array().unwrap().clone()
}

/// The records of an action, once there are some: they are written after the answer.
async fn some(server: &TestServer, action: &str) -> Vec<Value> {
    let query = format!("&action={action}");
    until(async || Some(records(server, &query).await).filter(|records| !records.is_empty())).await
}

/// The records of a server that has stopped; they must fit together.
async fn kept(directory: &Arc<TempDir>) -> Vec<AuditRecord> {
    let keys = Keys::new(&Secret::new("test"), &[]);
    let log = AuditLog::open(&directory.path().join("store.db"), Some(keys)).unwrap();
    assert_eq!(log.verify(1, &|_, _| {}).await.unwrap().problem, None);
    log.find(AuditQuery { from: Some(1), limit: 1000, ..AuditQuery::default() }).await.unwrap()
}

#[tokio::test]
async fn every_route_that_changes_something_is_logged_under_its_name() {
    let server = TestServer::start().await;
    let (_, document) = answer(server.get("/openapi.json")).await;
    let mut asked = Vec::new();
    for (route, item) in document["paths"].as_object().unwrap() {
        for method in ["post", "put", "patch", "delete"].iter().filter(|method| item[**method].is_object()) {
            let method: Method = method.to_uppercase().parse().unwrap();
            let segments = route.split('/').map(|segment| if segment.starts_with('{') { NOBODY } else { segment });
            let path = segments.collect::<Vec<_>>().join("/");
            answer(server.request(method.clone(), &path)).await;
            asked.push((method.to_string(), route.clone()));
        }
    }
    assert!(asked.len() > 20, "only {} routes", asked.len());
    let all = until(async || Some(records(&server, "").await).filter(|all| all.len() >= asked.len())).await;
    for (method, route) in asked {
        // The document cannot say that a path has slashes in it.
        let route = route.replace("{path}", "{*path}");
        let is_it = |record: &&Value| record["details"]["method"] == *method && record["details"]["route"] == *route;
        let found: Vec<_> = all.iter().filter(is_it).collect();
        let [record] = found[..] else { panic!("{method} {route}: {} records", found.len()) };
        let action = record["action"].as_str().unwrap();
        assert!(action.contains('.'), "{method} {route} has no name: give it one in audit/names.rs");
        assert_eq!(record["target"] == NOBODY, route.contains('{'), "{method} {route}: {record}");
        assert!(record["status"].is_number(), "{record}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_record_says_who_did_what_to_what_from_where_and_how_it_ended() {
    let server = TestServer::start().await;
    let wish = server.wish("m", json!({}));
    let request = server.post("/api/conversations").header("X-Request-ID", "mine-1").json(&wish);
    let (_, info) = answer(request).await;
    let id = info["id"].as_str().unwrap();
    let path = format!("/api/conversations/{id}");
    answer(server.get(&path)).await;
    answer(server.request(Method::DELETE, &path)).await;
    answer(server.request(Method::DELETE, &path)).await;
    let all = until(async || Some(records(&server, "").await).filter(|all| all.len() >= 3)).await;
    let told = |record: &Value| {
        let names = ["actor", "address", "action", "target_kind", "target", "owner", "status"];
        names.map(|name| record[name].clone())
    };
    let about = |action: &str, status: u16| {
        [
            json!("local"),
            json!("127.0.0.1"),
            json!(action),
            json!("conversation"),
            json!(id),
            json!("local"),
            json!(status),
        ]
    };
    let expected =
        [about("conversation.create", 201), about("conversation.delete", 200), about("conversation.delete", 404)];
    assert_eq!(all.iter().map(told).collect::<Vec<_>>(), expected, "reading is not logged");
    assert_eq!((&all[0]["request"], &all[0]["seq"]), (&json!("mine-1"), &json!(1)));
    assert_eq!(all[1]["previous"], all[0]["hash"]);

    let newest = answer(server.get("/api/audit?limit=2")).await.1;
    assert_eq!((&newest["items"][0]["seq"], &newest["next_seq"]), (&json!(3), &json!(2)));
    let rest = answer(server.get("/api/audit?limit=2&below_seq=2")).await.1;
    assert_eq!((&rest["items"][0]["seq"], &rest["next_seq"]), (&json!(1), &Value::Null));
    let forward = answer(server.get("/api/audit?limit=2&from_seq=1")).await.1;
    assert_eq!((&forward["items"][1]["seq"], &forward["next_seq"]), (&json!(2), &json!(3)));
    assert_eq!(records(&server, "&action=conversation.create&actor=local").await.len(), 1);
    assert_eq!(records(&server, "&actor=ann").await.len(), 0);
    assert_eq!(records(&server, "&since=2999-01-01T00:00:00Z").await.len(), 0);
    server.stop().await;
}

#[tokio::test]
async fn the_text_of_a_command_is_logged_only_if_the_operator_wants_it() {
    const TEXT: &str = "echo s3cr3t";
    for commands in [false, true] {
        let server = TestServer::with(options(AuditOptions { commands, ..AuditOptions::default() }), &[]).await;
        server.execute(json!({"command": TEXT})).await;
        let mut socket = server.socket("/sockets/bash-events").await;
        socket.send(&json!({"command": TEXT}).to_string()).await;
        let all = until(async || {
            Some(records(&server, "&action=command.execute").await).filter(|records| records.len() == 2)
        });
        for record in all.await {
            let details = &record["details"];
            assert_eq!(details["command_bytes"], TEXT.len());
            assert_eq!(details["command_sha256"], "8651d304cbe1de8dd88b4595303c20ba8c5d1c2d55ecc5f507bae5cd5d28de44");
            assert_eq!(details["command"], if commands { json!(TEXT) } else { Value::Null });
            assert_eq!(record.to_string().contains("s3cr3t"), commands);
        }
        assert_eq!(some(&server, "socket.open").await[0]["actor"], "local");
        server.stop().await;
    }
}

#[tokio::test]
async fn refusals_are_logged_up_to_a_limit_and_then_counted() {
    let audit = AuditOptions { refusals: 3, ..AuditOptions::default() };
    let limits = Limits { wrong_keys_per_minute: 1000, ..Limits::default() };
    let server = TestServer::with(Options { limits, ..options(audit) }, &["key-one"]).await;
    for number in 0..10 {
        let request = server.get("/api/tools/").header("X-Session-API-Key", format!("s3cr3t-{number}"));
        assert_eq!(answer(request).await.0, StatusCode::UNAUTHORIZED);
    }
    let refused = server.try_socket("/sockets/bash-events?session_api_key=s3cr3t", &[]).await;
    assert!(refused.is_err());
    let mut socket = server.socket("/sockets/bash-events").await;
    socket.send(r#"{"type": "auth", "session_api_key": "s3cr3t"}"#).await;
    assert_eq!(socket.next().await, Said::Closed(4001));
    let records = kept(&server.stop().await).await;
    assert_eq!(records.len(), 4, "{records:?}");
    for record in &records {
        assert_eq!((&*record.entry.action, record.entry.actor.as_ref()), ("auth.refused", None));
        assert_eq!(record.entry.address.as_deref(), Some("127.0.0.1"));
        assert!(!format!("{record:?}").contains("s3cr3t"));
    }
    assert_eq!(records[3].entry.details["repeated"], 9);
}

#[tokio::test]
async fn behind_a_proxy_the_client_is_named_and_too_many_requests_are_summed_up() {
    let limits = Limits { writes_per_second: 1, writes_burst: 1, ..Limits::default() };
    let audit = AuditOptions { refusals: 1, ..AuditOptions::default() };
    let trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    let options = Options { limits, audit, trusted_proxies, ..Options::default() };
    let server = TestServer::with(options, &["key-one"]).await;
    let mut refused = 0;
    while refused < 5 {
        let request = server.post(&format!("/api/conversations/{NOBODY}/pause"));
        let request = request.header("X-Forwarded-For", "198.51.100.7").header("X-Session-API-Key", "key-one");
        let status = answer(request).await.0;
        refused += usize::from(status == StatusCode::TOO_MANY_REQUESTS);
    }
    let records = kept(&server.stop().await).await;
    assert!(records.iter().all(|record| record.entry.address.as_deref() == Some("198.51.100.7")), "{records:?}");
    let logged: Vec<_> = records.iter().filter(|record| record.entry.status == Some(429)).collect();
    let [one] = logged[..] else { panic!("{} records", logged.len()) };
    assert_eq!((&*one.entry.action, one.entry.actor.as_deref()), ("conversation.pause", Some("local")));
    assert_eq!(records.last().unwrap().entry.details["repeated"], 4);
}

#[tokio::test]
async fn what_agents_do_is_logged_without_its_arguments() {
    let server = TestServer::start().await;
    server.provider().script("m", [call("terminal", json!({"command": "echo s3cr3t"})), say("done")]);
    let conversation = server.create("m", json!({})).await;
    server.say(&conversation, "go").await;
    server.until_status(&conversation, "finished").await;
    let record = some(&server, "agent.action").await.remove(0);
    assert_eq!(record["details"], json!({"tool": "terminal"}));
    assert!(conversation.ends_with(record["target"].as_str().unwrap()));
    let mut socket = server.socket(&conversation.replace("/api/conversations", "/sockets/events")).await;
    socket.send(&message("again").to_string()).await;
    let said = until(async || {
        Some(records(&server, "&action=conversation.message").await).filter(|records| records.len() == 2)
    });
    let last = said.await.remove(1);
    assert_eq!((&last["details"]["socket"], &last["status"]), (&json!(true), &json!(200)));
    server.stop().await;
}

/// A client that goes away must not be able to act unseen.
#[tokio::test]
async fn a_request_that_is_broken_off_is_logged() {
    use tokio::io::AsyncWriteExt as _;
    let server = TestServer::start().await;
    let body = r#"{"command": "sleep 60"}"#;
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST /api/bash/execute_bash_command HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let started = async || {
        let (_, page) = answer(server.get("/api/bash/bash_events/search")).await;
        (!page["items"].as_array().unwrap().is_empty()).then_some(())
    };
    until(started).await;
    drop(stream);
    let record = some(&server, "command.execute").await.remove(0);
    assert_eq!((&record["details"]["outcome"], &record["status"]), (&json!("broken off"), &Value::Null));
    assert_eq!((&record["actor"], &record["details"]["command_bytes"]), (&json!("local"), &json!(8)));
    server.stop().await;
}

#[tokio::test]
async fn without_the_log_the_server_is_not_ready_and_changes_nothing_if_it_must_not() {
    for required in [false, true] {
        let server = TestServer::with(options(AuditOptions { required, ..AuditOptions::default() }), &[]).await;
        let database = Connection::open(server.folder.parent().unwrap().join("store.db")).unwrap();
        let change = || async { answer(server.post(&format!("/api/conversations/{NOBODY}/pause"))).await.0 };
        let ready = || async { answer(server.get("/ready")).await.0 };
        assert_eq!((change().await, ready().await), (StatusCode::NOT_FOUND, StatusCode::OK));
        some(&server, "conversation.pause").await;
        database
            .execute_batch("CREATE TRIGGER broken BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'broken'); END")
            .unwrap();
        assert_eq!(change().await, StatusCode::NOT_FOUND);
        until(async || (ready().await == StatusCode::SERVICE_UNAVAILABLE).then_some(())).await;
        let refused = if required { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::NOT_FOUND };
        assert_eq!(change().await, refused);
        assert_eq!(answer(server.get("/api/conversations/search")).await.0, StatusCode::OK, "reading goes on");
        let mut socket = server.socket("/sockets/bash-events").await;
        socket.send(r#"{"command": "true"}"#).await;
        let frame = socket.next().await.json();
        assert_eq!(frame["code"] == "CommandRefused", required, "{frame}");

        database.execute_batch("DROP TRIGGER broken").unwrap();
        until(async || (ready().await == StatusCode::OK).then_some(())).await;
        assert_eq!(change().await, StatusCode::NOT_FOUND);
        let expected = if required { 3 } else { 4 };
        let all = until(async || {
            let all = records(&server, "&action=conversation.pause").await;
            (all.len() >= expected).then_some(all.len())
        });
        assert_eq!(all.await, expected, "what waited is logged late, and once");
        let directory = tokio::time::timeout(PATIENCE, server.stop()).await.unwrap();
        kept(&directory).await;
    }
}

#[tokio::test]
async fn only_administrators_read_the_log() {
    #[derive(Debug)]
    struct Ann;

    #[async_trait]
    impl Authenticator for Ann {
        fn anybody(&self) -> Option<Principal> {
            None
        }

        async fn authenticate(&self, key: &str) -> Result<Principal, Denied> {
            if key == "ann" { Ok(Principal::new("ann")) } else { Err(Denied::Unknown) }
        }
    }

    let server = TestServer::of(Setup { authenticator: Arc::new(Ann), ..Setup::default() }).await;
    let (status, _) = answer(server.get("/api/audit").header("X-Session-API-Key", "ann")).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let records = kept(&server.stop().await).await;
    let said: Vec<_> = records.iter().map(|record| (&*record.entry.action, record.entry.actor.as_deref())).collect();
    assert_eq!(said, [("auth.forbidden", Some("ann"))]);
}

#[tokio::test]
async fn a_log_that_is_switched_off_stays_empty() {
    let server = TestServer::with(options(AuditOptions { enabled: false, ..AuditOptions::default() }), &[]).await;
    answer(server.post(&format!("/api/conversations/{NOBODY}/pause"))).await;
    assert_eq!(kept(&server.stop().await).await, []);
}

#[tokio::test]
async fn changes_of_users_and_keys_name_whose_they_are() {
    let server = TestServer::start().await;
    let ask = async |method: Method, path: &str, body: Value| {
        let (status, body) = answer(server.request(method, path).json(&body)).await;
        assert!(status.is_success(), "{path}: {body}");
        body
    };
    ask(Method::POST, "/admin/users", json!({"name": "bob"})).await;
    ask(Method::PATCH, "/admin/users/bob", json!({"role": "admin"})).await;
    let key = ask(Method::POST, "/admin/users/bob/keys", json!({})).await;
    let id = key["id"].as_str().unwrap();
    ask(Method::DELETE, &format!("/admin/keys/{id}"), json!({})).await;
    let records = kept(&server.stop().await).await;
    let told: Vec<_> = records
        .iter()
        .map(|record| &record.entry)
        .map(|entry| (&*entry.action, entry.target.as_deref().unwrap(), entry.owner.as_deref().unwrap()))
        .collect();
    let expected = [
        ("user.create", "bob", "bob"),
        ("user.update", "bob", "bob"),
        ("key.create", id, "bob"),
        ("key.revoke", id, "bob"),
    ];
    assert_eq!(told, expected);
    assert_eq!(records[1].entry.details["role"], "admin");
    assert!(!format!("{records:?}").contains(key["key"].as_str().unwrap()), "never the key itself");
}
