//! Conversations come into memory and leave it, and nobody notices.

use std::{sync::Arc, time::Duration};

use longshore_engine::{Error, Made, Replay, Skills};
use longshore_testkit::{call, say};
use serde_json::json;

use crate::world::{Watch, World, ann, line, message};

#[tokio::test]
async fn an_unused_conversation_is_only_a_row() {
    let world = World::with(|options| options.idle_ttl = Duration::from_millis(50));
    world.provider.script("m", [call("terminal", json!({"command": "cd / && echo one"})), say("done"), say("again")]);
    let id = world.create("m", json!({})).await;
    assert_eq!(world.engine.in_memory_count(), 0, "creating needs no task");
    world.go(id).await;
    world.until_status(id, "finished").await;
    world.until_in_memory(0).await;
    assert_eq!(world.status(id).await, "finished");
    assert_eq!(world.engine.in_memory_count(), 0, "reading needs no task");
    world.go(id).await;
    world.until_status(id, "finished").await;
    assert_eq!(world.provider.requests().len(), 3);
    assert!(world.provider.requests()[2].body.to_string().contains("echo one"), "the model still knows the past");
    world.until_in_memory(0).await;
    world.engine.shutdown().await;
}

#[tokio::test]
async fn a_conversation_with_a_reader_or_a_run_stays() {
    let world = World::with(|options| options.idle_ttl = Duration::from_millis(20));
    let read = world.create("m", json!({})).await;
    let unread = world.create("m", json!({})).await;
    let mut watch = world.watch(read).await;
    drop(world.watch(unread).await);
    let busy = world.busy(json!({})).await;
    // The one that may leave has left, so the others had the time to leave too.
    world.until_in_memory(2).await;
    assert_eq!(line(&watch.next().await.unwrap()), "full_state idle");
    world.say(read, "hello", false).await.unwrap();
    assert_eq!(line(&watch.next().await.unwrap()), "SystemPromptEvent");
    assert_eq!(world.status(busy).await, "running");
    drop(watch);
    world.until_in_memory(1).await;
    world.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_message_to_a_conversation_that_is_just_leaving_is_kept() {
    for ttl in [Duration::ZERO, Duration::from_micros(200), Duration::from_millis(2)] {
        let world = Arc::new(World::with(|options| options.idle_ttl = ttl));
        let id = world.create("m", json!({})).await;
        let senders: Vec<_> = (0..4)
            .map(|sender| {
                let world = Arc::clone(&world);
                tokio::spawn(async move {
                    for number in 0..25 {
                        world.say(id, &format!("{sender}.{number}"), false).await.unwrap();
                        if number % 2 == 0 {
                            tokio::time::sleep(ttl).await;
                        }
                    }
                })
            })
            .collect();
        for sender in senders {
            sender.await.unwrap();
        }
        let log = world.log(id).await;
        assert_eq!(log.iter().filter(|line| *line == "MessageEvent").count(), 100, "with {ttl:?}");
        assert_eq!(log.iter().filter(|line| *line == "SystemPromptEvent").count(), 1, "with {ttl:?}");
        world.engine.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_of_a_conversation_that_is_just_leaving_is_not_sent_away() {
    let world = World::with(|options| options.idle_ttl = Duration::from_millis(1));
    let id = world.create("m", json!({})).await;
    for number in 0..150 {
        // About as long as the conversation stays, so that it leaves at every moment of the subscription.
        tokio::time::sleep(Duration::from_micros(1000 + 20 * (number % 50))).await;
        let mut watch = Watch(world.engine.subscribe(&ann(), id, Replay::Nothing).await.unwrap());
        let text = number.to_string();
        world.say(id, &text, false).await.unwrap();
        watch.until(|frame| frame["llm_message"]["content"][0]["text"] == text).await;
    }
    world.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_conversation_with_the_id_of_a_deleted_one_is_a_new_one() {
    let world = Arc::new(World::new());
    let id = "11111111-2222-3333-4444-555555555555";
    let request = |title: &str| world.request("m", json!({"conversation_id": id, "tags": {"round": title}}));
    let id: longshore_protocol::ConversationId = id.parse().unwrap();
    // Others look at it all the time, so that it is loaded at every moment of its deletion.
    let lookers: Vec<_> = (0..3)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                loop {
                    match world.engine.subscribe(&ann(), id, Replay::All).await {
                        Ok(subscription) => drop(subscription),
                        Err(Error::NotFound(_)) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for round in 0..100 {
        let (info, made) = world.engine.create(&ann(), request(&round.to_string()), Skills::Trimmed).await.unwrap();
        assert_eq!(made, Made::New);
        let info: serde_json::Value = serde_json::from_slice(&info.0).unwrap();
        assert_eq!(info["tags"]["round"], round.to_string(), "the answer is about the new one");
        if round % 2 == 0 {
            world.say(id, "hello", false).await.unwrap();
            assert_eq!(world.log(id).await.len(), 3);
        }
        world.engine.delete(&ann(), id).await.unwrap();
        assert!(matches!(world.engine.delete(&ann(), id).await, Err(Error::NotFound(_))));
    }
    assert!(lookers.iter().all(|looker| !looker.is_finished()), "a looker failed");
    lookers.iter().for_each(tokio::task::JoinHandle::abort);
    world.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn wishes_that_race_with_a_deletion_are_granted_or_find_nothing() {
    let world = Arc::new(World::new());
    for _ in 0..30 {
        let id = world.create("m", json!({})).await;
        let wishes: Vec<_> = (0..6)
            .map(|number| {
                let engine = world.engine.clone();
                tokio::spawn(async move { engine.send(&ann(), id, message(&number.to_string(), false)).await })
            })
            .collect();
        tokio::task::yield_now().await;
        world.engine.delete(&ann(), id).await.unwrap();
        for wish in wishes {
            let outcome = wish.await.unwrap();
            assert!(matches!(outcome, Ok(()) | Err(Error::NotFound(_))), "{outcome:?}");
        }
        assert!(matches!(world.engine.info(&ann(), id, Skills::Trimmed).await, Err(Error::NotFound(_))));
    }
    world.until_in_memory(0).await;
    world.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_conversations_work_at_the_same_time() {
    let world = Arc::new(World::new());
    world.provider.respond("m", |request| match request.body["messages"].as_array().unwrap().len() {
        0..5 => call("think", json!({"thought": "about it"})),
        _ => say("done"),
    });
    let conversations = futures::future::join_all((0..64).map(|_| world.create("m", json!({})))).await;
    let ends = conversations.iter().map(async |id| {
        let mut watch = world.watch(*id).await;
        world.go(*id).await;
        watch.until_settled("finished").await.len()
    });
    let frames = futures::future::join_all(ends).await;
    assert!(frames.iter().all(|count| *count == frames[0]), "{frames:?}");
    assert_eq!(world.provider.requests().len(), 64 * 3);
    world.engine.shutdown().await;
}
