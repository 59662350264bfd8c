//! Subscriptions.

use longshore_engine::{Closed, Replay};
use longshore_testkit::{calls, say};
use serde_json::json;

use crate::world::{AT_ONCE, World, ann, ids, line, within};

async fn talk(world: &World) -> longshore_protocol::ConversationId {
    world.provider.script("m", [say("one"), say("two")]);
    let id = world.create("m", json!({})).await;
    let mut watch = world.watch(id).await;
    world.go(id).await;
    watch.until_settled("finished").await;
    id
}

#[tokio::test]
async fn a_reader_gets_the_part_of_the_past_that_it_asks_for() {
    let world = World::new();
    let id = talk(&world).await;
    let past = ids(&world.events(id).await);
    let third = world.events(id).await[2]["timestamp"].as_str().unwrap().parse().unwrap();
    let mut nothing = world.watch_from(id, Replay::Nothing).await;
    let mut since = world.watch_from(id, Replay::Since(third)).await;
    let mut all = world.watch_from(id, Replay::All).await;
    world.go(id).await;
    world.until_status(id, "finished").await;
    let log = ids(&world.events(id).await);
    assert_eq!(log[..past.len()], past);
    for (watch, first) in [(&mut nothing, past.len()), (&mut since, 2), (&mut all, 0)] {
        let state = watch.next().await.unwrap();
        assert_eq!(line(&state), "full_state finished", "the state comes first");
        let frames = watch.until(|frame| frame["id"] == log[log.len() - 1]).await;
        assert_eq!(ids(&frames), log[first..]);
    }
    world.engine.shutdown().await;
}

#[tokio::test]
async fn a_time_after_the_last_event_gives_nothing_of_the_past() {
    let world = World::new();
    let id = talk(&world).await;
    let mut watch = world.watch_from(id, Replay::Since("2999-01-01T00:00:00".parse().unwrap())).await;
    world.say(id, "next", false).await.unwrap();
    assert_eq!(line(&watch.next().await.unwrap()), "full_state finished");
    assert_eq!(line(&watch.next().await.unwrap()), "status idle");
    world.engine.shutdown().await;
}

#[tokio::test]
async fn a_reader_that_falls_far_behind_misses_nothing_and_sees_the_end_last() {
    const ANSWERS: usize = 80;
    let world = World::new();
    let thoughts = |answer: usize| calls((0..20).map(move |n| ("think", json!({"thought": format!("{answer}.{n}")}))));
    world.provider.script("m", (0..ANSWERS).map(thoughts).chain([say("done")]));
    let id = world.create("m", json!({"stuck_detection": false})).await;
    let mut slow = world.watch(id).await;
    let mut quick = world.watch(id).await;
    assert_eq!(line(&slow.next().await.unwrap()), "full_state idle");
    world.go(id).await;
    quick.until_settled("finished").await;

    let log = ids(&world.events(id).await);
    assert!(log.len() > ANSWERS * 40, "{}", log.len());
    let frames = slow.until_settled("finished").await;
    assert_eq!(ids(&frames).len(), log.len(), "all that happened came before the state at the end");
    assert_eq!(ids(&frames), log);
    world.engine.shutdown().await;
}

#[tokio::test]
async fn a_reader_that_is_behind_when_the_server_stops_still_gets_all() {
    let world = World::new();
    let thoughts = |answer: usize| calls((0..50).map(move |n| ("think", json!({"thought": format!("{answer}.{n}")}))));
    world.provider.script("m", (0..15).map(thoughts).chain([say("done")]));
    let id = world.create("m", json!({"stuck_detection": false})).await;
    let mut slow = world.watch(id).await;
    let mut quick = world.watch(id).await;
    world.go(id).await;
    quick.until_settled("finished").await;
    let log = ids(&world.events(id).await);
    world.engine.shutdown().await;
    let (frames, reason) = slow.until_closed().await;
    assert_eq!(reason, Closed::Stopping);
    assert_eq!(ids(&frames), log);
    assert_eq!(line(frames.last().unwrap()), "full_state finished");
}

#[tokio::test]
async fn readers_learn_why_nothing_more_comes() {
    let world = World::new();
    let deleted = world.busy(json!({})).await;
    let mut watch = world.watch(deleted).await;
    within(AT_ONCE, "delete", world.engine.delete(&ann(), deleted)).await.unwrap();
    assert_eq!(watch.until_closed().await.1, Closed::Deleted);

    let stopped = world.busy(json!({})).await;
    let mut watch = world.watch(stopped).await;
    world.engine.shutdown().await;
    let (frames, reason) = watch.until_closed().await;
    assert_eq!(reason, Closed::Stopping);
    assert_eq!(line(frames.last().unwrap()), "full_state paused");
}

#[tokio::test]
async fn many_readers_see_the_same() {
    let world = World::new();
    world.provider.script("m", [calls((0..30).map(|n| ("think", json!({"thought": n.to_string()})))), say("done")]);
    let id = world.create("m", json!({"stuck_detection": false})).await;
    let mut watches = Vec::new();
    for _ in 0..50 {
        watches.push(world.watch(id).await);
    }
    world.go(id).await;
    let mut seen = Vec::new();
    for watch in &mut watches {
        seen.push(ids(&watch.until_settled("finished").await));
    }
    let log = ids(&world.events(id).await);
    assert!(seen.iter().all(|ids| *ids == log));
    world.engine.shutdown().await;
}
