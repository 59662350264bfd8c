//! The server's hands in the box: whoever takes them over, or away, harms only the own box.

use std::time::Duration;

use serde_json::json;

use super::{
    attack::{Attack, Field, python},
    client::{Boxed, eventually},
    ground::{Ground, Kind},
};

const REFUSED: &[&str] = &["Operation not permitted", "Permission denied"];

/// Finds the number of boxd's process.
const FIND: &str = "
def is_boxd(pid):
    try: return b'boxd' in open(f'/proc/{pid}/cmdline', 'rb').read().split(b'\\0') and os.stat(f'/proc/{pid}').st_uid >= 0 and pid != 1
    except OSError: return False
boxd = next(pid for pid in sorted(int(name) for name in os.listdir('/proc') if name.isdigit()) if is_boxd(pid))
";

async fn keeps_to_itself(kind: Kind) {
    let Some(ground) = Ground::new(kind, "").await else { return };
    let field = Field::new(&ground, json!({"env": {"OWN": "secret"}})).await;
    field
        .withstands(&[
            Attack::new(
                "to read its memory and environment",
                python(&format!(
                    "{FIND}
for name in ['mem', 'environ', 'maps', 'fd/0', 'fd/5', 'root/etc/passwd', 'stack', 'syscall', 'auxv', 'io']:
    try: print('BROKEN', name, open(f'/proc/{{boxd}}/{{name}}', 'rb').read(10))
    except OSError as error: print(error.strerror)
"
                )),
                REFUSED,
            ),
            Attack::new(
                "to take it over",
                python(&format!(
                    "{FIND}
class Part(ctypes.Structure): _fields_ = [('base', ctypes.c_void_p), ('len', ctypes.c_size_t)]
here, there = Part(ctypes.addressof(ctypes.create_string_buffer(8)), 8), Part(0x400000, 8)
call('ptrace attach', 101, 16, boxd, None, None)
call('ptrace seize', 101, 0x4206, boxd, None, None)
call('process_vm_readv', 310, boxd, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
call('process_vm_writev', 311, boxd, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
call('kcmp', 312, os.getpid(), boxd, 0, 0, 0)
handle = os.pidfd_open(boxd)
for number in range(32): call('pidfd_getfd', 438, handle, number, 0)
call('process_madvise', 440, handle, ctypes.byref(there), 1, 21, 0)
"
                )),
                REFUSED,
            ),
            Attack::new(
                "to end it in order",
                python(&format!(
                    "{FIND}
import signal, time
for number in [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGPIPE, signal.SIGCHLD]:
    try: os.kill(boxd, number) if number != signal.SIGUSR1 else None
    except OSError as error: print(error.strerror)
time.sleep(0.2)
print('Operation not permitted' if is_boxd(boxd) else 'BROKEN')
"
                )),
                REFUSED,
            ),
        ])
        .await;
    if kind == Kind::Docker {
        field
            .withstands(&[Attack::new(
                "to speak to it as the server does",
                python(
                    "
import time
path = '/.longshore/run/boxd.sock'
held = []
for said in [b'', b'\\0' * 100000, b'GET / HTTP/1.1\\r\\n\\r\\n', b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n' + b'\\xff' * 100000] * 50:
    one = socket.socket(socket.AF_UNIX)
    one.settimeout(1)
    try:
        one.connect(path)
        one.sendall(said)
    except OSError: pass
    held.append(one)
print('Permission denied')
",
                ),
                REFUSED,
            )])
            .await;
    }
    // It works on, with what it was given.
    assert_eq!(field.attacker.must("echo $OWN").await, "secret");
}

#[tokio::test]
async fn boxd_keeps_to_itself_in_bubblewrap() {
    keeps_to_itself(Kind::Bubblewrap).await;
}

#[tokio::test]
async fn boxd_keeps_to_itself_in_docker() {
    keeps_to_itself(Kind::Docker).await;
}

/// Lets the box do something that hurts itself.
async fn hurt(boxed: &Boxed, script: &str) {
    let boxed = boxed.clone();
    let script = script.to_owned();
    // Whether there is an answer depends on what is hit first.
    let hurting = async move { drop(boxed.try_sh(&script, 10).await) };
    let _ = tokio::time::timeout(Duration::from_secs(2), hurting).await;
}

async fn harms_only_itself(kind: Kind) {
    let Some(ground) = Ground::new(kind, "").await else { return };
    let field = Field::new(&ground, json!({})).await;
    let attacker = &field.attacker;
    attacker.must("echo kept > kept").await;
    let kill = |signal: &str| python(&format!("{FIND}\nimport signal\nos.kill(boxd, signal.{signal})\n"));
    for script in [kill("SIGKILL"), kill("SIGABRT"), "kill -9 -1".to_owned()] {
        hurt(attacker, &script).await;
        eventually("the next use finds it as it was", async || {
            attacker.try_sh("cat kept", 5).await.is_ok_and(|said| said.text == "kept\n")
        })
        .await;
        field.all_is_well().await;
    }
    let lost = attacker.events(0).await.into_iter().filter(|event| event["state"] == "lost").count();
    assert_eq!(lost, 3);

    // One that hangs can be removed, and another takes its place.
    hurt(attacker, &kill("SIGSTOP")).await;
    field.all_is_well().await;
    attacker.remove().await;
    assert_eq!(attacker.must("ls").await, "");
    field.all_is_well().await;
}

#[tokio::test]
async fn whoever_kills_boxd_loses_only_the_own_box_of_bubblewrap() {
    harms_only_itself(Kind::Bubblewrap).await;
}

#[tokio::test]
async fn whoever_kills_boxd_loses_only_the_own_box_of_docker() {
    harms_only_itself(Kind::Docker).await;
}

/// In the place of its socket, which only a box of Docker can see.
const IMPOSTOR: &str = include_str!("impostor.py");

#[tokio::test]
async fn an_impostor_of_boxd_harms_only_the_own_box() {
    let Some(mut ground) = Ground::new(Kind::Docker, "").await else { return };
    let (impostors, victim) = {
        let field = Field::new(&ground, json!({})).await;
        let mut impostors = Vec::new();
        for kind in ["floods", "greets", "listens", "hangs", "closes"] {
            let boxed = ground.boxed(json!({})).await;
            boxed.must(&format!("cat > /tmp/i.py <<'END'\n{IMPOSTOR}\nEND\n(setsid python3 /tmp/i.py {kind} > /tmp/o 2>&1 < /dev/null &); until grep -q listens /tmp/o; do sleep 0.01; done")).await;
            impostors.push(boxed);
        }
        // A link is not followed, wherever it leads.
        let boxed = ground.boxed(json!({})).await;
        boxed.must("ln -sf /run/docker.sock /.longshore/run/boxd.sock").await;
        impostors.push(boxed);
        (impostors, field.victim)
    };
    ground.stop().await;
    ground.start().await;
    let victim = ground.client.again(&victim);
    let before = ground.memory();
    let attempts = impostors.iter().map(|boxed| {
        let boxed = ground.client.again(boxed);
        tokio::spawn(async move { tokio::time::timeout(Duration::from_secs(30), boxed.try_sh("echo hello", 5)).await })
    });
    let attempts: Vec<_> = attempts.collect();
    for _ in 0..10 {
        assert_eq!(victim.must("cat /workspace/secret").await, super::attack::VICTIMS_SECRET);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for attempt in attempts {
        match attempt.await.unwrap() {
            Ok(Ok(said)) => assert_ne!((said.code, &*said.text), (0, "hello\n")),
            Ok(Err(told)) => assert!(!told.is_empty()),
            Err(elapsed) => panic!("somebody waits for an impostor for ever: {elapsed}"),
        }
    }
    let grown = ground.memory().saturating_sub(before);
    assert!(grown < 256 << 20, "the server has grown by {grown} bytes");
    for boxed in &impostors {
        ground.client.again(boxed).remove().await;
        ground.client.again(boxed).must("true").await;
    }
    ground.must_be_healthy().await;
}
