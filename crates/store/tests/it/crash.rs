//! `kill -9` loses nothing that was answered and leaves nothing half done.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use longshore_protocol::ConversationId;
use longshore_store::{Store, Usage};
use uuid::Uuid;

use crate::{
    samples,
    sqlite::{database, open},
};

const PATH: &str = "LONGSHORE_TEST_DATABASE";
const WRITERS: u128 = 4;

/// Every commit has so many events and one call.
const EVENTS: u64 = 3;

#[tokio::test]
async fn what_was_answered_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let path = database(&folder);
    for round in 0..6 {
        let mut answered = [0_u64; WRITERS as usize];
        let mut child = Writing::start(&path);
        let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        // Ends at another place each time, in the middle of whatever the others do.
        let mut left = 20 + round * 13;
        for line in &mut lines {
            let line = line.unwrap();
            let Some((writer, tail)) = line.strip_prefix("answered ").and_then(|line| line.split_once(' ')) else {
                continue;
            };
            answered[writer.parse::<usize>().unwrap()] = tail.parse().unwrap();
            left -= 1;
            if left == 0 {
                child.0.kill().unwrap();
            }
        }
        child.0.wait().unwrap();

        let store = open(&path).unwrap();
        assert_eq!(store.check().await.unwrap(), [""; 0]);
        let mut calls = 0;
        for (writer, answered) in answered.into_iter().enumerate() {
            let id = conversation(writer as u128);
            let Some(conversation) = store.conversation(&samples::owner("ann"), id).await.unwrap() else {
                assert_eq!(answered, 0);
                continue;
            };
            let tail = conversation.tail;
            assert!(tail >= answered, "writer {writer} was answered {answered}, and {tail} is there");
            assert_eq!(tail % EVENTS, 0, "half a commit");
            assert_eq!(conversation.title, (tail > 0).then(|| tail.to_string()));
            assert_eq!(store.events(id, 0, usize::MAX).await.unwrap().len() as u64, tail);
            assert_eq!(store.calls(&[id]).await.unwrap()[0].len() as u64, tail / EVENTS);
            calls += tail / EVENTS;
        }
        let day = longshore_store::day_of(&samples::call("agent", 0));
        let spent = store.spent(&samples::owner("ann"), day).await.unwrap();
        assert_eq!(spent.all.calls, calls, "nothing is spent twice or forgotten");
        store.close().await;
    }
}

fn conversation(writer: u128) -> ConversationId {
    ConversationId(Uuid::from_u128(writer + 1))
}

/// Ended with the test, however that ends.
struct Writing(Child);

impl Writing {
    fn start(path: &Path) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::writes_until_it_is_killed", "--ignored", "--nocapture"])
            .env(PATH, path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The process that [`what_was_answered_survives_a_kill`] kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs in a process of its own"]
#[expect(clippy::print_stdout, reason = "the parent reads it")]
async fn writes_until_it_is_killed() {
    let Some(path) = std::env::var_os(PATH) else { return };
    let store: Arc<dyn Store> = Arc::new(open(Path::new(&path)).unwrap());
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let mut new = samples::conversation(&samples::owner("ann"));
            new.id = conversation(writer);
            let (id, owner) = (new.id, new.owner.clone());
            store.create_conversation(new).await.unwrap();
            let mut tail = store.conversation(&owner, id).await.unwrap().unwrap().tail;
            loop {
                let events = (0..EVENTS).map(|_| samples::message(0, &"x".repeat(2000))).collect();
                let mut commit = samples::commit(tail, events);
                commit.title = Some((tail + EVENTS).to_string());
                commit.calls = vec![samples::call("agent", tail)];
                tail = store.commit(id, commit).await.unwrap();
                println!("answered {writer} {tail}");
            }
        });
    }
    // In case that the parent is gone.
    tokio::time::sleep(Duration::from_mins(1)).await;
}
