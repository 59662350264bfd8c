//! Boxes that take more than they may have.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    attack::{Field, python},
    client::{Boxed, eventually},
    ground::{Ground, Kind},
};

const CONFIG: &str = "[sandbox]\nresource_limits = { memory = \"128m\", cpus = 0.5, disk = \"96m\", pids = 40 }\n";

/// A box with limits, and one beside it.
async fn with_limits(kind: Kind) -> Option<(Ground, Value)> {
    let options = json!({"resource_limits": {"disk": "32m"}});
    Some((Ground::new(kind, CONFIG).await?, options))
}

async fn takes_memory(kind: Kind) {
    let Some((ground, options)) = with_limits(kind).await else { return };
    let field = Field::new(&ground, options).await;
    let attacker = &field.attacker;
    // Most of it is allowed, and its owner is warned.
    let most = python("import time\nmost = bytearray(112 << 20)\ntime.sleep(3)\nprint('had it')\n");
    assert_eq!(attacker.must(&most).await, "had it");
    let warned = async || {
        attacker.events(0).await.iter().any(|event| event["kind"] == "warning" && event["resource"] == "memory")
    };
    eventually("its owner is warned", warned).await;
    // More ends whoever takes it.
    let said = attacker.sh(&python("more = bytearray(1 << 30)\nprint('BROKEN')\n")).await;
    assert!(said.code != 0 && !said.text.contains("BROKEN"), "{said:?}");
    field.all_is_well().await;
    // Together they get no more either, and neither do files in memory.
    let eaters = "for i in 1 2 3 4 5 6 7 8 9 10; do python3 -c 'import time; x = bytearray(60 << 20); time.sleep(1)' & done; wait; \
        head -c 300m /dev/zero > /dev/shm/big; rm -f /dev/shm/big; echo survived";
    let said = attacker.try_sh(eaters, 30).await;
    field.all_is_well().await;
    if said.is_ok_and(|said| said.text.contains("survived")) {
        attacker.must("true").await;
    } else {
        // If it was the box's own process, it says so, and the next use makes it work again.
        eventually("it works again", async || attacker.try_sh("true", 5).await.is_ok_and(|said| said.code == 0)).await;
        let events = attacker.events(0).await;
        let lost = events.iter().find(|event| event["state"] == "lost").expect("it tells");
        assert!(lost["reason"].as_str().unwrap().contains("memory"), "{lost}");
    }
}

#[tokio::test]
async fn a_box_of_bubblewrap_gets_no_more_memory_than_it_may() {
    takes_memory(Kind::Bubblewrap).await;
}

#[tokio::test]
async fn a_box_of_docker_gets_no_more_memory_than_it_may() {
    takes_memory(Kind::Docker).await;
}

