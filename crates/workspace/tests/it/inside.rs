//! What a `boxd` does besides serving a workspace.

use std::{
    io::Read as _,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixStream},
    },
    path::Path,
    sync::Arc,
};

use longshore_workspace::{Command, Error, ExitStatus, Remote, RemoteOptions, Workspace as _, boxd::PROXY_PORT};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::{
    boxd::{Relay, Setup},
    flaky::Flaky,
    support::{DEADLINE, Place, read_until, sh, until},
};

async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("its address").port()
}

async fn proxied() -> (Place, Remote, u16) {
    let port = free_port().await;
    let place = Place::remote(Setup { proxy_port: Some(port), ..Setup::default() });
    let remote = place.boxd.as_ref().expect("a boxd").remote();
    remote.ready().await.expect("an answer");
    (place, remote, port)
}

#[tokio::test]
async fn processes_get_all_of_its_environment() {
    let variables = vec![("GIT_DIR".to_owned(), "/elsewhere".to_owned()), ("MY_KEY".to_owned(), "a\"b".to_owned())];
    let place = Place::remote(Setup { variables, ..Setup::default() });
    let run = place.run(Command::new("env").env("EXTRA", "1")).await;
    for line in ["GIT_DIR=/elsewhere", "MY_KEY=a\"b", "EXTRA=1", "AI_AGENT=openhands"] {
        assert!(run.stdout.lines().any(|found| found == line), "{line}: {}", run.stdout);
    }
    assert!(!run.stdout.to_lowercase().contains("_proxy="), "{}", run.stdout);
}

#[tokio::test]
async fn programs_reach_the_server_through_the_proxys_port() {
    let (place, remote, port) = proxied().await;
    let script = "exec 3<>/dev/tcp/127.0.0.1/${HTTP_PROXY##*:}; printf 'question\\n' >&3; cat <&3";
    let mut process = place.workspace.spawn(Command::new("bash").arg("-c").arg(script)).await.expect("it starts");
    let (mut reader, mut writer) = remote.accept().await.expect("a connection");
    let mut question = [0; 9];
    reader.read_exact(&mut question).await.expect("a question");
    assert_eq!(&question, b"question\n");
    writer.write_all(b"answer").await.expect("it takes an answer");
    writer.shutdown().await.expect("its end");
    let mut answer = String::new();
    process.stdout.read_to_string(&mut answer).await.expect("output");
    assert_eq!(answer, "answer");
    assert_eq!(process.control.wait().await.expect("an end"), ExitStatus::Exited(0));
    assert_eq!(reader.read(&mut question).await.expect("the end"), 0);

    let run = place.sh("env | grep -i _proxy= | sort").await;
    let expected = format!(
        "ALL_PROXY=socks5h://127.0.0.1:{port}\nHTTPS_PROXY=http://127.0.0.1:{port}\nHTTP_PROXY=http://127.0.0.1:{port}\n\
         NO_PROXY=localhost,127.0.0.1,::1\nall_proxy=socks5h://127.0.0.1:{port}\nhttp_proxy=http://127.0.0.1:{port}\n\
         https_proxy=http://127.0.0.1:{port}\nno_proxy=localhost,127.0.0.1,::1\n"
    );
    let mut lines: Vec<_> = run.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines.join("\n") + "\n", expected);
    assert_eq!(PROXY_PORT, 13128);
}

#[tokio::test]
async fn each_program_gets_its_own_connection() {
    let (place, remote, _) = proxied().await;
    let echo = tokio::spawn(async move {
        for _ in 0..40 {
            let (mut reader, mut writer) = remote.accept().await.expect("a connection");
            tokio::spawn(async move {
                tokio::io::copy(&mut reader, &mut writer).await.expect("a copy");
                writer.shutdown().await.expect("its end");
            });
        }
    });
    let runs = (0..40).map(|number| {
        let script = format!(
            "exec 3<>/dev/tcp/127.0.0.1/${{HTTP_PROXY##*:}}; echo {number} >&3; read line <&3; echo $line; exit {number}"
        );
        let place = &place;
        async move {
            let run = place.run(Command::new("bash").arg("-c").arg(script)).await;
            assert_eq!((run.stdout, run.status), (format!("{number}\n"), ExitStatus::Exited(number)));
        }
    });
    futures::future::join_all(runs).await;
    echo.await.expect("all are served");
}

