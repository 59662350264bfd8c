//! How boxes end that nobody needs any more.

use longshore_store::At;
use std::time::Duration;

use longshore_protocol::{ConversationId, sandbox::SandboxState};
use longshore_sandbox::{Error, OnShutdown, Running};
use longshore_workspace::{Command, TerminalSize, Workspace as _};
use tokio::io::AsyncWriteExt as _;

use super::world::{World, id, idle_after, owner, state, touch, until, until_state};

#[tokio::test]
async fn a_box_that_nobody_used_for_long_is_removed_with_its_row() {
    let world = World::with(|settings| settings.retention = Some(Duration::from_secs(2)));
    let server = world.serve().await;
    let (ann, ben) = (world.place(&server, "ann"), world.place(&server, "ben"));
    touch(&ann).await;
    let awake = ann.stay_awake();
    touch(&ben).await;
    until("Ben's box is gone", async || state(&server, "ben").is_none()).await;
    until("its row too", async || world.rows().await.len() == 1).await;
    assert_eq!(world.machine.boxes().keys().copied().collect::<Vec<_>>(), [id(&server, "ann")]);
    drop(awake);
    until("Ann's box is gone", async || world.rows().await.is_empty()).await;
    touch(&ben).await;
    assert_eq!(world.machine.count("create"), 3);
}

#[tokio::test]
async fn a_box_asleep_is_removed_as_well() {
    let world = World::with(|settings| settings.retention = Some(Duration::from_secs(3)));
    let server = world.serve().await;
    touch(&world.place_with(&server, "ann", idle_after(1))).await;
    until_state(&server, "ann", SandboxState::Paused).await;
    until("it is gone", async || world.rows().await.is_empty() && world.machine.boxes().is_empty()).await;
}

#[tokio::test]
async fn a_removed_box_is_followed_by_another() {
    let world = World::new();
    let server = world.serve().await;
    let place = world.place(&server, "ann");
    touch(&place).await;
    let first = id(&server, "ann");
    server.destroy(&owner("ann"), At::Own).await.expect("it is removed");
    assert!(world.machine.boxes().is_empty() && world.rows().await.is_empty());
    assert!(server.info(&owner("ann"), At::Own).is_none());
    server.destroy(&owner("ann"), At::Own).await.expect("there is nothing to do");
    touch(&place).await;
    assert_ne!(id(&server, "ann"), first);
}

#[tokio::test]
async fn a_box_can_be_removed_while_it_is_made() {
    let world = World::new();
    let server = world.serve().await;
    let place = world.place(&server, "ann");
    world.machine.hold("created");
    let used = tokio::spawn(async move { place.metadata(".".as_ref()).await });
    until("it is begun", async || world.machine.count("created") > 0).await;
    let removed = {
        let server = server.clone();
        tokio::spawn(async move { server.destroy(&owner("ann"), At::Own).await })
    };
    world.machine.release("created");
    removed.await.expect("an answer").expect("it is removed");
    let _ = used.await.expect("an answer");
    until("nothing is left", async || world.machine.boxes().is_empty() && world.rows().await.is_empty()).await;
}

#[tokio::test]
async fn what_cannot_be_removed_is_tried_again() {
    let world = World::new();
    let server = world.serve().await;
    let place = world.place(&server, "ann");
    touch(&place).await;
    let first = id(&server, "ann");
    world.machine.refuse("destroy", Some(Error::Invalid("the engine sleeps".to_owned())));
    server.destroy(&owner("ann"), At::Own).await.expect("the wish is stored");
    // Whoever comes next is not kept waiting.
    touch(&place).await;
    assert_ne!(id(&server, "ann"), first);
    assert!(world.machine.boxes().contains_key(&first));
    world.machine.refuse("destroy", None);
    until("the first one is gone", async || !world.machine.boxes().contains_key(&first)).await;
    until("its row too", async || world.rows().await.len() == 1).await;
}