async fn takes_processors(kind: Kind) {
    let Some((ground, options)) = with_limits(kind).await else { return };
    let field = Field::new(&ground, options).await;
    let burn = python(
        "
import resource, time
begun = time.monotonic()
children = []
for _ in range(4):
    child = os.fork()
    if child == 0:
        while time.monotonic() < begun + 3: pass
        os._exit(0)
    children.append(child)
for child in children: os.waitpid(child, 0)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print((used.ru_utime + used.ru_stime) / (time.monotonic() - begun))
",
    );
    let burning = field.attacker.must(&burn);
    let (share, ()) = tokio::join!(burning, async {
        for _ in 0..5 {
            field.all_is_well().await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    });
    let share: f64 = share.parse().unwrap();
    // It may have half of one; what it begins with is not counted exactly.
    assert!(share < 0.8, "{share} processors");
}

#[tokio::test]
async fn a_box_of_bubblewrap_gets_no_more_processors_than_it_may() {
    takes_processors(Kind::Bubblewrap).await;
}

#[tokio::test]
async fn a_box_of_docker_gets_no_more_processors_than_it_may() {
    takes_processors(Kind::Docker).await;
}

async fn takes_processes(kind: Kind) {
    let Some((ground, options)) = with_limits(kind).await else { return };
    let field = Field::new(&ground, options).await;
    let count = python(
        "
import signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
made = []
try:
    while len(made) < 1000:
        child = os.fork()
        if child == 0: signal.pause()
        made.append(child)
except OSError as error: print(error.strerror)
for child in made: os.kill(child, signal.SIGKILL)
print(len(made))
",
    );
    let said = field.attacker.must(&count).await;
    let (reason, made) = said.split_once('\n').unwrap();
    assert_eq!(reason, "Resource temporarily unavailable");
    assert!((10..=40).contains(&made.parse::<u32>().unwrap()), "{made}");
    // One that only wants to spread, and does not end with the command.
    let bomb = "bomb() { bomb | bomb & }; (setsid sh -c 'bomb() { bomb | bomb & }; while :; do bomb; done' > /dev/null 2>&1 &); bomb; sleep 1";
    let attacker = field.attacker.clone();
    let bombing = tokio::spawn(async move { attacker.try_sh(bomb, 2).await });
    for _ in 0..10 {
        field.all_is_well().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    bombing.abort();
    let made = ground.boxed(json!({})).await;
    made.must("echo others can be made meanwhile").await;
    field.attacker.remove().await;
    field.attacker.must("true").await;
    field.all_is_well().await;
}

#[tokio::test]
async fn a_box_of_bubblewrap_gets_no_more_processes_than_it_may() {
    takes_processes(Kind::Bubblewrap).await;
}

#[tokio::test]
async fn a_box_of_docker_gets_no_more_processes_than_it_may() {
    takes_processes(Kind::Docker).await;
}

async fn free(boxed: &Boxed) -> u64 {
    boxed.must("df --output=avail -B1 /workspace | tail -1").await.trim().parse().unwrap()
}

async fn takes_disk(kind: Kind) {
    let Some((ground, options)) = with_limits(kind).await else { return };
    let field = Field::new(&ground, options).await;
    let attacker = &field.attacker;
    let said = attacker.sh("echo kept > kept; dd if=/dev/zero of=big bs=1M count=1000 2>&1; ls -l big").await;
    assert!(said.text.contains("No space left on device"), "{said:?}");
    assert_eq!(attacker.upload("/workspace/more", &"x".repeat(1 << 20)).await, 507);
    field.all_is_well().await;
    let warned =
        async || attacker.events(0).await.iter().any(|event| event["kind"] == "warning" && event["resource"] == "disk");
    eventually("its owner is warned", warned).await;

    // More is had at once, up to what the operator allows, and not less than is used.
    assert_eq!(attacker.limit(json!({"disk": "200m"})).await, 422);
    assert!([409, 422].contains(&attacker.limit(json!({"disk": "16m"})).await));
    assert_eq!(attacker.limit(json!({"disk": "64m"})).await, 200);
    eventually("there is more room", async || {
        // A system that cannot enlarge a disk in use does so at the next start.
        if free(attacker).await < 20 << 20 {
            attacker.sh("kill -9 -1").await;
        }
        attacker.try_sh("dd if=/dev/zero of=more bs=1M count=20", 20).await.is_ok_and(|said| said.code == 0)
    })
    .await;
    attacker.must("rm big more; cat kept").await;
    assert_eq!(attacker.upload("/workspace/more", &"x".repeat(1 << 20)).await, 200);

    // Names take room too.
    let names = python(
        "
os.mkdir('names')
count = 0
try:
    while count < 1000000:
        open(f'names/{count}', 'w').close()
        count += 1
    print('BROKEN')
except OSError as error: print(error.strerror, count)
",
    );
    let said = attacker.must(&names).await;
    assert!(said.starts_with("No space left on device"), "{said}");
    attacker.must("rm -r names; echo again > kept").await;

    // What is not below the workspace has a bound as well, or is watched.
    let elsewhere = attacker.try_sh("for f in /tmp /var/tmp ~ /dev/shm /run /.longshore/run; do dd if=/dev/zero of=$f/big bs=1M count=300; done 2>&1; df -B1", 30).await;
    if kind == Kind::Bubblewrap {
        let said = elsewhere.unwrap().text;
        assert_eq!(said.matches("300+0 records out").count(), 0, "{said}");
        attacker.must("rm -f /tmp/big /var/tmp/big ~/big /dev/shm/big; cat kept").await;
    } else {
        attacker.until_state("stopped").await;
        // It is started again to be cleaned.
        eventually("it can be cleaned", async || {
            attacker
                .try_sh("rm -f /tmp/big /var/tmp/big ~/big /run/big; cat kept", 10)
                .await
                .is_ok_and(|said| said.text == "again\n")
        })
        .await;
    }
    field.all_is_well().await;
}

#[tokio::test]
async fn a_box_of_bubblewrap_gets_no_more_disk_than_it_may() {
    takes_disk(Kind::Bubblewrap).await;
}

#[tokio::test]
async fn a_box_of_docker_gets_no_more_disk_than_it_may() {
    takes_disk(Kind::Docker).await;
}
