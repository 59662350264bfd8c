//! How a place gets its box.

use longshore_protocol::{
    ConversationId,
    sandbox::{SandboxOptions, SandboxState},
};
use longshore_sandbox::{Error, Pool, Running};
use longshore_store::At;
use longshore_workspace::{Parents, Workspace as _};

use super::world::{World, id, info, owner, state, touch, until, until_state, until_states};

#[tokio::test]
async fn a_box_is_made_when_it_is_first_used_and_not_before() {
    let world = World::new();
    let server = world.serve().await;
    let place = world.place(&server, "ann");
    let _awake = place.stay_awake();
    assert!(server.info(&owner("ann"), At::Own).is_none() && world.rows().await.is_empty());
    for unmade in [
        server.events(&owner("ann"), At::Own, 0, 1).await.map(drop),
        server.pause(&owner("ann"), At::Own).await,
        server.destroy(&owner("ann"), At::Own).await.and(Err(Error::Gone(String::new()))),
    ] {
        assert!(matches!(unmade, Err(Error::Gone(_))), "{unmade:?}");
    }
    assert_eq!(world.machine.count("create"), 0);
    touch(&place).await;
    assert_eq!(info(&server, "ann").state, SandboxState::Ready);
    assert_eq!(world.machine.boxes()[&id(&server, "ann")], Running::Yes);
    assert_eq!(world.rows().await.len(), 1);
}

#[tokio::test]
async fn many_users_of_one_place_at_the_same_moment_get_one_box() {
    let world = World::new();
    let server = world.serve().await;
    let place = world.place(&server, "ann");
    world.machine.hold("start");
    let uses: Vec<_> = (0..30)
        .map(|number| {
            // Some have the place from elsewhere.
            let place = if number % 2 == 0 { place.clone() } else { world.place(&server, "ann") };
            tokio::spawn(async move { touch(&place).await })
        })
        .collect();
    until("somebody makes it", async || world.machine.count("start") > 0).await;
    world.machine.release("start");
    for used in uses {
        used.await.expect("a use");
    }
    assert_eq!((world.machine.count("create"), world.machine.count("start")), (1, 1));
}

#[tokio::test]
async fn different_places_get_different_boxes() {
    let world = World::new();
    let server = world.serve().await;
    let conversation = world.store_conversation().await;
    let other = ConversationId(uuid::Uuid::new_v4());
    for place in [
        world.place(&server, "ann"),
        world.place(&server, "ben"),
        world.conversation_place(&server, conversation),
        world.conversation_place(&server, other),
    ] {
        touch(&place).await;
        touch(&place).await;
    }
    assert_eq!(world.machine.boxes().len(), 4);
    assert!(server.info(&owner("ben"), At::Conversation(conversation)).is_none());
}

#[tokio::test]
async fn a_box_is_finished_although_nobody_waits_for_it_any_more() {
    let world = World::new();
    let server = world.serve().await;
    let place = world.place(&server, "ann");
    world.machine.hold("create");
    let impatient = tokio::spawn(async move { touch(&place).await });
    until("it is begun", async || world.machine.count("create") > 0).await;
    impatient.abort();
    assert!(impatient.await.expect_err("it was aborted").is_cancelled());
    world.machine.release("create");
    until_state(&server, "ann", SandboxState::Ready).await;
}

#[tokio::test]
async fn a_failure_is_told_to_all_who_waited_and_tried_again_by_the_next() {
    let world = World::new();
    let server = world.serve().await;
    let place = world.place(&server, "ann");
    world.machine.hold("start");
    world.machine.refuse("created", None);
    let uses: Vec<_> = (0..5)
        .map(|_| {
            let place = place.clone();
            tokio::spawn(async move { place.list(".".as_ref()).await.expect_err("no box").to_string() })
        })
        .collect();
    until("it is begun", async || world.machine.count("start") > 0).await;
    // All of them wait by now, or come before the failure is known: there is one thread.
    world.machine.refuse("start", Some(Error::Invalid("the moon is full".to_owned())));
    world.machine.release("start");
    for used in uses {
        let told = used.await.expect("an answer");
        assert!(told.contains("the moon is full"), "{told}");
    }
    assert_eq!(world.machine.count("start"), 1);
    let failed = info(&server, "ann");
    assert_eq!((failed.state, &*failed.reason), (SandboxState::Failed, "the moon is full"));
    world.machine.refuse("start", None);
    touch(&place).await;
    assert_eq!(info(&server, "ann").id, failed.id);
    let (starting, ready) = (SandboxState::Starting, SandboxState::Ready);
    until_states(&server, "ann", &[starting, SandboxState::Failed, starting, ready]).await;
}