#[tokio::test]
async fn a_deleted_conversation_never_gets_a_box_again() {
    let world = World::new();
    let server = world.serve().await;
    let conversation = world.store_conversation().await;
    let place = world.conversation_place(&server, conversation);
    let size = TerminalSize { rows: 24, columns: 80 };
    let mut terminal = place.open_terminal(Command::new("cat"), size).await.expect("a terminal");
    world.store.delete_conversation(&owner("ann"), conversation).await.expect("it is deleted");
    server.forget(&owner("ann"), At::Conversation(conversation)).await.expect("it is removed");
    assert!(world.machine.boxes().is_empty());
    // A tool that is still at work does not know.
    let told = place.metadata(".".as_ref()).await.expect_err("there is no box").to_string();
    assert!(told.contains("deleted"), "{told}");
    let _ = terminal.input.write_all(b"typed\n").await;
    assert!(world.machine.boxes().is_empty() && world.rows().await.is_empty());
}

#[tokio::test]
async fn to_forget_what_never_was_is_no_error() {
    let world = World::new();
    let server = world.serve().await;
    server.forget(&owner("ann"), At::Conversation(ConversationId(uuid::Uuid::new_v4()))).await.expect("nothing to do");
    let conversation = ConversationId(uuid::Uuid::new_v4());
    world.conversation_place(&server, conversation);
    server.forget(&owner("ann"), At::Conversation(conversation)).await.expect("nothing to do");
}

/// What there is after a server stopped that had a box awake, one asleep, one half made and one in a pool.
async fn shut_down(on_shutdown: OnShutdown) -> (World, Vec<Running>) {
    let pool = longshore_sandbox::Pool { options: idle_after(77), size: 1 };
    let world = World::with(|settings| {
        settings.on_shutdown = on_shutdown;
        settings.pools = vec![pool];
    });
    let server = world.serve().await;
    until("the pool is full", async || server.count_waiting() == 1).await;
    touch(&world.place(&server, "ann")).await;
    touch(&world.place(&server, "ben")).await;
    server.pause(&owner("ben"), At::Own).await.expect("it can sleep");
    world.machine.hold("create");
    let cleo = world.place(&server, "cleo");
    let used = tokio::spawn(async move { cleo.metadata(".".as_ref()).await });
    until("one is half made", async || world.machine.count("create") == 4).await;
    let stopped = {
        let server = server.clone();
        tokio::spawn(async move { server.shutdown().await })
    };
    tokio::task::yield_now().await;
    world.machine.release("create");
    stopped.await.expect("it stops");
    let _ = used.await;
    let told = world.place(&server, "dan").metadata(".".as_ref()).await.expect_err("it has stopped").to_string();
    assert!(told.contains("stopping"), "{told}");
    let boxes = world.machine.boxes().into_values().collect();
    (world, boxes)
}

#[tokio::test]
async fn boxes_can_go_on_when_the_server_stops() {
    let (world, mut boxes) = shut_down(OnShutdown::Keep).await;
    boxes.sort_by_key(|running| *running == Running::Paused);
    assert_eq!(boxes, [Running::Yes, Running::Yes, Running::Paused]);
    let next = world.serve().await;
    let states = ["ann", "ben", "cleo"].map(|user| state(&next, user));
    assert_eq!(states, [SandboxState::Ready, SandboxState::Paused, SandboxState::Ready].map(Some));
}

#[tokio::test]
async fn boxes_can_be_stopped_with_the_server() {
    let (world, boxes) = shut_down(OnShutdown::Stop).await;
    assert_eq!(boxes, [Running::No; 3]);
    let next = world.serve().await;
    let states = ["ann", "ben", "cleo"].map(|user| state(&next, user));
    assert_eq!(states, [Some(SandboxState::Stopped); 3]);
    touch(&world.place(&next, "ann")).await;
}

#[tokio::test]
async fn boxes_can_be_destroyed_with_the_server() {
    let (world, boxes) = shut_down(OnShutdown::Destroy).await;
    assert!(boxes.is_empty() && world.rows().await.is_empty());
}

#[tokio::test]
async fn a_pool_that_is_being_filled_leaves_nothing_when_the_server_stops() {
    let pool = longshore_sandbox::Pool { options: idle_after(77), size: 2 };
    let world = World::with(|settings| {
        settings.on_shutdown = OnShutdown::Destroy;
        settings.pools = vec![pool];
    });
    world.machine.hold("start");
    let server = world.serve().await;
    until("one is half made", async || world.machine.count("start") == 1).await;
    let stopped = {
        let server = server.clone();
        tokio::spawn(async move { server.shutdown().await })
    };
    tokio::task::yield_now().await;
    world.machine.release("start");
    stopped.await.expect("it stops");
    assert!(world.machine.boxes().is_empty() && world.rows().await.is_empty());
}
