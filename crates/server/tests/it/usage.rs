//! What users spent on models, and the operator's models.

use std::sync::Arc;

use jiff::{Timestamp, ToSpan, tz::TimeZone};
use longshore_engine::{Limit, Limits, SameForAll, UnknownPrice};
use longshore_llm::{ModelsOptions, OperatedModel, Turn, TurnUsage};
use longshore_protocol::{Llm, Secret};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    agents::message,
    server::{Setup, TestServer, answer, until},
};

const KEY: &str = "operators-key-that-nobody-sees";

/// A server with a scripted model of the operator: each answer costs a dollar.
async fn server() -> TestServer {
    let usage = TurnUsage { completion_tokens: 100, ..TurnUsage::default() };
    let turn = Turn { usage, repeat: true, ..Turn::say("done") };
    let llm = Llm {
        model: "scripted/dear".to_owned(),
        api_key: Some(Secret::new(KEY)),
        base_url: Some("http://models.internal:8000/v1".to_owned()),
        input_cost_per_token: Some(0.0),
        output_cost_per_token: Some(0.01),
        max_output_tokens: Some(100),
        ..Llm::default()
    };
    let limits = Limits {
        day: Limit { cost_usd: Some(1.5), tokens: None },
        user: Limit { cost_usd: None, tokens: Some(1_000_000) },
        ..Limits::default()
    };
    TestServer::of(Setup {
        models: ModelsOptions {
            operated: vec![OperatedModel { name: "default".to_owned(), llm, is_default: true }],
            operated_only: true,
            scripts: [("dear".to_owned(), vec![turn])].into(),
            ..ModelsOptions::default()
        },
        budgets: Arc::new(SameForAll { limits, unknown_price: UnknownPrice::Refuse }),
        ..Setup::default()
    })
    .await
}

/// Makes a conversation with a model, says something and returns how the run ended.
async fn run(server: &TestServer, llm: Value) -> (String, String) {
    let wish = server.wish("m", json!({"agent": {"tools": [], "llm": llm}}));
    let (status, info) = server.post_json("/api/conversations", &wish).await;
    assert_eq!(status, StatusCode::CREATED, "{info}");
    let conversation = format!("/api/conversations/{}", info["id"].as_str().unwrap());
    let (status, body) = server.post_json(&format!("{conversation}/events"), &message("go")).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let status = until(async || {
        let status = server.look(&conversation).await["execution_status"].as_str().unwrap().to_owned();
        ["finished", "error"].contains(&&*status).then_some(status)
    })
    .await;
    (conversation, status)
}

#[tokio::test]
async fn a_user_sees_what_was_spent_and_what_is_left() {
    let server = server().await;
    let ours = json!({"model": "longshore/default"});
    let (first, status) = run(&server, ours.clone()).await;
    assert_eq!(status, "finished");
    let (second, status) = run(&server, ours).await;
    assert_eq!(status, "error", "another dollar does not fit");
    let events = server.events(&second).await;
    let error = events.iter().find(|event| event["kind"] == "ConversationErrorEvent").unwrap();
    assert_eq!(error["code"], "BudgetExceeded");
    assert_eq!(error["classification"]["kind"], "quota");

    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let usage = server.look("/api/usage").await;
    assert_eq!((&usage["total"]["calls"], &usage["total"]["cost_usd"]), (&json!(1), &json!(1.0)), "{usage}");
    assert_eq!(usage["to"], today.to_string());
    assert_eq!((usage["days"].as_array().unwrap().len(), &usage["days"][0]["completion_tokens"]), (1, &json!(100)));
    assert_eq!(
        (&usage["models"][0]["model"], usage["models"].as_array().unwrap().len()),
        (&json!("longshore/default"), 1)
    );
    let day = &usage["budgets"]["day"];
    assert_eq!((&day["limit"]["cost_usd"], &day["left"]["cost_usd"]), (&json!(1.5), &json!(0.5)), "{day}");
    assert_eq!((&day["left"]["tokens"], &day["reserved"]["tokens"]), (&Value::Null, &json!(0)));
    assert_eq!(usage["budgets"]["user"]["left"]["tokens"], 999_900);
    assert_eq!(usage["budgets"]["conversation"]["cost_usd"], Value::Null);

    let before = today.checked_sub(1.day()).unwrap();
    let nothing = server.look(&format!("/api/usage?from={before}&to={before}")).await;
    assert_eq!((&nothing["total"]["calls"], &nothing["days"]), (&json!(0), &json!([])));

    let page = server.look("/api/usage/conversations?limit=1").await;
    let id = first.rsplit('/').next().unwrap();
    assert_eq!((&page["items"][0]["conversation_id"], &page["items"][0]["cost_usd"]), (&json!(id), &json!(1.0)));
    assert_eq!(page["next_page_id"], Value::Null);
    server.stop().await;
}

#[tokio::test]
async fn the_operators_models_are_listed_without_secrets_and_others_refused() {
    let server = server().await;
    let models = server.look("/api/models").await;
    let expected = json!({"items": [{
        "name": "longshore/default", "model": "scripted/dear", "input_cost_per_token": 0.0, "output_cost_per_token": 0.01,
        "max_output_tokens": 100, "is_default": true,
    }]});
    assert_eq!(models, expected);
    for other in ["openai/gpt-5", "scripted/dear", "record/x+longshore/default"] {
        let (conversation, status) = run(&server, json!({"model": other})).await;
        assert_eq!(status, "error");
        let told = format!("{:?}", server.events(&conversation).await);
        assert!(told.contains("only the models of its operator") && told.contains("longshore/default"), "{told}");
        assert!(!told.contains(KEY) && !told.contains("models.internal"));
    }
    server.stop().await;
}

#[tokio::test]
async fn periods_that_make_no_sense_are_refused() {
    let server = TestServer::start().await;
    for query in ["from=yesterday", "to=2026-13-01", "from=2026-02-01&to=2026-01-01", "from=2020-01-01&to=2026-01-01"] {
        let (status, body) = answer(server.get(&format!("/api/usage?{query}"))).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{query}: {body}");
        assert_eq!(body["detail"][0]["loc"][0], "query");
    }
    for limit in [0, 101] {
        let (status, _) = answer(server.get(&format!("/api/usage/conversations?limit={limit}"))).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    assert_eq!(server.look("/api/models").await, json!({"items": []}));
    server.stop().await;
}