#[tokio::test]
async fn a_connection_that_nobody_takes_is_closed() {
    let (place, remote, port) = proxied().await;
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
    assert_eq!(stream.read_to_end(&mut Vec::new()).await.expect("the end"), 0);
    // One that comes later is not among them.
    let (accepted, stream) = tokio::join!(remote.accept(), tokio::net::TcpStream::connect(("127.0.0.1", port)));
    let (mut reader, _writer) = accepted.expect("a connection");
    stream.expect("a connection").write_all(b"hello").await.expect("a write");
    read_until(&mut reader, "hello").await;
    drop(place);
}

#[tokio::test]
async fn what_is_said_last_is_heard() {
    let (place, remote, port) = proxied().await;
    for _ in 0..20 {
        let connect = tokio::net::TcpStream::connect(("127.0.0.1", port));
        let (accepted, stream) = tokio::join!(remote.accept(), connect);
        let ((reader, mut writer), mut stream) = (accepted.expect("a connection"), stream.expect("a connection"));
        stream.write_all(b"may I?").await.expect("a write");
        writer.write_all(b"no").await.expect("a write");
        drop((reader, writer));
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.expect("an end in order");
        assert_eq!(heard, b"no");
    }
    drop(place);
}

#[tokio::test]
async fn a_place_without_a_proxy_says_so() {
    let place = Place::remote(Setup::default());
    let error = place.boxd.as_ref().expect("a boxd").remote().accept().await.err().expect("there is none");
    assert!(matches!(&error, Error::Io { .. }) && error.to_string().contains("proxy"), "{error}");
}

#[tokio::test]
async fn a_relay_passes_everything() {
    let place = Place::remote(Setup::default());
    let socket = place.boxd.as_ref().expect("a boxd").socket();
    let remote = Remote::new(Arc::new(Relay(socket)), RemoteOptions::new(place.workspace.working_dir()));
    let mut process = remote.spawn(Command::new("cat")).await.expect("it starts");
    let mut stdin = process.stdin.take().expect("an input");
    let much: Vec<u8> = (0..251).cycle().take(5_000_000).collect();
    let (written, mut read) = (much.clone(), Vec::new());
    let writing = tokio::spawn(async move {
        stdin.write_all(&written).await.expect("it takes input");
        stdin.shutdown().await.expect("its end");
    });
    process.stdout.read_to_end(&mut read).await.expect("output");
    writing.await.expect("all is written");
    assert!(read == much);
}

#[tokio::test]
async fn processes_of_its_box_cannot_end_it() {
    let place = Place::remote(Setup::default());
    place.workspace.metadata("".as_ref()).await.expect("it is up");
    let pid = place.boxd.as_ref().expect("a boxd").pid();
    place.must(&format!("kill -TERM {pid} && kill -INT {pid} && kill -HUP {pid}")).await;
    place.must("true").await;
}

#[tokio::test]
async fn it_collects_orphans_and_nobody_else() {
    let place = Place::remote(Setup::default());
    let mut held = place.workspace.spawn(sh("echo $$; exit 3")).await.expect("it starts");
    let held_number = read_until(&mut held.stdout, "\n").await;
    assert_eq!(held.control.wait().await.expect("an end"), ExitStatus::Exited(3));
    let run = place.sh("setsid sh -c 'exec sleep 0.05' >/dev/null 2>&1 & echo $!").await;
    let listed = |number: &str| Path::new("/proc").join(number.trim()).exists();
    until("the orphan is collected", || !listed(&run.stdout)).await;
    // As long as somebody holds a process, its number is nobody else's.
    assert!(listed(&held_number));
    drop(held);
    until("it is collected", || !listed(&held_number)).await;
}

