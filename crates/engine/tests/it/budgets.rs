//! Money and tokens, bounded before they are spent.

use std::sync::Arc;

use async_trait::async_trait;
use longshore_engine::{Budgets, Limit, Limits, SameForAll, StoredBudgets, UnknownPrice};
use longshore_llm::OperatedModel;
use longshore_protocol::{
    ConversationId, Secret, UtcTime,
    account::{User, UserOptions, UserRole},
};
use longshore_store::{Owner, Store};
use longshore_testkit::{Reply, hang, say, status};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::world::{World, ann, bob, message, until};

/// Ten dollars for a million tokens read, and a dollar for a thousand written.
const PRICE: (f64, f64) = (1e-5, 1e-3);

/// An answer that costs a tenth of a dollar, and as many tokens of output as [`priced`] allows.
fn dear() -> Reply {
    say("done").usage(json!({"prompt_tokens": 0, "completion_tokens": 100, "total_tokens": 100}))
}

/// A model with prices that writes at most 100 tokens: a call may cost a little more than a tenth of a dollar.
fn priced() -> Value {
    json!({"agent": {"tools": [], "llm": {
        "input_cost_per_token": PRICE.0, "output_cost_per_token": PRICE.1, "max_output_tokens": 100,
    }}})
}

fn money(cost_usd: f64) -> Limit {
    Limit { cost_usd: Some(cost_usd), tokens: None }
}

fn tokens(tokens: u64) -> Limit {
    Limit { cost_usd: None, tokens: Some(tokens) }
}

fn same(limits: Limits) -> Arc<dyn Budgets> {
    Arc::new(SameForAll { limits, unknown_price: UnknownPrice::Refuse })
}

fn world(limits: Limits) -> World {
    World::with_budgets(same(limits), |_| Vec::new())
}

/// Runs to the end and returns how it ended: nothing, or the code and the detail of the error.
async fn end_of_run(world: &World, id: ConversationId) -> Option<(String, String)> {
    world.go(id).await;
    until("the run is over", async || ["finished", "error"].contains(&&*world.status(id).await)).await;
    let events = world.events(id).await;
    let last = events.iter().rfind(|event| event["kind"] == "ConversationErrorEvent");
    let text = |event: &Value, field: &str| event[field].as_str().unwrap().to_owned();
    let failed = world.status(id).await == "error";
    last.filter(|_| failed).map(|event| (text(event, "code"), text(event, "detail")))
}

/// Waits until nothing is reserved, and returns dollars and tokens spent.
async fn spent(world: &World) -> (f64, u64) {
    until("nothing is reserved", async || world.engine.balance(&ann()).await.unwrap().reserved.tokens == 0).await;
    let balance = world.engine.balance(&ann()).await.unwrap();
    assert_eq!(balance.day, balance.all);
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let stored = world.engine.store().spent(&ann(), today).await.unwrap();
    assert_eq!(stored.all.tokens(), balance.all.tokens, "what is known is what is stored");
    (balance.all.cost_usd, balance.all.tokens)
}

fn assert_close(left: f64, right: f64) {
    assert!((left - right).abs() < 1e-6, "{left} is not {right}");
}

#[tokio::test]
async fn a_call_that_does_not_fit_does_not_leave_and_the_run_says_why() {
    for (limits, what, advice) in [
        (Limits { day: money(0.25), ..Limits::default() }, "the day", "renews at"),
        (Limits { user: money(0.25), ..Limits::default() }, "the user", "does not renew"),
        (Limits { conversation: money(0.25), ..Limits::default() }, "this conversation", "begin another"),
        (Limits { day: tokens(1200), ..Limits::default() }, "the day", "tokens"),
    ] {
        let world = world(limits);
        world.provider.script("m", [dear(), dear()]);
        let id = world.create("m", priced()).await;
        let mut ends = Vec::new();
        while ends.len() < 30 && ends.last().is_none_or(Option::is_none) {
            ends.push(end_of_run(&world, id).await);
            world.provider.script("m", [dear()]);
        }
        let (code, detail) = ends.pop().flatten().unwrap();
        assert!(code == "BudgetExceeded" && detail.contains(what) && detail.contains(advice), "{code}: {detail}");
        assert_eq!(world.provider.requests().len(), ends.len(), "the refused call did not leave");
        assert!(!ends.is_empty(), "{what}: {detail}");
        let (cost, _) = spent(&world).await;
        assert!(cost <= 0.25 || limits.day.tokens.is_some(), "{cost}");
        world.engine.shutdown().await;
    }
}

