//! Boxes that use much of what they may.

use longshore_protocol::sandbox::{ByteSize, ResourceLimits, SandboxEventBody, SandboxOptions, SandboxState};
use longshore_sandbox::{Error, Place, Sandboxes, Stats};
use longshore_store::At;

use super::world::{World, events, id, info, owner, state, touch, until, until_state};

const LIMIT: u64 = 100 << 20;

fn limited() -> SandboxOptions {
    let limits =
        ResourceLimits { memory: Some(ByteSize(LIMIT)), disk: Some(ByteSize(LIMIT)), ..ResourceLimits::default() };
    SandboxOptions { resource_limits: Some(limits), ..SandboxOptions::default() }
}

async fn world() -> (World, Sandboxes, Place) {
    let world = World::new();
    let server = world.serve().await;
    let place = world.place_with(&server, "ann", limited());
    touch(&place).await;
    (world, server, place)
}

/// Percent of the limits that are in use now. Returns when the server has seen it.
async fn use_up(world: &World, memory: u64, disk: u64, disk_is_enforced: bool) {
    let percent = |percent: u64| Some(LIMIT / 100 * percent);
    let stats = Stats { memory: percent(memory), disk: percent(disk), disk_is_enforced, ..Stats::default() };
    world.machine.use_up(stats);
    let before = world.machine.count("stats");
    until("the server looks twice", async || world.machine.count("stats") > before + 2).await;
}

async fn warnings(server: &Sandboxes) -> Vec<(String, u8, String)> {
    let warning = |body| match body {
        SandboxEventBody::Warning { resource, percent, reason } => Some((resource, percent, reason)),
        _ => None,
    };
    events(server, "ann").await.into_iter().filter_map(|event| warning(event.body)).collect()
}

async fn until_warned(server: &Sandboxes, wanted: &[(&str, u8)]) {
    let mut last = Vec::new();
    until(&format!("the warnings {wanted:?}"), async || {
        last = warnings(server).await;
        last.iter().map(|(resource, percent, _)| (&**resource, *percent)).eq(wanted.iter().copied())
    })
    .await;
}

#[tokio::test]
async fn a_user_is_warned_once_at_each_level_and_again_after_it_was_calm() {
    let (world, server, _place) = world().await;
    use_up(&world, 79, 79, true).await;
    assert!(warnings(&server).await.is_empty());
    use_up(&world, 80, 10, true).await;
    use_up(&world, 85, 10, true).await;
    until_warned(&server, &[("memory", 80)]).await;
    use_up(&world, 91, 10, true).await;
    use_up(&world, 99, 10, true).await;
    until_warned(&server, &[("memory", 80), ("memory", 91)]).await;
    // A little less is no reason to begin anew.
    use_up(&world, 76, 10, true).await;
    use_up(&world, 92, 10, true).await;
    use_up(&world, 10, 10, true).await;
    use_up(&world, 10, 95, true).await;
    use_up(&world, 81, 95, true).await;
    let all = [("memory", 80), ("memory", 91), ("disk", 95), ("memory", 81)];
    until_warned(&server, &all).await;
    let reasons: Vec<_> = warnings(&server).await.into_iter().map(|(_, _, reason)| reason).collect();
    assert_eq!(reasons[0], "80 % of its limit is in use; beyond it processes are killed");
    assert_eq!(reasons[2], "95 % of its limit is in use; beyond it writes fail");
}

#[tokio::test]
async fn a_box_that_sleeps_is_not_warned_anew_when_it_wakes() {
    let (world, server, place) = world().await;
    use_up(&world, 10, 85, true).await;
    until_warned(&server, &[("disk", 85)]).await;
    server.pause(&owner("ann"), At::Own).await.expect("it can sleep");
    let ben = world.place_with(&server, "ben", limited());
    touch(&ben).await;
    use_up(&world, 10, 85, true).await;
    touch(&place).await;
    use_up(&world, 10, 86, true).await;
    until_warned(&server, &[("disk", 85)]).await;
}

