//! Servers that find the boxes of the last one, however it ended.

use longshore_store::At;
use std::time::Duration;

use longshore_protocol::{
    ConversationId,
    sandbox::{NetworkMode, ResourceLimits, SandboxOptions, SandboxState},
};
use longshore_sandbox::{Network, OnShutdown, Pool, Running, SandboxId, Sandboxes};
use longshore_workspace::Workspace as _;
use tokio::runtime::Runtime;

use super::world::{
    DEADLINE, World, ago, events, id, idle_after, info, owner, state, states, touch, until, until_state,
};

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test]
async fn boxes_are_what_they_are_found_to_be() {
    let world = World::new();
    let found = [Running::Yes, Running::Paused, Running::No];
    for (user, running) in ["ann", "ben", "cleo"].into_iter().zip(found) {
        let made = world.store_row(|row| row.owner = Some(owner(user))).await;
        world.machine.put(made, running);
    }
    world.store_row(|row| row.owner = Some(owner("dan"))).await;
    let server = world.serve().await;
    let states_now = ["ann", "ben", "cleo", "dan"].map(|user| state(&server, user).expect("a box"));
    assert_eq!(states_now, [SandboxState::Ready, SandboxState::Paused, SandboxState::Lost, SandboxState::Lost]);
    assert_eq!(info(&server, "dan").reason, "it ended while the server was not running");
    until("it is logged", async || states(&events(&server, "dan").await).0 == [SandboxState::Lost]).await;
    assert_eq!(world.machine.count("start") + world.machine.count("resume"), 0);
    for user in ["ann", "ben", "cleo", "dan"] {
        let before = id(&server, user);
        touch(&world.place(&server, user)).await;
        assert_eq!((state(&server, user), id(&server, user)), (Some(SandboxState::Ready), before));
    }
    assert_eq!((world.machine.count("start"), world.machine.count("resume")), (2, 1));
}

#[tokio::test]
async fn a_box_that_was_stopped_or_failed_is_not_said_to_be_lost() {
    let world = World::new();
    for (user, state) in [("ann", SandboxState::Stopped), ("ben", SandboxState::Failed)] {
        world
            .store_row(|row| {
                row.owner = Some(owner(user));
                row.state = state;
                row.reason = "as it was".to_owned();
            })
            .await;
    }
    let server = world.serve().await;
    for (user, state) in [("ann", SandboxState::Stopped), ("ben", SandboxState::Failed)] {
        let info = info(&server, user);
        assert_eq!((info.state, &*info.reason), (state, "as it was"));
        assert!(events(&server, user).await.is_empty());
        touch(&world.place(&server, user)).await;
    }
}

#[tokio::test]
async fn what_nobody_needs_is_removed() {
    let world = World::new();
    let kept = world.store_conversation().await;
    let stays = world.store_row(|row| row.at = At::Conversation(kept)).await;
    let of_deleted = world.store_row(|row| row.at = At::Conversation(ConversationId(uuid::Uuid::new_v4()))).await;
    let pooled = world.store_row(|row| row.owner = None).await;
    let doomed = world.store_row(|row| row.is_doomed = true).await;
    let doomed_without_box = world.store_row(|row| row.is_doomed = true).await;
    let of_nobody = SandboxId::random();
    for id in [stays, of_deleted, pooled, doomed, of_nobody] {
        world.machine.put(id, Running::Yes);
    }
    let server = world.serve().await;
    until("only one is left", async || world.machine.boxes().keys().eq([&stays])).await;
    until("its row too", async || world.rows().await.iter().map(|row| SandboxId(row.id)).eq([stays])).await;
    assert_eq!(server.count().values().sum::<usize>(), 1);
    let place = world.conversation_place(&server, kept);
    touch(&place).await;
    assert_eq!(world.machine.count("start"), 0);
    // A user whose box was doomed gets another.
    touch(&world.place(&server, "ann")).await;
    assert!(![doomed, doomed_without_box].contains(&id(&server, "ann")));
}

#[tokio::test]
async fn a_box_that_nobody_knows_can_be_kept_until_its_retention_ends() {
    let mut world = World::with(|settings| {
        settings.keeps_unknown = true;
        settings.retention = Some(HOUR);
    });
    let unknown = SandboxId::random();
    world.machine.put(unknown, Running::Yes);
    let server = world.serve().await;
    until("it is stopped and has a row", async || {
        world.machine.boxes()[&unknown] == Running::No && world.rows().await.len() == 1
    })
    .await;
    assert!(server.count().is_empty());
    // Those who come get boxes of their own, also after a restart.
    touch(&world.place(&server, "ann")).await;
    server.shutdown().await;
    let server = world.serve().await;
    assert_ne!(id(&server, "ann"), unknown);
    server.shutdown().await;
    assert_eq!((world.machine.boxes().len(), world.rows().await.len()), (2, 2));
    world.settings.retention = Some(Duration::ZERO);
    let _server = world.serve().await;
    until("it is removed", async || !world.machine.boxes().contains_key(&unknown)).await;
    until("its row too", async || world.rows().await.iter().all(|row| SandboxId(row.id) != unknown)).await;
}

