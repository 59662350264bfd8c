//! Boxes that are made before anybody asks.

use longshore_protocol::sandbox::{NetworkMode, SandboxOptions, SandboxState};
use longshore_sandbox::{Error, Pool, SandboxId, Sandboxes};
use longshore_store::SandboxChange;

use super::world::{World, ago, id, idle_after, info, owner, state, touch, until, until_state, until_states};

fn pooled(image: &str) -> SandboxOptions {
    SandboxOptions { image: Some(image.to_owned()), ..SandboxOptions::default() }
}

/// A world with pools of these sizes, filled.
async fn filled(sizes: &[(&str, usize)]) -> (World, Sandboxes) {
    let world = World::with(|settings| {
        settings.pools = sizes.iter().map(|(image, size)| Pool { options: pooled(image), size: *size }).collect();
    });
    let server = world.serve().await;
    until_filled(&server, sizes.iter().map(|(_, size)| size).sum()).await;
    (world, server)
}

async fn until_filled(server: &Sandboxes, size: usize) {
    until("the pools are full", async || server.count_waiting() == size).await;
}

#[tokio::test]
async fn a_box_from_the_pool_is_there_at_once() {
    let (world, server) = filled(&[("fast", 1)]).await;
    world.machine.hold("create");
    let place = world.place_with(&server, "ann", pooled("fast"));
    touch(&place).await;
    let made = info(&server, "ann");
    assert_eq!((made.state, made.options.image.as_deref()), (SandboxState::Ready, Some("fast")));
    let mut rows = world.rows().await;
    rows.retain(|row| SandboxId(row.id) == id(&server, "ann"));
    assert_eq!(rows[0].owner, Some(owner("ann")));
    assert_eq!(until_states(&server, "ann", &[SandboxState::Ready]).await, ["it was waiting in the pool"]);
    // And its place is filled again.
    world.machine.release("create");
    until_filled(&server, 1).await;
    assert_eq!(world.machine.boxes().len(), 2);
}

#[tokio::test]
async fn a_box_from_the_pool_is_given_out_once() {
    let (world, server) = filled(&[("fast", 2)]).await;
    let uses: Vec<_> = (0..8)
        .map(|number| {
            let place = world.place_with(&server, &format!("user{number}"), pooled("fast"));
            tokio::spawn(async move { touch(&place).await })
        })
        .collect();
    for used in uses {
        used.await.expect("a use");
    }
    let mut ids: Vec<_> = (0..8).map(|number| id(&server, &format!("user{number}"))).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 8);
    until_filled(&server, 2).await;
    assert_eq!((world.machine.boxes().len(), world.rows().await.len()), (10, 10));
}

#[tokio::test]
async fn a_box_from_the_pool_is_only_for_those_who_want_just_that() {
    let (world, server) = filled(&[("fast", 1), ("other", 1)]).await;
    let wishes = [
        idle_after(5),
        pooled("slow"),
        SandboxOptions { timeout: Some(5), ..pooled("fast") },
        SandboxOptions { env: Some([("A".to_owned(), longshore_protocol::Secret::new("1"))].into()), ..pooled("fast") },
        SandboxOptions { network_mode: Some(NetworkMode::None), ..pooled("fast") },
    ];
    for (number, wish) in wishes.into_iter().enumerate() {
        let user = format!("user{number}");
        touch(&world.place_with(&server, &user, wish)).await;
        until_states(&server, &user, &[SandboxState::Starting, SandboxState::Ready]).await;
    }
    touch(&world.place_with(&server, "ann", pooled("other"))).await;
    assert_eq!(info(&server, "ann").options.image.as_deref(), Some("other"));
    until_states(&server, "ann", &[SandboxState::Ready]).await;
}

#[tokio::test]
async fn a_box_that_dies_in_the_pool_is_replaced() {
    let (world, server) = filled(&[("fast", 1)]).await;
    let first = *world.machine.boxes().keys().next().expect("a box");
    world.machine.kill(first, "it was bored");
    until("another waits", async || world.machine.count("started") == 2 && server.count_waiting() == 1).await;
    assert!(!world.machine.boxes().contains_key(&first));
    touch(&world.place_with(&server, "ann", pooled("fast"))).await;
    assert_ne!(id(&server, "ann"), first);
}

#[tokio::test]
async fn a_box_from_the_pool_that_dies_is_lost_like_any_other() {
    let (world, server) = filled(&[("fast", 1)]).await;
    let place = world.place_with(&server, "ann", pooled("fast"));
    touch(&place).await;
    world.machine.kill(id(&server, "ann"), "it ended");
    until_state(&server, "ann", SandboxState::Lost).await;
    touch(&place).await;
    assert_eq!(state(&server, "ann"), Some(SandboxState::Ready));
}

#[tokio::test]
async fn a_box_that_cannot_be_given_out_is_not_left_behind() {
    let (world, server) = filled(&[("fast", 1)]).await;
    let first = *world.machine.boxes().keys().next().expect("a box");
    // Somebody else wants it gone just now.
    let doom = SandboxChange { doom: true, ..SandboxChange::new(ago(std::time::Duration::ZERO)) };
    world.store.change_sandbox(first.0, doom).await.expect("a change");
    touch(&world.place_with(&server, "ann", pooled("fast"))).await;
    assert_ne!(id(&server, "ann"), first);
    until("it is gone", async || !world.machine.boxes().contains_key(&first)).await;
    until_filled(&server, 1).await;
    assert_eq!(world.machine.boxes().len(), 2);
}

#[tokio::test]
async fn a_pool_that_cannot_be_filled_leaves_nothing_behind() {
    let world = World::with(|settings| settings.pools = vec![Pool { options: pooled("fast"), size: 1 }]);
    world.machine.refuse("started", Some(Error::Invalid("no room".to_owned())));
    let server = world.serve().await;
    until("it was tried", async || world.machine.count("destroyed") > 0).await;
    until("nothing is left", async || world.rows().await.is_empty() && world.machine.boxes().is_empty()).await;
    // Nobody else suffers from it.
    world.machine.refuse("started", None);
    touch(&world.place_with(&server, "ann", pooled("fast"))).await;
}