#[tokio::test]
async fn a_disk_that_nothing_else_limits_is_watched() {
    let (world, server, place) = world().await;
    use_up(&world, 10, 99, false).await;
    until_warned(&server, &[("disk", 99)]).await;
    let (_, _, reason) = warnings(&server).await.remove(0);
    assert_eq!(reason, "99 % of its limit is in use; beyond it the box is stopped");
    world.machine.use_up(Stats { disk: Some(LIMIT + 1), ..Stats::default() });
    until_state(&server, "ann", SandboxState::Stopped).await;
    let reason = format!("it used {} bytes on disk, more than its limit of {LIMIT}", LIMIT + 1);
    assert_eq!(info(&server, "ann").reason, reason);
    // It can be used to clean up, as long as it does not grow.
    touch(&place).await;
    use_up(&world, 10, 101, false).await;
    assert_eq!(state(&server, "ann"), Some(SandboxState::Ready));
    world.machine.use_up(Stats { disk: Some(LIMIT / 100 * 110), ..Stats::default() });
    until_state(&server, "ann", SandboxState::Stopped).await;
    // And is as it was when it is clean.
    touch(&place).await;
    use_up(&world, 10, 50, false).await;
    world.machine.use_up(Stats { disk: Some(LIMIT + 1), ..Stats::default() });
    until_state(&server, "ann", SandboxState::Stopped).await;
}

#[tokio::test]
async fn a_box_that_grew_too_large_before_anybody_looked_is_stopped_all_the_same() {
    let world = World::new();
    let server = world.serve().await;
    let place = world.place_with(&server, "ann", limited());
    world.machine.use_up(Stats { disk: Some(LIMIT * 9), ..Stats::default() });
    touch(&place).await;
    until_state(&server, "ann", SandboxState::Stopped).await;
}

#[tokio::test]
async fn limits_can_be_changed_and_stay_so() {
    let mut world = World::with(|settings| settings.defaults = limited());
    let server = world.serve().await;
    let place = world.place(&server, "ann");
    let change = |memory: u64| ResourceLimits { memory: Some(ByteSize(memory)), ..ResourceLimits::default() };
    let ann = owner("ann");
    let early = server.set_limits(&ann, At::Own, change(LIMIT / 2)).await;
    assert!(matches!(early, Err(Error::Gone(_))), "{early:?}");
    touch(&place).await;
    let beyond = server.set_limits(&ann, At::Own, change(LIMIT + 1)).await;
    assert!(matches!(beyond, Err(Error::Invalid(_))), "{beyond:?}");
    world.machine.refuse("limit", Some(Error::Invalid("it holds more".to_owned())));
    server.set_limits(&ann, At::Own, change(LIMIT / 2)).await.expect_err("it is refused");
    let made = id(&server, "ann");
    assert_eq!(
        (world.machine.spec(made).limits.memory, info(&server, "ann").options),
        (Some(LIMIT), world.rows().await.remove(0).options)
    );
    world.machine.refuse("limit", None);
    server.set_limits(&ann, At::Own, change(LIMIT / 2)).await.expect("room");
    let limits = longshore_sandbox::Limits { memory: Some(LIMIT / 2), disk: Some(LIMIT), ..Default::default() };
    assert_eq!(world.machine.spec(made).limits, limits);
    // Also for those who watch, and for the next server.
    use_up(&world, 41, 10, true).await;
    until_warned(&server, &[("memory", 82)]).await;
    server.shutdown().await;
    world.machine.kill_unheard(made);
    world.reopen().await;
    let server = world.serve().await;
    touch(&world.place(&server, "ann")).await;
    assert_eq!((id(&server, "ann"), world.machine.spec(made).limits), (made, limits));
}

#[tokio::test]
async fn a_disk_that_has_a_limit_of_its_own_is_left_alone() {
    let (world, server, _place) = world().await;
    use_up(&world, 10, 100, true).await;
    use_up(&world, 10, 100, true).await;
    assert_eq!(state(&server, "ann"), Some(SandboxState::Ready));
}

#[tokio::test]
async fn boxes_are_counted_and_measured() {
    let (world, server, place) = world().await;
    use_up(&world, 40, 60, true).await;
    let census = server.census();
    let ready = census.states.iter().find(|(state, ..)| *state == SandboxState::Ready).copied();
    assert_eq!(ready, Some((SandboxState::Ready, 1, 1)));
    assert_eq!((census.measured, census.sum.memory, census.max.disk), (1, LIMIT / 100 * 40, LIMIT / 100 * 60));
    assert!((census.memory_share - 0.4).abs() < 0.01 && (census.disk_share - 0.6).abs() < 0.01, "{census:?}");
    server.pause(&owner("ann"), At::Own).await.unwrap();
    let census = server.census();
    assert_eq!((census.measured, census.sum.memory), (0, 0), "what sleeps is not measured");
    drop(place);
}
