//! Files that are not the box's.

use super::{
    attack::{Attack, BROKEN, Field, HOSTS_SECRET, python},
    ground::{Ground, Kind},
};

const NOT_THERE: &[&str] = &["No such file or directory", "Permission denied"];

async fn holds(kind: Kind) {
    let Some(ground) = Ground::new(kind, "").await else { return };
    let field = Field::new(&ground, serde_json::json!({})).await;
    let data = ground.world.data().display().to_string();
    let host = &field.host_file;
    field
        .withstands(&[
            Attack::new("the data folder", format!("ls {data}; cat {data}/longshore.db {data}/secret.key"), NOT_THERE),
            Attack::new("the host's file", format!("cat {host}"), NOT_THERE),
            Attack::new(
                "the root of the first process",
                format!("cat /proc/1/root{host} /proc/1/root/../..{host} /proc/1/cwd/../..{host} /proc/self/root{host}"),
                NOT_THERE,
            ),
            Attack::new("all files by name", format!("find / -xdev \\( -name longshore.db -o -name secret.key -o -name host-secret \\) -print 2> /dev/null | sed s/^/{BROKEN}/; find /nowhere"), NOT_THERE),
            Attack::new("all files by content", "grep -rs canary-of /workspace /tmp /var/tmp /home /root /dev/shm /run /mnt /.longshore; ls /nowhere", NOT_THERE),
            Attack::new("the environment of all processes", "for f in /proc/[0-9]*/environ; do tr '\\0' '\\n' < $f; done", NOT_THERE),
            Attack::new("what all processes have open", python("
import glob
for path in glob.glob('/proc/[0-9]*/fd/*'):
    try: print(os.read(os.open(path, os.O_RDONLY | os.O_NONBLOCK), 100000))
    except OSError as error: print(error.strerror)
"), NOT_THERE),
            Attack::new("the folders of all processes", "cat /proc/[0-9]*/root/workspace/secret /proc/[0-9]*/cwd/secret", NOT_THERE),
            Attack::new("a file by its number", python("
class Handle(ctypes.Structure):
    _fields_ = [('bytes', ctypes.c_uint), ('type', ctypes.c_int), ('data', ctypes.c_ubyte * 128)]
for path in ['/etc/hostname', '/workspace', '/']:
    handle, mount = Handle(128), ctypes.c_int()
    libc.syscall(303, -100, path.encode(), ctypes.byref(handle), ctypes.byref(mount), 0)
    # The root folder of the file system that the path is on.
    handle.data[0:8] = [2, 0, 0, 0, 0, 0, 0, 0]
    place = os.open(path, os.O_RDONLY)
    root = call('open_by_handle_at ' + path, 304, place, ctypes.byref(handle), os.O_RDONLY)
    if root >= 0: print(os.listdir(root))
"), &["refused: Operation not permitted"]),
            Attack::new("the programs that boxes share", format!("for f in /.longshore/longshore /usr/bin/env; do echo x >> $f && echo {BROKEN} $f; done; ls -l /nowhere; true"), NOT_THERE),
        ].into_iter().filter(|attack| kind == Kind::Bubblewrap || attack.name != "the programs that boxes share").collect::<Vec<_>>())
        .await;
    paths_stay_inside(&ground, &field).await;
}

/// Paths that a client names, and links in them, lead to files of the box.
async fn paths_stay_inside(ground: &Ground, field: &Field<'_>) {
    let host = &field.host_file;
    let user = ground.of_user();
    user.must(&format!(
        "cd /workspace; ln -s {host} to-file; ln -s / to-root; ln -s /proc/1/root to-process; ln -s ../../../../../../../.. up; \
         ln -s to-loop to-loop; mkdir real; ln -s real moved; echo inside > real/file; ln real/file hard"
    ))
    .await;
    let outside = [
        host.clone(),
        format!("/workspace/..{host}"),
        format!("/workspace/../../../..{host}"),
        format!("/{host}"),
        "/workspace/to-file".to_owned(),
        format!("/workspace/to-root{host}"),
        format!("/workspace/to-process{host}"),
        format!("/workspace/up{host}"),
        format!("/proc/1/root{host}"),
        format!("/proc/self/root{host}"),
        format!("/proc/1/cwd{host}"),
        format!("/proc/{}/root{host}", ground.pid()),
        "/workspace/to-loop".to_owned(),
    ];
    for path in &outside {
        let (status, content) = user.download(path).await;
        assert!(!content.contains(HOSTS_SECRET) && [400, 403, 404].contains(&status), "{path}: {status} {content}");
    }
    let before: Vec<_> =
        ["/etc/passwd", "/etc/shadow", PROGRAM].map(|path| std::fs::metadata(path).unwrap().modified().unwrap()).into();
    for path in outside.iter().map(String::as_str).chain([
        "/etc/passwd",
        "/etc/shadow",
        "/.longshore/longshore",
        "/proc/1/mem",
        "/proc/sys/kernel/core_pattern",
        "/proc/sysrq-trigger",
    ]) {
        let status = user.upload(path, "BROKEN").await;
        assert!([200, 400, 403, 404].contains(&status), "{path}: {status}");
    }
    let after: Vec<_> =
        ["/etc/passwd", "/etc/shadow", PROGRAM].map(|path| std::fs::metadata(path).unwrap().modified().unwrap()).into();
    assert_eq!(before, after);
    assert_eq!(user.upload("/workspace/moved/file", "changed").await, 200);
    assert_eq!(user.must("cat /workspace/real/file /workspace/hard").await, "changedinside");
    field.all_is_well().await;
    // What a conversation's client names must be inside its folder.
    let attacker = &field.attacker;
    attacker.must("ln -s /etc/passwd /workspace/to-file; ln -s / /workspace/to-root").await;
    for path in
        ["/etc/passwd", "/workspace/../etc/passwd", "/workspace/to-file", "/workspace/to-root/etc/passwd", "/tmp"]
    {
        assert_eq!((attacker.download(path).await.0, attacker.upload(path, "x").await), (422, 422), "{path}");
    }
}

const PROGRAM: &str = crate::support::PROGRAM;

#[tokio::test]
async fn bubblewrap_shows_no_files_but_the_boxs() {
    holds(Kind::Bubblewrap).await;
}

#[tokio::test]
async fn docker_shows_no_files_but_the_boxs() {
    holds(Kind::Docker).await;
}
