//! What a box cannot do, tried from inside.

use std::{
    os::{linux::net::SocketAddrExt as _, unix::net::SocketAddr},
    process::{Command, Stdio},
};

use crate::bubblewrap_support::{Place, is_root, spec};

#[tokio::test]
async fn nothing_private_of_the_machine_can_be_read() {
    let place = Place::new();
    let (boxed, other) = (place.run(&spec()).await, place.run(&spec()).await);
    other.must("echo secret > /workspace/secret").await;
    let dir = place.deployment.dir.display().to_string();
    for path in [
        "/etc/shadow",
        "/etc/gshadow",
        "/etc/sudoers",
        "/etc/machine-id",
        "/etc/ssh",
        "/etc/ssl/private",
        "/etc/environment",
        "/root",
        "/home/*/.ssh",
        "/var/lib",
        "/var/log",
        "/var/run",
        "/run",
        "/srv",
        "/mnt",
        "/opt",
        "/boot",
        "/sys",
        "/proc/1/root/etc/shadow",
        "/proc/1/cwd/root",
        &*dir,
        &*format!("{dir}/{}", other.id),
        "/box",
        "/oldroot",
        "/newroot",
    ] {
        boxed.must_not(&format!("ls -d {path}")).await;
    }
    let seen = boxed.must("ls -A /; ls -A /etc; cat /etc/passwd /etc/hostname").await;
    for (name, allowed) in [("shadow", false), ("agent", true), ("certs", false), ("root:", true)] {
        assert_eq!(seen.contains(name), allowed, "{name}: {seen}");
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a name").trim().to_owned();
    assert!(host == "box" || !boxed.must("hostname; uname -n; cat /etc/hosts").await.contains(&host));
    assert_eq!(
        boxed.must("ls -A /workspace /home/agent /tmp /home").await.replace(['\n', ' '], ""),
        "/home:agent/home/agent:/tmp:/workspace:"
    );
}

#[tokio::test]
async fn no_process_of_the_machine_is_seen() {
    let place = Place::new();
    let boxed = place.run(&spec()).await;
    let mut marked = Command::new("sleep");
    let mut marked = marked.arg("1000").env("WALL_TEST", "seen").stdout(Stdio::null()).spawn().expect("a process");
    let seen = boxed
        .must("cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'; ls -d /proc/[0-9]* | wc -l")
        .await;
    let _ = marked.kill();
    let _ = marked.wait();
    assert!(!seen.contains("WALL_TEST"), "{seen}");
    let count: u32 = seen.lines().next_back().expect("a number").parse().expect("a number");
    assert!(count < 10, "{seen}");
    boxed.must_not(&format!("kill -0 {}", std::process::id())).await;
}

#[tokio::test]
async fn no_service_of_the_machine_is_reached() {
    let place = Place::new();
    let boxed = place.run(&spec()).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let name = format!("wall-{}", uuid::Uuid::new_v4().simple());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let _abstract = std::os::unix::net::UnixListener::bind_addr(&address).expect("a socket");
    let dial = |family: &str, address: &str| {
        format!("python3 -c 'import socket; socket.socket(socket.{family}).connect({address})'")
    };
    let refused = boxed.must_not(&dial("AF_INET", &format!("(\"127.0.0.1\", {port})"))).await;
    assert!(refused.stderr.contains("ConnectionRefused"), "{refused:?}");
    let refused = boxed.must_not(&dial("AF_UNIX", &format!("\"\\0{name}\""))).await;
    assert!(refused.stderr.contains("ConnectionRefused"), "{refused:?}");
    let refused = boxed.must_not(&dial("AF_INET", "(\"198.51.100.1\", 80)")).await;
    assert!(refused.stderr.contains("unreachable"), "{refused:?}");
    // It can reach what it serves itself.
    let own = "import socket; s=socket.socket(); s.bind((\"127.0.0.1\", 0)); s.listen(); socket.create_connection(s.getsockname())";
    boxed.must(&format!("python3 -c '{own}'")).await;
}

#[tokio::test]
async fn only_sockets_of_a_boxs_own_network_can_be_made() {
    let place = Place::new();
    let boxed = place.run(&spec()).await;
    for family in ["AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"] {
        let kind = if family == "AF_NETLINK" { "SOCK_RAW" } else { "SOCK_STREAM" };
        boxed.must(&format!("python3 -c 'import socket; socket.socket(socket.{family}, socket.{kind})'")).await;
    }
    // AF_VSOCK, AF_ALG, and one with a high half that the system does not look at.
    for family in ["40", "38", "(1 << 32) + 40"] {
        let call = format!(
            "import ctypes, os; c = ctypes.CDLL(None, use_errno=True); \
             r = c.syscall(ctypes.c_long({}), ctypes.c_long({family}), ctypes.c_long(1), ctypes.c_long(0)); \
             print(r, os.strerror(ctypes.get_errno()))",
            libc::SYS_socket
        );
        let said = boxed.must(&format!("python3 -c '{call}'")).await;
        assert_eq!(said, "-1 Address family not supported by protocol", "{family}");
    }
}

#[tokio::test]
async fn nothing_gives_a_box_more_rights() {
    let place = Place::new();
    let boxed = place.run(&spec()).await;
    let status = boxed.must("grep -E '^(Cap|NoNewPrivs|Seccomp):?' /proc/self/status").await;
    for line in status.lines().filter(|line| line.starts_with("Cap")) {
        assert!(line.ends_with("0000000000000000"), "{status}");
    }
    assert!(status.contains("NoNewPrivs:\t1") && status.contains("Seccomp:\t2"), "{status}");
    boxed.must_not("echo x | su -c id").await;
    boxed.must_not("sudo -n id").await;
    boxed.must_not("mount -t tmpfs none /tmp").await;
    boxed.must_not("umount /proc").await;
    boxed.must_not("unshare -Ur true").await;
    boxed.must_not("unshare -n true").await;
    boxed.must_not("chroot / true").await;
    boxed.must_not("mknod /tmp/disk b 254 0").await;
    boxed.must_not("chown 0 /tmp").await;
    boxed.must_not("hostname other").await;
    boxed.must_not("renice -n -5 $$").await;
    boxed.must_not("echo 1 > /proc/sys/kernel/sysrq").await;
    boxed.must_not("echo c > /proc/sysrq-trigger").await;
    // What has the bit that makes one root does not here, nor where the box could put it.
    boxed.must("cp /usr/bin/id /workspace/id && chmod 6755 /workspace/id && test $(/workspace/id -u) = 1000").await;
    assert_eq!(boxed.must("id -u; id -g; id -G; cat /proc/self/uid_map | wc -l").await, "1000\n1000\n1000\n1");
}

#[tokio::test]
async fn calls_that_need_no_rights_and_open_too_much_are_refused() {
    let place = Place::new();
    let boxed = place.run(&spec()).await;
    // add_key, keyctl, bpf, perf_event_open, userfaultfd, io_uring_setup and one that is none, by their numbers here.
    let numbers = if cfg!(target_arch = "x86_64") { "248,250,321,298,323,425" } else { "217,219,280,241,282,425" };
    let script = format!(
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nfor n in [{numbers}]:\n  assert libc.syscall(n, 0, 0, 0, 0, 0) == -1 and ctypes.get_errno() == 1, (n, ctypes.get_errno())\nassert libc.syscall(0x40000027) == -1 and ctypes.get_errno() == 38\nassert libc.getpid() > 1\n"
    );
    boxed.must(&format!("python3 -c '{script}'")).await;
}

#[tokio::test]
async fn only_what_the_box_keeps_can_be_written() {
    let place = Place::new();
    let boxed = place.run(&spec()).await;
    for path in ["/", "/usr", "/etc", "/etc/ssl", "/bin/x/..", "/dev", "/.longshore", "/home", "/var", "/proc"] {
        boxed.must_not(&format!("echo x > {path}/new")).await;
    }
    boxed.must_not("rm /.longshore/longshore").await;
    boxed.must_not("echo x >> /.longshore/longshore").await;
    boxed.must_not("echo x >> /etc/passwd").await;
    for path in ["/workspace", "/home/agent", "/tmp", "/var/tmp", "/dev/shm"] {
        boxed.must(&format!("echo x > {path}/new")).await;
    }
    boxed.must_not("head -c 80000000 /dev/zero > /dev/shm/big").await;
    boxed.must("echo x > /dev/null && head -c 10 /dev/urandom > /dev/zero && test -c /dev/tty").await;
}

#[tokio::test]
async fn no_descriptor_leaks_into_a_box() {
    let place = Place::new();
    let boxed = place.run(&spec()).await;
    assert_eq!(boxed.must("ls /proc/self/fd | tr '\\n' ' '").await.trim(), "0 1 2 3");
    // Three are the shell's; `ls` opens the fourth to look. The first process has what it waits with, and what it says goes
    // to a file that cannot grow.
    let first = boxed.must("ls -l /proc/1/fd | sed 1d").await;
    for line in first.lines() {
        let target = line.rsplit(" -> ").next().expect("a target");
        let known = ["/dev/null", "anon_inode:[eventfd]", "/memfd:log (deleted)"];
        assert!(known.contains(&target), "{first}");
    }
}

#[tokio::test]
async fn a_box_cannot_pass_for_another() {
    let place = Place::new();
    let (boxed, other) = (place.run(&spec()).await, place.run(&spec()).await);
    place.backend.stop(other.id).await.expect("a stop");
    let name = format!("longshore-box:{}/{}", place.deployment.name, other.id);
    let script = format!("echo up > up; exec -a {name} sleep 1000");
    boxed.must(&format!("setsid bash -c '{script}' > /dev/null 2>&1 & until [ -s up ]; do sleep 0.01; done")).await;
    crate::bubblewrap_support::until("it has the name", || async { place.processes().len() == 3 }).await;
    assert_eq!(place.running(other.id).await, Some(longshore_sandbox::Running::No));
    place.backend.destroy(other.id).await.expect("no box");
    boxed.must("true").await;
}

#[tokio::test]
async fn a_box_dies_before_the_server_when_memory_is_short() {
    let place = Place::new();
    let boxed = place.run(&spec()).await;
    let own: i32 =
        std::fs::read_to_string("/proc/self/oom_score_adj").expect("a score").trim().parse().expect("a number");
    let inside: i32 = boxed.must("cat /proc/self/oom_score_adj").await.parse().expect("a number");
    assert!(inside > own);
}

#[tokio::test]
async fn a_box_is_nobody_on_the_machine() {
    let place = Place::new();
    let boxed = place.run(&spec()).await;
    boxed.must("true").await;
    for process in place.processes() {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
        let users = status.lines().find_map(|line| line.strip_prefix("Uid:")).expect("its user");
        let groups = status.lines().find_map(|line| line.strip_prefix("Groups:")).expect("its groups");
        if is_root() {
            assert!(
                users.split_whitespace().all(|user| place.options.uids.contains(&user.parse().expect("a number"))),
                "{users}"
            );
            assert!(groups.trim().is_empty(), "{groups}");
        }
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    }
}
