//! Conversations over REST: making, finding, changing and removing them.

use std::collections::BTreeSet;

use futures::future::join_all;
use longshore_testkit::{call, say};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    agents::{CONVERSATIONS, kinds},
    server::{TestServer, answer, until},
};

const ID: &str = "abcdefab-1111-2222-3333-444444444444";
const NOBODY: &str = "/api/conversations/99999999-2222-3333-4444-555555555555";

#[tokio::test]
async fn the_same_id_gives_the_same_conversation_in_every_form() {
    let server = TestServer::start().await;
    let wish = server.wish("m", json!({"conversation_id": "ABCDEFAB111122223333444444444444", "tags": {"a": "b"}}));
    let wishes = (0..8).map(|_| server.post_json(CONVERSATIONS, &wish));
    let answers = join_all(wishes).await;
    assert_eq!(answers.iter().filter(|(status, _)| *status == StatusCode::CREATED).count(), 1);
    assert_eq!(answers.iter().filter(|(status, _)| *status == StatusCode::OK).count(), 7);
    assert!(answers.iter().all(|(_, info)| info["id"] == ID), "{answers:?}");

    let other = server.wish("m", json!({"conversation_id": ID, "tags": {"a": "changed"}, "unknown_field": 1}));
    let (status, info) = server.post_json(CONVERSATIONS, &other).await;
    assert_eq!((status, &info["tags"]), (StatusCode::OK, &json!({"a": "b"})));
    for form in [ID.to_owned(), ID.to_uppercase(), ID.replace('-', "")] {
        assert_eq!(server.look(&format!("{CONVERSATIONS}/{form}")).await["id"], ID, "{form}");
    }
    assert_eq!(server.look("/api/conversations/count").await, 1);
    server.stop().await;
}

#[tokio::test]
async fn wishes_that_make_no_sense_are_refused_with_a_reason() {
    let server = TestServer::start().await;
    let folder = server.path("p");
    for (more, loc, text) in [
        (json!({"agent": null}), json!(["body", "agent"]), "One of `agent`"),
        (json!({"agent": {"kind": "Nope"}}), json!(["body", "agent"]), "Unknown kind 'Nope'"),
        (json!({"agent": 1}), json!(["body", "agent"]), ""),
        (json!({"workspace": 1}), json!(["body", "workspace"]), ""),
        (json!({"workspace": {"working_dir": ""}}), json!(["body", "workspace"]), "must not be empty"),
        (json!({"workspace": {"working_dir": "a\0b"}}), json!(["body", "workspace"]), "zero byte"),
        (
            json!({"workspace": {"kind": "RemoteWorkspace", "working_dir": "y"}}),
            json!(["body", "workspace"]),
            "RemoteWorkspace",
        ),
        (json!({"agent_profile_id": NOBODY}), json!(["body", "agent"]), "mutually exclusive"),
        (json!({"conversation_runtime": "docker"}), json!(["body", "conversation_runtime"]), "only runs local"),
        (json!({"max_iterations": 0}), json!(["body", "max_iterations"]), "greater than"),
        (json!({"max_iterations": -1}), json!(["body", "max_iterations"]), "greater than or equal to 0"),
        (json!({"tags": {"a": "x".repeat(257)}}), json!(["body", "tags"]), "256"),
        (json!({"tags": {"BAD-KEY": "b"}}), json!(["body", "tags"]), "lowercase alphanumeric"),
        (json!({"conversation_id": "notauuid"}), json!(["body", "conversation_id"]), "valid UUID"),
        (json!({"confirmation_policy": {"kind": "Nope"}}), json!(["body", "confirmation_policy"]), "Unknown kind"),
        (json!({"security_analyzer": {"kind": "Nope"}}), json!(["body", "security_analyzer"]), "Unknown kind"),
        (
            json!({"parent_conversation_id": ID, "workspace": {"working_dir": folder}}),
            json!(["body", "parent_conversation_id"]),
            "Parent conversation not found",
        ),
    ] {
        let (status, body) = server.post_json(CONVERSATIONS, &server.wish("m", more.clone())).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{more}: {body}");
        let problem = &body["detail"][0];
        assert_eq!(problem["loc"], loc, "{more}: {body}");
        assert!(problem["msg"].as_str().unwrap().contains(text), "{more}: {body}");
        assert!(problem.get("input").is_some(), "{more}: {body}");
    }
    assert_eq!(server.look("/api/conversations/count").await, 0, "nothing is left of them");
    server.stop().await;
}

