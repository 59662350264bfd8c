//! Boxes that say much, and names and files that are hard to handle.

use std::time::Duration;

use serde_json::json;

use super::{
    attack::{Field, VICTIMS_SECRET, python},
    ground::{Ground, Kind},
};

/// How much more memory a server may have because of one box.
const ROOM: u64 = 700 << 20;

async fn says_much(kind: Kind) {
    let Some(ground) = Ground::new(kind, "").await else { return };
    let field = Field::new(&ground, json!({})).await;
    let before = ground.memory();
    let floods =
        ["yes", "cat /dev/zero", "cat /dev/urandom", "yes >&2", "while :; do echo x; done", "yes | tr -d '\\n'"].map(
            |script| {
                let attacker = field.attacker.clone();
                tokio::spawn(async move { attacker.try_sh(script, 3).await })
            },
        );
    while floods.iter().any(|flood| !flood.is_finished()) {
        assert_eq!(field.victim.must("cat secret").await, VICTIMS_SECRET);
        ground.must_be_healthy().await;
        let grown = ground.memory().saturating_sub(before);
        assert!(grown < ROOM, "the server has grown by {grown} bytes");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for flood in floods {
        let said = flood.await.unwrap().unwrap();
        assert!(said.code != 0 && !said.text.is_empty(), "{}", said.code);
    }
    field.attacker.must("true").await;
    field.all_is_well().await;
}

#[tokio::test]
async fn a_box_of_bubblewrap_may_say_what_it_likes() {
    says_much(Kind::Bubblewrap).await;
}

#[tokio::test]
async fn a_box_of_docker_may_say_what_it_likes() {
    says_much(Kind::Docker).await;
}

async fn has_strange_files(kind: Kind) {
    let Some(ground) = Ground::new(kind, "").await else { return };
    let field = Field::new(&ground, json!({})).await;
    let attacker = &field.attacker;
    let before = ground.memory();
    let strange = python(
        "
for name in [b'a\\nb', b'\\xff\\xfe', b'\"; rm -rf ~', b'-rf', b'%2e%2e%2f', b'\\xe2\\x80\\xae' * 50, b'x' * 255]:
    open(b'/workspace/' + name, 'wb').write(name)
for index in range(20000): open(f'/workspace/{index:0100d}', 'w').close()
path = '/workspace'
for _ in range(300):
    path = path + '/deep'
    os.mkdir(path)
    if len(path) > 3500: break
os.mkfifo('/workspace/pipe')
one = socket.socket(socket.AF_UNIX); one.bind('/workspace/socket')
os.truncate(os.open('/workspace/large', os.O_CREAT | os.O_RDWR), 10 << 30)
os.symlink('/dev/zero', '/workspace/endless')
os.symlink('/proc/self/mem', '/workspace/memory')
",
    );
    attacker.must(&strange).await;
    for (path, content) in
        [("a%0Ab", "a\nb"), ("%22%3B%20rm%20-rf%20~", "\"; rm -rf ~"), ("-rf", "-rf"), ("%252e%252e%252f", "%2e%2e%2f")]
    {
        assert_eq!(
            attacker.download_raw(&format!("%2Fworkspace%2F{path}")).await,
            (200, content.as_bytes().to_vec()),
            "{path}"
        );
    }
    assert_eq!(attacker.download_raw("%2Fworkspace%2F%FF%FE").await, (200, vec![0xff, 0xfe]));
    // What is no file is refused at once, and does not hold anybody up.
    for path in ["pipe", "socket", "endless", "memory", "."] {
        let whole = format!("/workspace/{path}");
        let asked = tokio::time::timeout(Duration::from_secs(20), attacker.download(&whole));
        let (status, _) = asked.await.unwrap_or_else(|_| panic!("{path}: no answer"));
        assert!([400, 403, 404, 422].contains(&status), "{path}: {status}");
    }
    assert_ne!(attacker.upload("/workspace/pipe", "x").await, 500);
    // Clients of a large file who stop, or read nothing.
    let mut held = Vec::new();
    for count in 0..20 {
        let mut answer = attacker.fetch("/workspace/large").await;
        assert_eq!(answer.headers()["content-length"], "10737418240");
        assert!(answer.chunk().await.unwrap().is_some());
        if count % 2 == 0 {
            held.push(answer);
        }
    }
    field.all_is_well().await;
    let grown = ground.memory().saturating_sub(before);
    assert!(grown < ROOM, "the server has grown by {grown} bytes");
    drop(held);
    assert_eq!(attacker.must("ls | wc -l").await, "20014");
    field.all_is_well().await;
}

#[tokio::test]
async fn a_box_of_bubblewrap_may_have_strange_files() {
    has_strange_files(Kind::Bubblewrap).await;
}

#[tokio::test]
async fn a_box_of_docker_may_have_strange_files() {
    has_strange_files(Kind::Docker).await;
}
