//! Processes that are not the box's.

use super::{
    attack::{Attack, Field, python},
    ground::{Ground, Kind},
};
use crate::processes::{sleeps, unique_seconds};

async fn holds(kind: Kind) {
    let Some(ground) = Ground::new(kind, "").await else { return };
    let field = Field::new(&ground, serde_json::json!({})).await;
    let seconds = unique_seconds();
    field.victim.start(&format!("sleep {seconds}")).await;
    super::client::eventually("the other box works", async || sleeps(&seconds)).await;
    let (server, test) = (ground.pid(), std::process::id());
    field
        .withstands(&[
            Attack::new(
                "to see others",
                format!("ps -ef | grep -v grep | grep -e {seconds} -e 'longshore serve' | sed s/^/BROKEN/; ls -d /proc/{server} /proc/{test}"),
                &["No such file or directory"],
            ),
            Attack::new(
                "to signal others",
                format!("for pid in {server} {test}; do kill -0 $pid && echo BROKEN; done"),
                &["No such process"],
            ),
            Attack::new(
                "to signal all numbers",
                python("
for pid in range(2, 70000):
    try: os.kill(pid, 0)
    except ProcessLookupError: continue
    except PermissionError: print('BROKEN', pid)
    # What can be signalled is one of its own processes or threads.
    if not os.path.exists(f'/proc/{pid}'): print('BROKEN', pid)
print('No such process')
"),
                &["No such process"],
            ),
            Attack::new(
                "to be of another kind",
                python("
try:
    os.nice(-10); print('BROKEN')
except OSError as error: print(error.strerror)
try:
    os.setpriority(os.PRIO_PROCESS, 0, -20); print('BROKEN')
except OSError as error: print(error.strerror)
call('ioprio real-time', 251, 1, 0, 1 << 13)
call('sched real-time', 144, 0, 1, ctypes.byref(ctypes.c_int(1)))
"),
                &["Operation not permitted"],
            ),
        ])
        .await;
    assert!(sleeps(&seconds));
}

#[tokio::test]
async fn bubblewrap_shows_no_processes_but_the_boxs() {
    holds(Kind::Bubblewrap).await;
}

#[tokio::test]
async fn docker_shows_no_processes_but_the_boxs() {
    holds(Kind::Docker).await;
}