/// Budgets that change.
#[derive(Debug)]
struct Changing(Mutex<Limits>);

#[async_trait]
impl Budgets for Changing {
    async fn limits(&self, owner: &Owner) -> Result<Limits, longshore_store::Error> {
        Ok(if *owner == ann() { *self.0.lock().await } else { Limits::default() })
    }

    fn unknown_price(&self) -> UnknownPrice {
        UnknownPrice::Refuse
    }
}

#[tokio::test]
async fn a_budget_is_each_users_own_and_can_be_raised() {
    let budgets = Arc::new(Changing(Mutex::new(Limits { user: money(0.15), ..Limits::default() })));
    let world = World::with_budgets(Arc::clone(&budgets) as Arc<dyn Budgets>, |_| Vec::new());
    world.provider.respond("m", |_| dear());
    let id = world.create("m", priced()).await;
    assert_eq!(end_of_run(&world, id).await, None);
    assert_eq!(end_of_run(&world, id).await.unwrap().0, "BudgetExceeded");

    let request = world.request("m", priced());
    let (info, _) = world.engine.create(&bob(), request, longshore_engine::Skills::Trimmed).await.unwrap();
    let of_bob = serde_json::from_slice::<Value>(&info.0).unwrap()["id"].as_str().unwrap().parse().unwrap();
    world.engine.send(&bob(), of_bob, message("go", true)).await.unwrap();
    world.provider.wait_for_requests(2).await;

    budgets.0.lock().await.user = money(0.5);
    assert_eq!(end_of_run(&world, id).await, None, "the conversation is usable when the budget is raised");
    world.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_at_the_same_time_do_not_overspend_together() {
    const RUNS: usize = 20;
    let world = world(Limits { day: money(1.0), ..Limits::default() });
    // After its release the model says nothing, and is asked again.
    world.provider.respond("m", |request| {
        let messages = request.body["messages"].as_array().unwrap();
        if messages.iter().any(|message| message["role"] == "assistant") { dear() } else { hang() }
    });
    let mut ids = Vec::new();
    for _ in 0..RUNS {
        ids.push(world.create("m", priced()).await);
    }
    let (world, ids) = (Arc::new(world), Arc::new(ids));
    let mut runs = tokio::task::JoinSet::new();
    for number in 0..RUNS {
        let (world, ids) = (Arc::clone(&world), Arc::clone(&ids));
        runs.spawn(async move { world.go(ids[number]).await });
    }
    runs.join_all().await;
    // All that fit hang now; the others have failed.
    let settled = async || {
        let mut failed = 0;
        for id in &*ids {
            failed += usize::from(world.status(*id).await == "error");
        }
        failed + world.provider.requests().len() == RUNS
    };
    until("each run has left or failed", settled).await;
    let left = world.provider.requests().len();
    assert!((1..=9).contains(&left), "a call may cost more than a tenth of a dollar, and {left} left");
    world.provider.wait_for_hanging(left).await;
    let balance = world.engine.balance(&ann()).await.unwrap();
    assert!(balance.reserved.cost_usd > 0.1 && balance.reserved.cost_usd <= 1.0, "{balance:?}");
    world.provider.release();
    let over = async || {
        let mut over = 0;
        for id in &*ids {
            over += usize::from(["error", "finished"].contains(&&*world.status(*id).await));
        }
        over == RUNS
    };
    until("all runs are over", over).await;
    let (cost, _) = spent(&world).await;
    assert!(cost > 0.0 && cost <= 1.0, "{cost}");
    world.engine.shutdown().await;
}

#[tokio::test]
async fn a_model_without_a_price_is_refused_within_a_budget_of_money() {
    let limits = Limits { day: money(1.0), ..Limits::default() };
    let refusing = world(limits);
    let id = refusing.create("m", json!({"agent": {"tools": []}})).await;
    let (code, detail) = end_of_run(&refusing, id).await.unwrap();
    assert!(code == "BudgetExceeded" && detail.contains("input_cost_per_token") && detail.contains("[[model]]"));
    assert!(refusing.provider.requests().is_empty());
    refusing.engine.shutdown().await;

    let budgets = Arc::new(SameForAll { limits, unknown_price: UnknownPrice::Allow });
    let allowing = World::with_budgets(budgets, |_| Vec::new());
    allowing.provider.script("m", [say("done")]);
    let id = allowing.create("m", json!({"agent": {"tools": []}})).await;
    assert_eq!(end_of_run(&allowing, id).await, None);
    assert_eq!(spent(&allowing).await, (0.0, 120));
    allowing.engine.shutdown().await;
}

#[tokio::test]
async fn an_answer_is_limited_where_there_is_a_budget() {
    for (limits, expected) in
        [(Limits { day: tokens(100_000), ..Limits::default() }, json!(16_384)), (Limits::default(), Value::Null)]
    {
        let world = world(limits);
        world.provider.script("m", [say("done")]);
        let id = world.create("m", json!({"agent": {"tools": []}})).await;
        assert_eq!(end_of_run(&world, id).await, None);
        assert_eq!(world.provider.requests()[0].body["max_completion_tokens"], expected);
        world.engine.shutdown().await;
    }
}

#[tokio::test]
async fn a_call_that_is_broken_off_counts_what_it_sent() {
    let world = world(Limits { day: money(5.0), ..Limits::default() });
    world.provider.script("m", [hang()]);
    let id = world.create("m", priced()).await;
    world.go(id).await;
    world.provider.wait_for_hanging(1).await;
    world.engine.interrupt(&ann(), id).await.unwrap();
    world.until_status(id, "paused").await;
    let (cost, tokens) = spent(&world).await;
    assert!(tokens > 100, "the instructions were sent: {tokens}");
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let expected = tokens as f64 * PRICE.0;
    assert_close(cost, expected);
    world.engine.shutdown().await;
}

#[tokio::test]
async fn an_attempt_that_may_be_billed_counts_too() {
    let world = world(Limits { day: money(5.0), ..Limits::default() });
    world.provider.script("m", [status(503, "busy"), hang(), dear()]);
    let mut more = priced();
    for (field, value) in [("num_retries", 3), ("retry_min_wait", 0), ("retry_max_wait", 0), ("timeout", 1)] {
        more["agent"]["llm"][field] = json!(value);
    }
    let id = world.create("m", more).await;
    assert_eq!(end_of_run(&world, id).await, None);
    let (cost, tokens) = spent(&world).await;
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let expected = 0.1 + (tokens - 100) as f64 * PRICE.0;
    assert!(tokens > 200, "the instructions were sent in vain once: {tokens}");
    assert_close(cost, expected);
    world.engine.shutdown().await;
}

#[tokio::test]
async fn an_attempt_that_no_longer_fits_does_not_leave() {
    let world = world(Limits { day: money(0.15), ..Limits::default() });
    world.provider.script("m", [hang(), dear()]);
    let mut more = priced();
    for (field, value) in [("num_retries", 3), ("retry_min_wait", 0), ("retry_max_wait", 0), ("timeout", 1)] {
        more["agent"]["llm"][field] = json!(value);
    }
    let id = world.create("m", more).await;
    assert_eq!(end_of_run(&world, id).await.unwrap().0, "BudgetExceeded");
    assert_eq!(world.provider.requests().len(), 1);
    world.engine.shutdown().await;
}

#[tokio::test]
async fn what_was_spent_is_known_after_a_restart_and_a_deletion() {
    let world = world(Limits { user: money(0.15), ..Limits::default() });
    world.provider.respond("m", |_| dear());
    let id = world.create("m", priced()).await;
    assert_eq!(end_of_run(&world, id).await, None);
    world.engine.delete(&ann(), id).await.unwrap();
    let other = world.create("m", priced()).await;
    assert_eq!(end_of_run(&world, other).await.unwrap().0, "BudgetExceeded");
    let world = world.restart().await;
    assert_close(spent(&world).await.0, 0.1);
    world.engine.shutdown().await;
}

/// In no other place but the operator's configuration.
const KEY: &str = "operators-key-that-nobody-sees";

#[tokio::test]
async fn the_key_of_the_operators_model_is_nowhere() {
    let operated = |provider: &longshore_testkit::ScriptedServer| {
        let mut llm = provider.llm("theirs");
        llm.api_key = Some(Secret::new(KEY));
        vec![OperatedModel { name: "default".to_owned(), llm, is_default: true }]
    };
    let world = World::with_budgets(same(Limits::default()), operated);
    let refusal = json!({"error": {"message": format!("the key {KEY} may not call {}", world.provider.url())}});
    world.provider.script("theirs", [say("done"), status(400, refusal)]);
    let own = json!({"agent": {"tools": [], "llm": {
        "model": "longshore/default", "base_url": "http://127.0.0.1:1/v1", "api_key": "sk-of-the-user",
    }}});
    let id = world.create("m", own).await;
    assert_eq!(end_of_run(&world, id).await, None);
    let request = &world.provider.requests()[0];
    assert_eq!(request.body["model"], "theirs");
    assert_eq!(request.header("authorization"), format!("Bearer {KEY}"));
    let (code, detail) = end_of_run(&world, id).await.unwrap();
    assert!(code == "LLMBadRequestError" && detail.contains("longshore/default"), "{code}: {detail}");

    let told = format!("{} {:?}", world.info(id).await, world.events(id).await);
    let address = world.provider.url();
    let host = address.trim_start_matches("http://").trim_end_matches("/v1");
    assert!(told.contains("longshore/default") && !told.contains(KEY) && !told.contains(host), "{told}");
    world.engine.shutdown().await;
    world.engine.store().close().await;
    for file in std::fs::read_dir(world.folder.path()).unwrap() {
        let file = file.unwrap().path();
        if file.is_file() {
            let bytes = std::fs::read(&file).unwrap();
            assert!(!bytes.windows(KEY.len()).any(|part| part == KEY.as_bytes()), "{}", file.display());
        }
    }
}

#[tokio::test]
async fn an_unknown_model_of_the_operator_names_the_known_ones() {
    let operated = |provider: &longshore_testkit::ScriptedServer| {
        vec![OperatedModel { name: "small".to_owned(), llm: provider.llm("theirs"), is_default: false }]
    };
    let world = World::with_budgets(same(Limits::default()), operated);
    assert_eq!(world.engine.models().operator_default().as_deref(), Some("longshore/small"));
    let id = world.create("m", json!({"agent": {"llm": {"model": "longshore/large"}}})).await;
    let (_, detail) = end_of_run(&world, id).await.unwrap();
    assert!(detail.contains("longshore/large") && detail.contains("longshore/small"), "{detail}");
    assert!(world.provider.requests().is_empty());
    world.engine.shutdown().await;
}

#[tokio::test]
async fn a_user_may_have_budgets_of_the_own() {
    let folder = tempfile::tempdir().unwrap();
    let keys = longshore_store::Keys::new(&Secret::new("test"), &[]);
    let store: Arc<dyn Store> = Arc::new(longshore_store::Sqlite::open(&folder.path().join("db"), keys).unwrap());
    let options = json!({"budget": {"day": {"cost_usd": 5}, "user": {"tokens": 7}}});
    store
        .create_user(User {
            name: "ann".parse().unwrap(),
            role: UserRole::User,
            created_at: UtcTime(jiff::Timestamp::now()),
            disabled_at: None,
            options: serde_json::from_value(options).unwrap(),
        })
        .await
        .unwrap();
    let day = Limit { cost_usd: Some(1.0), tokens: Some(100) };
    let common = SameForAll { limits: Limits { day, ..Limits::default() }, ..SameForAll::default() };
    let budgets = StoredBudgets { store: Arc::clone(&store), common };
    let own = budgets.limits(&Owner("ann".into())).await.unwrap();
    assert_eq!(own.day, Limit { cost_usd: Some(5.0), tokens: Some(100) });
    assert_eq!((own.user, own.conversation), (Limit { cost_usd: None, tokens: Some(7) }, Limit::default()));
    for other in ["bob", "no name"] {
        assert_eq!(budgets.limits(&Owner(other.into())).await.unwrap(), common.limits);
    }
    let wrong = json!({"budget": {"day": {"cost_usd": -1}}});
    serde_json::from_value::<UserOptions>(wrong).unwrap_err();
    store.close().await;
}
