//! Boxes that end without being asked to.

use longshore_store::At;
use std::time::Duration;

use longshore_protocol::sandbox::SandboxState;
use longshore_sandbox::{Error, Running};

use super::world::{World, id, info, owner, state, touch, until, until_state, until_states};

#[tokio::test]
async fn a_box_that_dies_is_lost_and_started_again_by_the_next_use() {
    let world = World::new();
    let server = world.serve().await;
    let place = world.place(&server, "ann");
    touch(&place).await;
    let made = id(&server, "ann");
    world.machine.kill(made, "it used more memory than its limit of 64m");
    until_state(&server, "ann", SandboxState::Lost).await;
    assert_eq!(info(&server, "ann").reason, "it used more memory than its limit of 64m");
    touch(&place).await;
    assert_eq!((id(&server, "ann"), world.machine.boxes()[&made]), (made, Running::Yes));
    let (starting, ready) = (SandboxState::Starting, SandboxState::Ready);
    let all = [starting, ready, SandboxState::Lost, starting, ready];
    let reasons = until_states(&server, "ann", &all).await;
    assert_eq!(reasons[2], "it used more memory than its limit of 64m");
}

#[tokio::test]
async fn a_box_that_dies_asleep_is_lost() {
    let world = World::new();
    let server = world.serve().await;
    let place = world.place(&server, "ann");
    touch(&place).await;
    server.pause(&owner("ann"), At::Own).await.expect("it can sleep");
    world.machine.kill(id(&server, "ann"), "somebody killed it");
    until_state(&server, "ann", SandboxState::Lost).await;
    touch(&place).await;
    assert_eq!(world.machine.count("resume"), 0);
}

#[tokio::test]
async fn a_death_that_nobody_told_is_found_when_the_box_is_woken_or_put_to_sleep() {
    let world = World::new();
    let server = world.serve().await;
    let (ann, ben) = (world.place(&server, "ann"), world.place(&server, "ben"));
    touch(&ann).await;
    touch(&ben).await;
    server.pause(&owner("ann"), At::Own).await.expect("it can sleep");
    for user in ["ann", "ben"] {
        world.machine.kill_unheard(id(&server, user));
    }
    touch(&ann).await;
    let (starting, ready, lost) = (SandboxState::Starting, SandboxState::Ready, SandboxState::Lost);
    until_states(&server, "ann", &[starting, ready, SandboxState::Paused, lost, starting, ready]).await;
    let _ = server.pause(&owner("ben"), At::Own).await;
    assert_eq!(state(&server, "ben"), Some(lost));
}

#[tokio::test]
async fn a_death_that_nobody_told_is_found_by_looking() {
    let world = World::new();
    let server = world.serve().await;
    touch(&world.place(&server, "ann")).await;
    world.machine.kill_unheard(id(&server, "ann"));
    until_state(&server, "ann", SandboxState::Lost).await;
}

#[tokio::test]
async fn a_death_during_the_start_is_not_forgotten() {
    let world = World::new();
    let server = world.serve().await;
    let place = world.place(&server, "ann");
    world.machine.hold("started");
    let used = tokio::spawn(async move { touch(&place).await });
    until("it is started", async || world.machine.count("started") > 0).await;
    world.machine.kill(id(&server, "ann"), "it was too young");
    // The death is heard before the start is over.
    until("it is heard", async || world.machine.heard() > 0).await;
    world.machine.release("started");
    let _ = used.await;
    until_state(&server, "ann", SandboxState::Lost).await;
}

#[tokio::test]
async fn a_box_that_was_started_again_does_not_die_the_death_of_before() {
    let world = World::new();
    let server = world.serve().await;
    let place = world.place(&server, "ann");
    touch(&place).await;
    server.pause(&owner("ann"), At::Own).await.expect("it can sleep");
    world.machine.hold("resume");
    let used = tokio::spawn(async move { touch(&place).await });
    until("it is woken", async || world.machine.count("resume") > 0).await;
    world.machine.kill(id(&server, "ann"), "it died asleep");
    until("it is heard", async || world.machine.heard() > 0).await;
    world.machine.release("resume");
    used.await.expect("a use");
    // Whoever heard of the death has had a turn before this.
    server.pause(&owner("ann"), At::Own).await.expect("it can sleep");
    let (starting, ready, paused) = (SandboxState::Starting, SandboxState::Ready, SandboxState::Paused);
    until_states(&server, "ann", &[starting, ready, paused, SandboxState::Lost, starting, ready, paused]).await;
}

#[tokio::test]
async fn a_box_that_is_made_during_a_look_is_not_said_to_be_gone() {
    let world = World::new();
    let server = world.serve().await;
    until("the start is over", async || world.machine.count("listed") >= 2).await;
    world.machine.hold("listed");
    let mut lists = world.machine.count("listed");
    // The first look is for boxes of nobody, the second for boxes that are gone.
    for _ in 0..2 {
        until("somebody looks", async || world.machine.count("listed") > lists).await;
        lists = world.machine.count("listed");
        touch(&world.place(&server, &format!("user{lists}"))).await;
        world.machine.release("listed");
        world.machine.hold("listed");
    }
    world.machine.release("listed");
    let lists = world.machine.count("listed");
    until("another look is over", async || world.machine.count("listed") > lists + 3).await;
    assert_eq!(server.count().into_iter().collect::<Vec<_>>(), [(SandboxState::Ready, 2)]);
    assert_eq!(world.machine.count("start"), 2);
}

#[tokio::test]
async fn a_box_that_hangs_does_not_hide_the_deaths_of_others() {
    // Only those who hear of deaths are to find them.
    let world = World::with(|settings| settings.sweep_interval = Duration::from_hours(1));
    let server = world.serve().await;
    let (ann, ben) = (world.place(&server, "ann"), world.place(&server, "ben"));
    touch(&ann).await;
    touch(&ben).await;
    // Ann's box dies twice, the second time while it is put to sleep by somebody who never gets done.
    world.machine.hold("pause");
    let asleep = {
        let server = server.clone();
        tokio::spawn(async move { server.pause(&owner("ann"), At::Own).await })
    };
    until("it falls asleep", async || world.machine.count("pause") > 0).await;
    world.machine.kill(id(&server, "ann"), "it hangs");
    world.machine.kill(id(&server, "ben"), "it is gone");
    until_state(&server, "ben", SandboxState::Lost).await;
    world.machine.release("pause");
    let _ = asleep.await;
    until_state(&server, "ann", SandboxState::Lost).await;
}

#[tokio::test]
async fn a_box_that_cannot_be_started_again_says_why() {
    let world = World::new();
    let server = world.serve().await;
    let place = world.place(&server, "ann");
    touch(&place).await;
    world.machine.refuse("start", Some(Error::Invalid("the disk is full".to_owned())));
    world.machine.kill(id(&server, "ann"), "it ended");
    until_state(&server, "ann", SandboxState::Lost).await;
    let told = server.resume(&owner("ann"), At::Own).await.expect_err("it is refused").to_string();
    assert_eq!(told, "the disk is full");
    assert_eq!(state(&server, "ann"), Some(SandboxState::Failed));
    world.machine.refuse("start", None);
    touch(&place).await;
}