#[tokio::test]
async fn boxes_wait_for_their_turn_to_be_made() {
    let world = World::with(|settings| settings.max_starting = 1);
    let server = world.serve().await;
    world.machine.hold("start");
    let uses = ["ann", "ben"].map(|user| {
        let place = world.place(&server, user);
        tokio::spawn(async move { touch(&place).await })
    });
    let queued = async || {
        let states = ["ann", "ben"].map(|user| state(&server, user));
        states.contains(&Some(SandboxState::Queued)) && states.contains(&Some(SandboxState::Starting))
    };
    until("one waits", queued).await;
    assert_eq!(world.machine.count("create"), 1);
    world.machine.release("start");
    for used in uses {
        used.await.expect("a use");
    }
}

#[tokio::test]
async fn there_are_no_more_boxes_than_the_operator_wants() {
    let pool = Pool { options: SandboxOptions::default(), size: 1 };
    let world = World::with(|settings| {
        settings.max_boxes = 3;
        settings.pools = vec![pool];
    });
    let server = world.serve().await;
    until("the pool is full", async || server.count_waiting() == 1).await;
    // All at once, from the pool and anew.
    let uses: Vec<_> = (0..10)
        .map(|number| {
            let place = world.place(&server, &format!("user{number}"));
            tokio::spawn(async move { place.metadata(".".as_ref()).await.map_err(|error| error.to_string()) })
        })
        .collect();
    let mut refusals = Vec::new();
    for used in uses {
        refusals.extend(used.await.expect("an answer").err());
    }
    assert_eq!(refusals.len(), 7, "{refusals:?}");
    assert!(refusals.iter().all(|told| told.contains("there are 3 boxes already")), "{refusals:?}");
    assert_eq!(server.count()[&SandboxState::Ready], 3);
    // Whoever removes one makes room.
    let user = (0..10).map(|number| format!("user{number}")).find(|user| state(&server, user).is_some());
    server.destroy(&owner(&user.expect("a user")), At::Own).await.expect("it is removed");
    touch(&world.place(&server, "late")).await;
    world.place(&server, "later").metadata(".".as_ref()).await.expect_err("there is no room");
}

#[tokio::test]
async fn what_a_box_is_made_from_counts_until_it_is_made() {
    let world = World::new();
    let server = world.serve().await;
    let image = |name: &str| SandboxOptions { image: Some(name.to_owned()), ..SandboxOptions::default() };
    world.place_with(&server, "ann", image("first"));
    let place = world.place_with(&server, "ann", image("second"));
    touch(&place).await;
    assert_eq!(world.machine.spec(id(&server, "ann")).image.as_deref(), Some("second"));
    touch(&world.place_with(&server, "ann", image("third"))).await;
    assert_eq!(info(&server, "ann").options.image.as_deref(), Some("second"));
    assert_eq!(world.rows().await[0].options.image.as_deref(), Some("second"));
}

#[tokio::test]
async fn a_relative_path_is_below_the_folder_of_the_place() {
    let world = World::new();
    let server = world.serve().await;
    let place = world.place(&server, "ann");
    let folder = place.working_dir().join("sub");
    place.create_dir("sub".as_ref()).await.expect("a folder");
    let below = server.place(&owner("ann"), At::Own, &SandboxOptions::default(), &folder).expect("a place");
    let mut file = below.write("file".as_ref(), Parents::Required).await.expect("a file");
    file.write(b"hello").await.expect("room");
    file.finish().await.expect("room");
    assert_eq!(place.metadata("sub/file".as_ref()).await.expect("a file").len, 5);
    assert_eq!(below.canonicalize("file".as_ref()).await.expect("a file"), folder.canonicalize().unwrap().join("file"));
}
