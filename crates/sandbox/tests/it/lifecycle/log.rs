//! What is told of a box.

use longshore_protocol::sandbox::{SandboxEvent, SandboxEventBody, SandboxState};
use longshore_store::At;

use super::world::{World, events, id, info, owner, states, touch, until, until_state, until_states};

#[tokio::test]
async fn everything_that_happens_is_logged_in_order() {
    let world = World::new();
    let server = world.serve().await;
    let place = world.place(&server, "ann");
    touch(&place).await;
    server.pause(&owner("ann"), At::Own).await.expect("it can sleep");
    touch(&place).await;
    world.machine.kill(id(&server, "ann"), "it ended with signal 9");
    until_state(&server, "ann", SandboxState::Lost).await;
    touch(&place).await;
    let all = [
        (SandboxState::Starting, "it is made"),
        (SandboxState::Ready, "it was started"),
        (SandboxState::Paused, "it was put to sleep"),
        (SandboxState::Ready, "it is used again"),
        (SandboxState::Lost, "it ended with signal 9"),
        (SandboxState::Starting, "it is made"),
        (SandboxState::Ready, "it was started"),
    ];
    until_states(&server, "ann", &all.map(|(state, _)| state)).await;
    let log = events(&server, "ann").await;
    assert_eq!(states(&log).1, all.map(|(_, reason)| reason));
    assert!(log.iter().map(|event| event.seq).eq(0..7));
    assert!(log.is_sorted_by_key(|event| event.timestamp.0));
    let later = server.events(&owner("ann"), At::Own, 5, 1).await.expect("events");
    assert_eq!(later, log[5..6]);
    let row = world.rows().await.remove(0);
    assert_eq!((row.state, &*row.reason), (SandboxState::Ready, "it was started"));
    assert_eq!(info(&server, "ann").created_at, row.created_at);
}

#[tokio::test]
async fn watchers_see_what_is_stored_also_of_later_boxes() {
    let world = World::new();
    let server = world.serve().await;
    let place = world.place(&server, "ann");
    let mut watcher = server.watch(&place);
    let mut seen: Vec<SandboxEvent> = Vec::new();
    let mut see = async |count: usize| {
        while seen.len() < count {
            seen.push(tokio::time::timeout(super::world::DEADLINE, watcher.recv()).await.expect("news").expect("news"));
        }
        seen.clone()
    };
    touch(&place).await;
    server.pause(&owner("ann"), At::Own).await.expect("it can sleep");
    let first = see(3).await;
    assert_eq!(first, events(&server, "ann").await);
    server.destroy(&owner("ann"), At::Own).await.expect("it is removed");
    touch(&place).await;
    let all = see(5).await;
    assert_eq!(all[3..], events(&server, "ann").await);
    assert_eq!(all[3].seq, 0);
}

#[tokio::test]
async fn a_watcher_who_reads_nothing_holds_nobody_up() {
    let world = World::new();
    let server = world.serve().await;
    let place = world.place(&server, "ann");
    let mut watcher = server.watch(&place);
    for _ in 0..200 {
        touch(&place).await;
        server.pause(&owner("ann"), At::Own).await.expect("it can sleep");
    }
    until("all is stored", async || events(&server, "ann").await.len() == 401).await;
    assert!(matches!(watcher.recv().await, Err(tokio::sync::broadcast::error::RecvError::Lagged(_))));
}

#[tokio::test]
async fn the_progress_of_a_long_fetch_is_told_in_steps() {
    let world = World::new();
    let server = world.serve().await;
    let mut says: Vec<_> = (0..=100).map(|percent| ("the image is fetched".to_owned(), Some(percent))).collect();
    says.push(("the image is unpacked".to_owned(), None));
    world.machine.say(says);
    world.machine.hold("prepare");
    let place = world.place(&server, "ann");
    let used = tokio::spawn(async move { touch(&place).await });
    until_state(&server, "ann", SandboxState::Pulling).await;
    until("all was told", async || world.machine.count("prepare") == 1).await;
    assert_eq!(info(&server, "ann").reason, "the image is unpacked");
    world.machine.release("prepare");
    used.await.expect("a use");
    until_states(&server, "ann", &{
        let mut all = vec![SandboxState::Pulling; 12];
        all.extend([SandboxState::Starting, SandboxState::Ready]);
        all
    })
    .await;
    let told: Vec<_> = events(&server, "ann")
        .await
        .into_iter()
        .filter_map(|event| match event.body {
            SandboxEventBody::State { state: SandboxState::Pulling, progress, .. } => Some(progress),
            _ => None,
        })
        .collect();
    let tens = (0..=10).map(|ten| Some(ten * 10));
    assert_eq!(told, tens.chain([None]).collect::<Vec<_>>());
}

#[tokio::test]
async fn boxes_are_counted_by_what_they_do() {
    let world = World::new();
    let server = world.serve().await;
    for user in ["ann", "ben", "cleo"] {
        touch(&world.place(&server, user)).await;
    }
    world.place(&server, "dan");
    server.pause(&owner("ann"), At::Own).await.expect("it can sleep");
    let counts = server.count();
    assert_eq!((counts[&SandboxState::Ready], counts[&SandboxState::Paused], counts.len()), (2, 1, 2));
}