/// W21: the official server sends plain secrets back.
#[tokio::test]
async fn plain_secrets_are_taken_and_bad_ones_never_come_back() {
    let server = TestServer::start().await;
    server.provider().script("m", [call("terminal", json!({"command": "echo $ONE-$TWO-$THREE"})), say("ok")]);
    let secrets = json!({"ONE": "s3cr3t-one", "TWO": {"kind": "StaticSecret", "value": "s3cr3t-two"}});
    let conversation = server.create("m", json!({"secrets": secrets})).await;
    let path = format!("{conversation}/secrets");
    let (status, _) = server.post_json(&path, &json!({"secrets": {"THREE": {"value": "s3cr3t-three"}}})).await;
    assert_eq!(status, StatusCode::OK);
    server.say(&conversation, "go").await;
    let info = server.until_status(&conversation, "finished").await;
    let events = json!(server.events(&conversation).await).to_string();
    assert!(events.contains("<secret-hidden>-<secret-hidden>-<secret-hidden>"), "{events}");
    assert!(!events.contains("s3cr3t") && !info.to_string().contains("s3cr3t"), "{info}");

    let value = "s3cr3t-value";
    for secrets in [
        json!({"NAME": [value]}),
        json!({"NAME": {"value": [value]}}),
        json!({"NAME": {"kind": "Nope", "value": value}}),
        json!({"NAME": {"kind": "LookupSecret", "url": [value]}}),
        json!({"NAME": {"kind": "LookupSecret", "url": "u", "headers": value}}),
        json!({"bad name": value}),
        json!({"NAME": value, "": value}),
        json!([value]),
        json!(value),
    ] {
        for (path, body) in [
            (CONVERSATIONS, server.wish("m", json!({"secrets": secrets}))),
            (
                CONVERSATIONS,
                server.wish("m", json!({"agent": {"agent_context": {"secrets": secrets}}, "workspace": 1})),
            ),
            (&path, json!({"secrets": secrets})),
        ] {
            let (status, answer) = server.post_json(path, &body).await;
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{secrets}: {answer}");
            assert!(!answer.to_string().contains("s3cr3t"), "{secrets}: {answer}");
        }
    }
    for llm in [json!({"api_key": [value]}), json!({"api_key": value, "num_retries": "x"}), json!(value)] {
        let (status, answer) = server.post_json(CONVERSATIONS, &server.wish("m", json!({"agent": {"llm": llm}}))).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
        assert!(llm.is_string() || !answer.to_string().contains("s3cr3t"), "{answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn lists_have_pages_orders_and_filters() {
    let server = TestServer::start().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(server.make("m", json!({})).await["id"].as_str().unwrap().to_owned());
    }
    // The first becomes the latest changed.
    let first = format!("{CONVERSATIONS}/{}", made[0]);
    answer(server.request(Method::PATCH, &first).json(&json!({"title": "first"}))).await;
    let list = async |query: &str| {
        let page = server.look(&format!("{CONVERSATIONS}/search{query}")).await;
        let ids: Vec<_> = page["items"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect();
        (ids, page["next_page_id"].clone())
    };
    let pick = |order: &[usize]| order.iter().map(|index| json!(made[*index])).collect::<Vec<_>>();
    for (order, expected) in [
        ("CREATED_AT", pick(&[0, 1, 2, 3, 4])),
        ("CREATED_AT_DESC", pick(&[4, 3, 2, 1, 0])),
        ("UPDATED_AT", pick(&[1, 2, 3, 4, 0])),
        ("UPDATED_AT_DESC", pick(&[0, 4, 3, 2, 1])),
    ] {
        assert_eq!(list(&format!("?sort_order={order}")).await, (expected.clone(), Value::Null), "{order}");
        let (mut paged, mut query) = (Vec::new(), String::new());
        loop {
            let (ids, next) = list(&format!("?sort_order={order}&limit=2{query}")).await;
            assert!(ids.len() <= 2);
            paged.extend(ids);
            let Some(next) = next.as_str() else { break };
            assert!(next.len() == 32 && !next.contains('-'), "{next}");
            query = format!("&page_id={next}");
        }
        assert_eq!(paged, expected, "{order}");
    }
    assert_eq!(list("").await.0, pick(&[4, 3, 2, 1, 0]));
    for page_id in ["zzz", "", "99999999222233334444555555555555"] {
        assert_eq!(list(&format!("?limit=1&page_id={page_id}")).await.0, pick(&[4]), "{page_id}");
    }

    server.provider().script("m", [say("done")]);
    server.say(&first, "go").await;
    server.until_status(&first, "finished").await;
    assert_eq!(list("?status=finished").await.0, pick(&[0]));
    assert_eq!(list("?status=idle&sort_order=CREATED_AT").await.0, pick(&[1, 2, 3, 4]));
    for (query, count) in [("", 5), ("?status=idle", 4), ("?status=finished", 1), ("?status=running", 0)] {
        assert_eq!(server.look(&format!("{CONVERSATIONS}/count{query}")).await, count, "{query}");
    }

    for (path, kind, loc) in [
        ("search?limit=0", "greater_than", "limit"),
        ("search?limit=101", "less_than_equal", "limit"),
        ("search?limit=x", "int_parsing", "limit"),
        ("search?limit=99999999999999999999", "int_parsing", "limit"),
        ("search?sort_order=UP", "literal_error", "sort_order"),
        ("search?status=bogus", "literal_error", "status"),
        ("search?include_skills=maybe", "bool_parsing", "include_skills"),
        ("count?status=bogus", "literal_error", "status"),
    ] {
        let (status, body) = answer(server.get(&format!("{CONVERSATIONS}/{path}"))).await;
        let problem = &body["detail"][0];
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{path}");
        assert_eq!((&problem["type"], &problem["loc"]), (&json!(kind), &json!(["query", loc])), "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn several_are_read_at_once_with_holes() {
    let server = TestServer::start().await;
    let (one, other) = (server.make("m", json!({})).await, server.make("m", json!({})).await);
    let id = |info: &Value| info["id"].as_str().unwrap().to_owned();
    let path = format!("{CONVERSATIONS}?ids={}&ids={ID}&ids={}&ids={0}", id(&one), id(&other).replace('-', ""));
    let found = server.look(&path).await;
    let found: Vec<_> = found.as_array().unwrap().iter().map(|info| info["id"].clone()).collect();
    assert_eq!(found, [one["id"].clone(), Value::Null, other["id"].clone(), one["id"].clone()]);
    let many = |count| format!("{CONVERSATIONS}?{}", vec![format!("ids={ID}"); count].join("&"));
    assert_eq!(server.look(&many(99)).await, json!(vec![Value::Null; 99]));
    for (path, kind) in [
        (many(100), "value_error"),
        (CONVERSATIONS.to_owned(), "missing"),
        (format!("{CONVERSATIONS}?ids="), "uuid_parsing"),
        (format!("{CONVERSATIONS}?ids={ID}&ids=x"), "uuid_parsing"),
    ] {
        let (status, body) = answer(server.get(&path)).await;
        assert_eq!((status, &body["detail"][0]["type"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!(kind)), "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn skills_are_shown_to_those_who_ask() {
    let server = TestServer::start().await;
    let context = json!({"skills": [{"name": "s", "content": "skill-content"}], "system_message_suffix": "suffix"});
    let wish = server.wish("m", json!({"conversation_id": ID, "agent": {"agent_context": context}}));
    let shows = |info: &Value| info["agent"]["agent_context"]["skills"] != json!([]);
    let (_, info) = server.post_json(CONVERSATIONS, &wish).await;
    assert!(!shows(&info));
    let (_, info) = server.post_json(&format!("{CONVERSATIONS}?include_skills=true"), &wish).await;
    assert!(shows(&info));
    for (path, pick) in [
        (format!("{CONVERSATIONS}/{ID}?"), ""),
        (format!("{CONVERSATIONS}?ids={ID}&"), "/0"),
        (format!("{CONVERSATIONS}/search?"), "/items/0"),
    ] {
        for (include, is_shown) in [("", false), ("include_skills=false", false), ("include_skills=true", true)] {
            let body = server.look(&format!("{path}{include}")).await;
            let info = body.pointer(pick).unwrap();
            assert_eq!(shows(info), is_shown, "{path}{include}");
            assert_eq!(info["agent"]["agent_context"]["system_message_suffix"], "suffix");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn titles_and_labels_are_changed() {
    let server = TestServer::start().await;
    let conversation = server.create("m", json!({"tags": {"old": "1"}})).await;
    let patch = async |body: Value| answer(server.request(Method::PATCH, &conversation).json(&body)).await;
    for body in [json!({}), json!({"title": " New title ", "tags": {"a": "b"}}), json!({"unknown": 1})] {
        assert_eq!(patch(body).await, (StatusCode::OK, json!({"success": true})));
    }
    let info = server.look(&conversation).await;
    assert_eq!((&info["title"], &info["tags"]), (&json!("New title"), &json!({"a": "b"})));
    assert!(info["updated_at"].as_str() > info["created_at"].as_str());
    assert_eq!(kinds(&server.events(&conversation).await), ["tags"], "a title has no event");
    for (body, field, text) in [
        (json!({"title": "   "}), "title", "title must not be blank"),
        (json!({"title": "x".repeat(201)}), "title", "200"),
        (json!({"title": 1}), "title", "valid string"),
        (json!({"tags": "no"}), "tags", ""),
        (json!({"tags": {"BAD-KEY": "b"}}), "tags", "lowercase alphanumeric"),
        (json!({"tags": {"a": 1}}), "tags", ""),
    ] {
        let (status, answer) = patch(body.clone()).await;
        let problem = &answer["detail"][0];
        assert_eq!((status, &problem["loc"][1]), (StatusCode::UNPROCESSABLE_ENTITY, &json!(field)), "{body}: {answer}");
        assert!(problem["msg"].as_str().unwrap().contains(text), "{body}: {answer}");
    }
    assert_eq!(server.look(&conversation).await["title"], "New title");
    server.stop().await;
}

#[tokio::test]
async fn what_is_deleted_is_gone_whatever_it_was_doing() {
    let server = TestServer::start().await;
    let conversation = server.busy("m").await;
    let folder = server.look(&conversation).await["workspace"]["working_dir"].as_str().unwrap().to_owned();
    let delete = async || answer(server.request(Method::DELETE, &conversation)).await;
    assert_eq!(delete().await, (StatusCode::OK, json!({"success": true})));
    let gone = (StatusCode::NOT_FOUND, json!({"detail": "Not Found"}));
    assert_eq!(delete().await, gone);
    assert_eq!(answer(server.get(&conversation)).await, gone);
    assert_eq!(server.look("/api/conversations/count").await, 0);
    assert!(std::path::Path::new(&folder).join("begun").exists(), "the workspace stays");
    server.stop().await;
}

#[tokio::test]
async fn conversations_that_are_not_there_are_named_as_the_official_server_names_them() {
    let server = TestServer::start().await;
    let (short, long) = (json!("Not Found"), json!(format!("Conversation not found: {}", &NOBODY[19..])));
    let empty = json!({});
    let policy = json!({"policy": {"kind": "AlwaysConfirm"}});
    for (method, path, body, detail) in [
        (Method::GET, "", &empty, &short),
        (Method::PATCH, "", &json!({"title": "t"}), &short),
        (Method::PATCH, "", &empty, &short),
        (Method::DELETE, "", &empty, &short),
        (Method::POST, "/run", &empty, &short),
        (Method::POST, "/pause", &empty, &short),
        (Method::POST, "/interrupt", &empty, &short),
        (Method::GET, "/agent_final_response", &empty, &short),
        (Method::POST, "/confirmation_policy", &policy, &short),
        (Method::POST, "/security_analyzer", &json!({"security_analyzer": null}), &short),
        (Method::POST, "/secrets", &json!({"secrets": {}}), &short),
        (Method::GET, "/events/search", &empty, &long),
        (Method::GET, "/events/count", &empty, &long),
        (Method::GET, "/events/x", &empty, &long),
        (Method::GET, "/events?event_ids=x", &json!([]), &long),
        (Method::POST, "/events", &empty, &long),
        (Method::POST, "/events/respond_to_confirmation", &json!({"accept": true}), &long),
    ] {
        let found = answer(server.request(method.clone(), &format!("{NOBODY}{path}")).json(body)).await;
        assert_eq!(found, (StatusCode::NOT_FOUND, json!({"detail": detail})), "{method} {path}");
        let (status, found) =
            answer(server.request(method, &format!("{CONVERSATIONS}/notauuid{path}")).json(body)).await;
        let problem = &found["detail"][0];
        assert_eq!((status, &problem["type"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("uuid_parsing")), "{path}");
        assert_eq!((&problem["loc"], &problem["input"]), (&json!(["path", "conversation_id"]), &json!("notauuid")));
    }
    server.stop().await;
}

/// Clients read all fields, so that none may be missing or be new.
#[tokio::test]
async fn everything_said_of_a_conversation_has_the_same_fields() {
    let server = TestServer::start().await;
    let made = server.make("m", json!({})).await;
    let conversation = format!("{CONVERSATIONS}/{}", made["id"].as_str().unwrap());
    let fields = |info: &Value| info.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    for (path, pick) in [(conversation.clone(), ""), (format!("{CONVERSATIONS}/search"), "/items/0")] {
        let body = server.look(&path).await;
        let info = body.pointer(pick).unwrap();
        assert_eq!(fields(info), fields(&made));
        assert_eq!(info["runtime_info"]["runtime_status"], "available", "{info}");
        assert_eq!(info["agent"]["llm"]["api_key"], Value::Null);
        for time in ["created_at", "updated_at"] {
            assert!(info[time].as_str().unwrap().ends_with('Z'), "{info}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn conversations_survive_a_restart() {
    let server = TestServer::start().await;
    let conversation = server.finished("m", [say("the answer")]).await;
    let before = server.look(&conversation).await;
    let events = server.events(&conversation).await;
    let busy = server.busy("busy").await;
    let again = TestServer::again(server.crash().await).await;
    assert_eq!(again.look(&conversation).await, before);
    assert_eq!(again.events(&conversation).await, events);
    assert_eq!(again.look(&format!("{conversation}/agent_final_response")).await, json!({"response": "the answer"}));
    let info = until(async || Some(again.look(&busy).await)).await;
    assert_eq!(info["execution_status"], "error");
    again.stop().await;
}
