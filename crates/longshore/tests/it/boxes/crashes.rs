//! Servers that are killed at any moment: the next one finds what there is, and nothing is left of the rest.

use std::time::Duration;

use serde_json::json;

use super::{
    client::{Client, eventually},
    ground::{Ground, Kind},
};

/// Numbers that differ from run to run. The first is told when a test fails.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let seed = uuid::Uuid::new_v4().as_u64_pair().0 | 1;
        println!("the first number is {seed}");
        Self(seed)
    }

    /// A number below `limit`.
    fn roll(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Makes a box, works in it, and perhaps removes it. The server may be gone at any moment.
async fn live(client: Client, number: u64) {
    let limits = if number.is_multiple_of(2) { json!({"disk": "16m", "memory": "64m"}) } else { json!({}) };
    let Some(boxed) = client.try_unmade(json!({"resource_limits": limits})).await else { return };
    let _ = boxed.try_sh("(setsid sleep 1000 > /dev/null 2>&1 &); echo made > made", 20).await;
    match number % 5 {
        0 => boxed.try_remove().await,
        1 => boxed.try_pause().await,
        2 => client.try_delete(&boxed).await,
        3 => {
            let _ = boxed.try_sh("kill -9 -1", 5).await;
        }
        _ => {}
    }
    let _ = boxed.try_sh("cat made", 20).await;
}

async fn survives(kind: Kind, kills: usize, longest: u64) {
    let Some(mut ground) = Ground::prepared(kind, "").await else { return };
    let mut dice = Dice::new();
    for _ in 0..kills {
        ground.start().await;
        let lives: Vec<_> = (0..4).map(|_| tokio::spawn(live(ground.client.clone(), dice.roll(1000)))).collect();
        tokio::time::sleep(Duration::from_millis(dice.roll(longest))).await;
        ground.kill().await;
        for life in lives {
            life.await.unwrap();
        }
    }
    ground.start().await;
    // What there is belongs to a conversation, and works.
    let conversations = ground.client.conversations().await;
    let mut known = Vec::new();
    for conversation in &conversations {
        known.extend(conversation.try_id().await);
    }
    eventually("nothing is left of others", async || {
        let found = ground.found().await;
        let left = ground.left(&known);
        found.iter().all(|found| known.contains(&found.id)) && left.is_empty()
    })
    .await;
    let boxes = conversations.iter().map(|conversation| async {
        let used = conversation.try_sh("echo works", 30).await;
        assert!(used.as_ref().is_ok_and(|said| said.text == "works\n"), "{used:?}");
    });
    futures::future::join_all(boxes).await;
    // And goes when nobody needs it.
    let deletions = conversations.iter().map(|conversation| ground.client.try_delete(conversation));
    futures::future::join_all(deletions).await;
    eventually("nothing is left", async || ground.left(&[]).is_empty() && ground.found().await.is_empty()).await;
}

#[tokio::test]
async fn no_box_of_bubblewrap_is_left_behind() {
    survives(Kind::Bubblewrap, 15, 500).await;
}

#[tokio::test]
async fn no_box_of_docker_is_left_behind() {
    survives(Kind::Docker, 8, 2000).await;
}

/// A server that ends in order leaves nothing either, if that is asked for.
async fn ends(kind: Kind) {
    for (number, flag) in ["destroy", "stop", "keep"].into_iter().enumerate() {
        let Some(mut ground) = Ground::prepared(kind, "").await else { return };
        ground.add_arguments(&["--sandbox-on-shutdown", flag]);
        ground.start().await;
        let boxed = ground.boxed(json!({"resource_limits": {"disk": "16m"}})).await;
        boxed.must("echo kept > kept; (setsid sleep 1000 > /dev/null 2>&1 &)").await;
        ground.stop().await;
        match number {
            0 => assert_eq!(ground.left(&[]), Vec::<String>::new()),
            _ => assert!(!ground.left(&[]).is_empty()),
        }
        ground.start().await;
        let said = ground.client.again(&boxed).sh("cat kept; pgrep sleep > /dev/null && echo runs").await.text;
        assert_eq!(said, ["cat: kept: No such file or directory\n", "kept\n", "kept\nruns\n"][number]);
    }
}

#[tokio::test]
async fn boxes_of_bubblewrap_end_as_the_operator_wants() {
    ends(Kind::Bubblewrap).await;
}

#[tokio::test]
async fn boxes_of_docker_end_as_the_operator_wants() {
    ends(Kind::Docker).await;
}