#[tokio::test]
async fn a_box_that_goes_during_a_look_is_not_taken_for_one_that_nobody_knows() {
    let world = World::with(|settings| settings.keeps_unknown = true);
    let server = world.serve().await;
    touch(&world.place(&server, "ann")).await;
    until("the start is over", async || world.machine.count("listed") >= 2).await;
    for _ in 0..4 {
        touch(&world.place(&server, "ann")).await;
        world.machine.hold("listed");
        let lists = world.machine.count("listed");
        until("somebody looks", async || world.machine.count("listed") > lists).await;
        server.destroy(&owner("ann"), At::Own).await.expect("it is removed");
        let stops = world.machine.count("stop");
        world.machine.release("listed");
        let lists = world.machine.count("listed");
        until("two more looks are over", async || world.machine.count("listed") > lists + 4).await;
        assert_eq!((world.rows().await, world.machine.count("stop")), (Vec::new(), stops));
    }
}

#[tokio::test]
async fn a_box_that_is_not_allowed_any_more_is_stopped_and_can_be_removed() {
    let mut world = World::new();
    let open = SandboxOptions { network_mode: Some(NetworkMode::Bridge), ..SandboxOptions::default() };
    let server = world.serve().await;
    touch(&world.place_with(&server, "ann", open)).await;
    let made = id(&server, "ann");
    server.shutdown().await;
    world.settings.defaults.network_mode = Some(NetworkMode::None);
    let server = world.serve().await;
    assert_eq!((state(&server, "ann"), world.machine.boxes()[&made]), (Some(SandboxState::Failed), Running::No));
    let told = world.place(&server, "ann").metadata(".".as_ref()).await.expect_err("it may not be used").to_string();
    assert!(told.contains("network_mode bridge") || told.contains("no network here"), "{told}");
    assert!(told.contains("Remove it"), "{told}");
    assert_eq!(world.machine.count("start"), 1);
    server.destroy(&owner("ann"), At::Own).await.expect("it is removed");
    touch(&world.place(&server, "ann")).await;
    assert_ne!(id(&server, "ann"), made);
    assert_eq!(world.machine.spec(id(&server, "ann")).network, Network::Closed);
}

#[tokio::test]
async fn boxes_that_cannot_be_listed_are_neither_removed_nor_lost_for_ever() {
    let world = World::new();
    let made = world.store_row(|_| ()).await;
    world.machine.put(made, Running::Yes);
    world.machine.put(SandboxId::random(), Running::Yes);
    world.machine.fail_lists(true);
    let server = world.serve().await;
    touch(&world.place(&server, "ann")).await;
    assert_eq!((id(&server, "ann"), world.machine.boxes().len()), (made, 2));
    world.machine.fail_lists(false);
    until("the one of nobody is gone", async || world.machine.boxes().keys().eq([&made])).await;
    assert_eq!(state(&server, "ann"), Some(SandboxState::Ready));
}

#[tokio::test]
async fn a_box_asleep_that_could_not_be_listed_wakes() {
    let world = World::new();
    let made = world.store_row(|row| row.state = SandboxState::Paused).await;
    world.machine.put(made, Running::Paused);
    world.machine.fail_lists(true);
    let server = world.serve().await;
    touch(&world.place(&server, "ann")).await;
    assert_eq!((id(&server, "ann"), world.machine.boxes()[&made]), (made, Running::Yes));
}

#[tokio::test]
async fn the_time_of_the_last_use_survives() {
    let world = World::with(|settings| settings.retention = Some(HOUR));
    for (user, last) in [("ann", HOUR * 2), ("ben", HOUR / 2), ("cleo", Duration::ZERO)] {
        let made = world
            .store_row(|row| {
                row.owner = Some(owner(user));
                row.used_at = ago(last);
                row.options.idle_timeout = Some(60);
            })
            .await;
        world.machine.put(made, Running::Yes);
    }
    let server = world.serve().await;
    until("Ann's is removed", async || state(&server, "ann").is_none()).await;
    until_state(&server, "ben", SandboxState::Paused).await;
    assert_eq!(state(&server, "cleo"), Some(SandboxState::Ready));
    assert!(info(&server, "ben").used_at.0 <= ago(HOUR / 2).0);
    until("nothing of Ann's is left", async || world.rows().await.len() == 2).await;
}