#[tokio::test]
async fn nothing_outlives_it() {
    let place = Place::remote(Setup::default());
    let script = "setsid sh -c 'trap \"\" HUP TERM INT; echo up; sleep 1000; sleep 1000' & exit 0";
    let mut process = place.workspace.spawn(sh(script)).await.expect("it starts");
    read_until(&mut process.stdout, "up").await;
    drop(process);
    assert!(!place.processes().is_empty());
    // The place sees to it that nothing is left.
}

#[tokio::test]
async fn the_number_of_processes_is_limited() {
    let place = Place::remote(Setup::default());
    let start = || place.workspace.spawn(Command::new("true"));
    let mut held = Vec::new();
    for _ in 0..16 {
        held.extend(
            futures::future::join_all((0..32).map(|_| start())).await.into_iter().map(|made| made.expect("one")),
        );
    }
    let error = start().await.expect_err("it is one too many");
    assert!(error.to_string().contains("512"), "{error}");
    held.pop();
    // Its end is on its way.
    let another = async {
        while start().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, another).await.expect("in time");
}

#[tokio::test]
async fn a_command_has_a_size() {
    let place = Place::remote(Setup::default());
    let error = place.workspace.spawn(Command::new("true").arg("x".repeat(5 << 20))).await.expect_err("it is too long");
    assert!(error.to_string().contains("4194304"), "{error}");
    // The system's own limit is another.
    let error = place.workspace.spawn(Command::new("true").arg("x".repeat(3 << 20))).await.expect_err("it is too long");
    assert!(
        matches!(&error, Error::Io { cause, .. } if cause.kind() == std::io::ErrorKind::ArgumentListTooLong),
        "{error}"
    );
}

#[tokio::test]
async fn a_socket_without_a_file_is_for_its_own_user() {
    let name = format!("longshore-test-{}", uuid::Uuid::new_v4());
    let place = Place::remote(Setup { name: Some(name.clone()), ..Setup::default() });
    let address = SocketAddr::from_abstract_name(&name).expect("an address");
    until("it listens", || UnixStream::connect_addr(&address).is_ok()).await;
    let hear = |user: u32| {
        let address = address.clone();
        let hear = move || {
            become_user(user);
            // It speaks first.
            UnixStream::connect_addr(&address).expect("a connection").read(&mut [0; 9]).unwrap_or(0)
        };
        tokio::task::spawn_blocking(move || std::thread::spawn(hear).join().expect("an answer"))
    };
    assert_eq!(hear(rustix::process::getuid().as_raw()).await.expect("an answer"), 9);
    if rustix::process::getuid().is_root() {
        assert_eq!(hear(65_534).await.expect("an answer"), 0);
    }
    drop(place);
}

/// Makes this thread, and no other, one of another user.
#[expect(unsafe_code, reason = "the library changes the user of all threads")]
fn become_user(user: u32) {
    // SAFETY: the call takes three numbers; nothing that other threads rely on depends on this thread's user.
    let changed = unsafe { libc::syscall(libc::SYS_setresuid, user, user, user) };
    assert_eq!(changed, 0, "the user can be changed");
}

#[tokio::test]
async fn what_an_earlier_server_left_makes_room() {
    let place = Place::remote(Setup::default());
    let boxd = place.boxd.as_ref().expect("a boxd");
    let flaky = Flaky::new(boxd.socket(), []);
    let earlier = Remote::new(Arc::new(flaky.clone()), RemoteOptions::new("/"));
    let mut left = earlier.spawn(sh("exit 3")).await.expect("it starts");
    left.control.wait().await.expect("an end");
    let mut running = earlier.spawn(sh("echo up; exec sleep 1000")).await.expect("it starts");
    read_until(&mut running.stdout, "up").await;
    flaky.close(std::io::ErrorKind::NotConnected);
    let later = boxd.remote();
    let mut held = Vec::new();
    for _ in 0..511 {
        held.push(later.spawn(Command::new("true")).await.expect("it starts"));
    }
    let error = later.spawn(Command::new("true")).await.expect_err("it is one too many");
    assert!(error.to_string().contains("512"), "{error}");
    assert_eq!(place.processes().len(), 1);
}