#[tokio::test]
async fn the_time_of_the_last_use_is_stored_when_the_server_stops() {
    let world = World::new();
    let server = world.serve().await;
    let place = world.place(&server, "ann");
    touch(&place).await;
    touch(&place).await;
    let used_at = info(&server, "ann").used_at;
    server.shutdown().await;
    let stored = world.rows().await.remove(0).used_at;
    assert_eq!(stored.0.as_microsecond(), used_at.0.as_microsecond());
}

#[tokio::test]
async fn a_box_goes_on_with_what_it_was_made_from() {
    let mut world = World::new();
    let wish = SandboxOptions { image: Some("mine".to_owned()), timeout: Some(7), ..idle_after(5000) };
    let server = world.serve().await;
    touch(&world.place_with(&server, "ann", wish)).await;
    let before = info(&server, "ann");
    server.shutdown().await;
    world.settings.defaults.image = Some("another".to_owned());
    world.machine.kill_unheard(before.id.parse().expect("an id"));
    let server = world.serve().await;
    assert_eq!(info(&server, "ann").options, before.options);
    touch(&world.place(&server, "ann")).await;
    let spec = world.machine.spec(id(&server, "ann"));
    assert_eq!((spec.image.as_deref(), spec.timeout), (Some("mine"), Some(Duration::from_secs(7))));
}

/// What a server does from its start to its end, with every kind of step in it.
async fn live(world: &World, server: &Sandboxes) {
    server.recover().await.expect("rows can be read");
    touch(&world.place(server, "ann")).await;
    server.pause(&owner("ann"), At::Own).await.expect("it can sleep");
    touch(&world.place(server, "ann")).await;
    let limits = ResourceLimits { pids: Some(50), ..ResourceLimits::default() };
    server.set_limits(&owner("ann"), At::Own, limits).await.expect("room");
    let pooled = SandboxOptions { image: Some("fast".to_owned()), ..SandboxOptions::default() };
    touch(&world.place_with(server, "ben", pooled)).await;
    let conversation = world.store_conversation().await;
    touch(&world.conversation_place(server, conversation)).await;
    server.destroy(&owner("ann"), At::Own).await.expect("it is removed");
    touch(&world.place(server, "ann")).await;
    let forget = async {
        world.store.delete_conversation(&owner("ann"), conversation).await.expect("it is deleted");
        server.forget(&owner("ann"), At::Conversation(conversation)).await.expect("it is removed");
    };
    forget.await;
    server.shutdown().await;
}

/// A server that never gets past its step `number`, counted from its start. False if it has fewer.
fn die_at(world: &World, number: usize) -> bool {
    let runtime = Runtime::new().expect("a runtime");
    world.machine.end_at(number);
    let died = runtime.block_on(async {
        let server = world.server();
        let life = async {
            live(world, &server).await;
            false
        };
        let death = async {
            world.machine.ended().await;
            true
        };
        let either = async {
            tokio::select! {
                died = life => died,
                died = death => died,
            }
        };
        tokio::time::timeout(DEADLINE, either).await.expect("the server lives or dies")
    });
    // What was on its way ends here, as it does with a process.
    runtime.shutdown_timeout(DEADLINE);
    world.machine.go_on();
    died
}

#[test]
fn a_server_may_die_at_any_step() {
    for on_shutdown in [OnShutdown::Keep, OnShutdown::Destroy] {
        let mut number = 1;
        loop {
            let options = SandboxOptions { image: Some("fast".to_owned()), ..SandboxOptions::default() };
            let mut world = World::with(|settings| {
                settings.pools = vec![Pool { options, size: 1 }];
                settings.on_shutdown = on_shutdown;
                // The steps of looking after boxes are those of the others.
                settings.sweep_interval = HOUR;
            });
            let died = die_at(&world, number);
            let runtime = Runtime::new().expect("a runtime");
            runtime.block_on(async {
                world.reopen().await;
                let server = world.serve().await;
                let what = format!("{on_shutdown:?}, step {number}");
                tokio::time::timeout(DEADLINE, world.in_order()).await.unwrap_or_else(|_| panic!("{what}"));
                for user in ["ann", "ben"] {
                    let place = world.place(&server, user);
                    let used = place.metadata(".".as_ref()).await;
                    assert!(used.is_ok(), "{what}: {used:?}");
                    server.destroy(&owner(user), At::Own).await.expect("it is removed");
                }
                let only_pooled =
                    async || world.rows().await.iter().all(|row| row.owner.is_none() || row.at != At::Own);
                until(&format!("{what}: nothing is left of them"), only_pooled).await;
                world.in_order().await;
            });
            drop(runtime);
            if !died {
                break;
            }
            number += 1;
        }
        assert!(number > 20, "{number} steps are too few to mean anything");
    }
}
