//! A place that is elsewhere, over connections that break.

use std::{fs, io, sync::Arc, time::Duration};

use longshore_workspace::{
    Command, Error, ExitStatus, Parents, Process, Remote, RemoteOptions, Signal, TerminalSize, Workspace,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    boxd::Setup,
    flaky::{Flaky, Limit},
    support::{DEADLINE, Place, content, read_until, sh, until},
};

/// A workspace in the place, over connections that break.
fn over(place: &Place, limits: impl IntoIterator<Item = Limit>) -> (Flaky, Remote) {
    let boxd = place.boxd.as_ref().expect("a place that is elsewhere");
    let flaky = Flaky::new(boxd.socket(), limits);
    let remote = Remote::new(Arc::new(flaky.clone()), RemoteOptions::new(place.workspace.working_dir()));
    (flaky, remote)
}

fn new() -> Place {
    Place::remote(Setup::default())
}

/// Many connections over which `from` bytes come and `to` bytes go.
fn often(from: u64, to: u64) -> impl Iterator<Item = Limit> {
    std::iter::repeat_n(Limit { from, to }, 200)
}

fn numbers(last: u32) -> String {
    let mut text = String::new();
    for number in 1..=last {
        text.push_str(&number.to_string());
        text.push('\n');
    }
    text
}

async fn end(process: &mut Process) -> ExitStatus {
    let waiting = process.control.wait();
    tokio::time::timeout(DEADLINE, waiting).await.expect("in time").expect("an end")
}

#[tokio::test]
async fn output_is_neither_lost_nor_doubled() {
    let place = new();
    let (flaky, remote) = over(&place, often(200_000, u64::MAX));
    let mut process = remote.spawn(sh("seq 1 300000 & seq 1 200000 >&2; wait; exit 3")).await.expect("it starts");
    let (mut stdout, mut stderr) = (String::new(), String::new());
    let (one, other) =
        tokio::join!(process.stdout.read_to_string(&mut stdout), process.stderr.read_to_string(&mut stderr));
    one.expect("output");
    other.expect("errors");
    assert!(stdout == numbers(300_000) && stderr == numbers(200_000));
    assert_eq!(end(&mut process).await, ExitStatus::Exited(3));
    assert!(flaky.made() > 10, "{}", flaky.made());
}

#[tokio::test]
async fn input_is_neither_lost_nor_doubled() {
    // On its way, and when it has arrived and nobody knows.
    let unknown: Vec<_> = (150..650).step_by(11).map(|from| Limit { from, ..Limit::NONE }).collect();
    for limits in [often(u64::MAX, 100_000).collect(), unknown] {
        let place = new();
        let (flaky, remote) = over(&place, limits);
        let mut process = remote.spawn(sh("cat >got; echo got")).await.expect("it starts");
        let mut stdin = process.stdin.take().expect("an input");
        stdin.write_all(numbers(400_000).as_bytes()).await.expect("it takes input");
        drop(stdin);
        read_until(&mut process.stdout, "got").await;
        assert!(fs::read(place.path("got")).expect("the file") == numbers(400_000).as_bytes());
        assert!(flaky.made() > 10, "{}", flaky.made());
    }
}

#[tokio::test]
async fn a_flush_waits_until_the_process_has_everything() {
    let place = new();
    let (flaky, remote) = over(&place, []);
    let mut process = remote.spawn(sh("read line; echo $line; exec sleep 1000")).await.expect("it starts");
    let mut stdin = process.stdin.take().expect("an input");
    flaky.cut();
    stdin.write_all(b"hello\n").await.expect("it takes input");
    stdin.flush().await.expect("it is delivered");
    flaky.close(io::ErrorKind::NotConnected);
    stdin.write_all(b"lost\n").await.expect("it takes input");
    let error = stdin.flush().await.expect_err("it cannot be delivered");
    assert!(error.to_string().contains("closed by the test"), "{error}");
    flaky.open();
    read_until(&mut process.stdout, "hello").await;
}

#[tokio::test]
async fn a_process_starts_once_wherever_the_connection_breaks() {
    let place = new();
    let limits = (10..700).step_by(15);
    let limits =
        limits.clone().map(|from| Limit { from, ..Limit::NONE }).chain(limits.map(|to| Limit { to, ..Limit::NONE }));
    let mut count = 0;
    for limit in limits {
        let (_, remote) = over(&place, [limit]);
        let mut process =
            remote.spawn(sh("echo x >>started; echo out; echo err >&2; exit 5")).await.expect("it starts");
        count += 1;
        let (mut stdout, mut stderr) = (String::new(), String::new());
        process.stdout.read_to_string(&mut stdout).await.expect("output");
        process.stderr.read_to_string(&mut stderr).await.expect("errors");
        assert_eq!((&*stdout, &*stderr), ("out\n", "err\n"), "{limit:?}");
        assert_eq!(end(&mut process).await, ExitStatus::Exited(5), "{limit:?}");
        assert_eq!(fs::read_to_string(place.path("started")).expect("the file").lines().count(), count, "{limit:?}");
    }
}

#[tokio::test]
async fn the_end_is_told_over_another_connection() {
    let place = new();
    let (flaky, remote) = over(&place, []);
    let mut process = remote.spawn(sh("while [ ! -e go ]; do sleep 0.01; done; exit 7")).await.expect("it starts");
    {
        let waiting = process.control.wait();
        tokio::pin!(waiting);
        for _ in 0..3 {
            let made = flaky.made();
            flaky.cut();
            tokio::select! {
                _ = &mut waiting => panic!("it runs"),
                () = until("another connection", || flaky.made() > made) => {}
            }
        }
        fs::write(place.path("go"), "").expect("a file");
        assert_eq!(waiting.await.expect("an end"), ExitStatus::Exited(7));
    }
    flaky.close(io::ErrorKind::NotConnected);
    assert_eq!(end(&mut process).await, ExitStatus::Exited(7));
    flaky.open();
}

#[tokio::test]
async fn a_terminal_goes_on() {
    let place = new();
    let (flaky, remote) = over(&place, []);
    let bash = Command::new("bash").args(["--norc", "--noprofile", "-i"]).env("PS1", "ready>");
    let mut terminal = remote.open_terminal(bash, TerminalSize { rows: 30, columns: 100 }).await.expect("a terminal");
    read_until(&mut terminal.output, "ready>").await;
    for round in 0..5 {
        flaky.cut();
        terminal.input.write_all(format!("echo ro\"\"und {round}\n").as_bytes()).await.expect("it takes input");
        terminal.input.flush().await.expect("it is delivered");
        flaky.cut();
        read_until(&mut terminal.output, &format!("round {round}")).await;
    }
    flaky.cut();
    terminal.control.resize(TerminalSize { rows: 9, columns: 8 }).await.expect("another size");
    terminal.input.write_all(b"stty size\n").await.expect("it takes input");
    read_until(&mut terminal.output, "9 8").await;
}

#[tokio::test]
async fn a_file_is_read_over_many_connections() {
    let place = new();
    let (flaky, remote) = over(&place, often(300_000, u64::MAX));
    fs::write(place.path("file"), numbers(500_000)).expect("a file");
    assert!(content(&remote, "file", 7).await.expect("the file") == numbers(500_000).as_bytes()[7..]);
    assert!(flaky.made() > 5, "{}", flaky.made());
}

#[tokio::test]
async fn a_file_that_changed_is_not_mixed_with_what_it_was() {
    let place = new();
    let (flaky, remote) = over(&place, []);
    fs::write(place.path("file"), numbers(1_000_000)).expect("a file");
    let (_, mut reader) = remote.read("file".as_ref(), 0).await.expect("the file");
    reader.read_exact(&mut [0; 1000]).await.expect("its beginning");
    fs::write(place.path("file"), numbers(1_000_001)).expect("another file");
    flaky.cut();
    let error = reader.read_to_end(&mut Vec::new()).await.expect_err("it is another file");
    assert!(error.to_string().contains("changed"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_cut_off_leaves_no_trace() {
    let place = new();
    let (_, remote) = over(&place, [Limit { to: 1_000_000, ..Limit::NONE }]);
    fs::write(place.path("file"), "old").expect("a file");
    let mut writer = remote.write("file".as_ref(), Parents::Required).await.expect("a writer");
    let text = numbers(500_000);
    let written = match writer.write(text.as_bytes()).await {
        Ok(()) => writer.finish().await,
        failed => failed,
    };
    let error = written.expect_err("it is cut off");
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    let names = || fs::read_dir(place.folder.path()).expect("the folder").count();
    until("the temporary file vanishes", || names() == 1).await;
    assert_eq!(content(&remote, "file", 0).await.expect("the file"), b"old");
}

#[tokio::test]
async fn what_may_have_been_done_is_not_done_again() {
    let place = new();
    // Enough for a hello, and for some of what follows.
    for from in (60..140).step_by(10) {
        let (_, remote) = over(&place, [Limit { from, ..Limit::NONE }]);
        fs::write(place.path("one"), "").expect("a file");
        match remote.rename("one".as_ref(), "other".as_ref()).await {
            Ok(()) => {}
            Err(Error::Unreachable { cause }) => assert!(cause.to_string().contains("may be done"), "{cause}"),
            Err(error) => panic!("{from}: {error}"),
        }
    }
}

#[tokio::test]
async fn output_waits_for_a_server_that_is_away() {
    let place = new();
    let (flaky, remote) = over(&place, []);
    let script = "seq 1 100000; touch part; seq 100001 500000";
    let mut process = remote.spawn(sh(script)).await.expect("it starts");
    let mut stdout = read_until(&mut process.stdout, "\n1000\n").await;
    flaky.close(io::ErrorKind::ConnectionRefused);
    // It goes on as far as there is room.
    until("it goes on", || place.path("part").exists()).await;
    flaky.open();
    process.stdout.read_to_string(&mut stdout).await.expect("output");
    assert!(stdout == numbers(500_000));
}

#[tokio::test]
async fn output_that_was_lost_is_told() {
    let place = Place::remote(Setup { hold: Some(Duration::ZERO), ..Setup::default() });
    let (flaky, remote) = over(&place, []);
    let script = "while [ ! -e go ]; do sleep 0.01; done; seq 1 500000; touch written; exec sleep 1000";
    let mut process = remote.spawn(sh(script)).await.expect("it starts");
    flaky.close(io::ErrorKind::ConnectionRefused);
    fs::write(place.path("go"), "").expect("a file");
    until("it goes on without a server", || place.path("written").exists()).await;
    flaky.open();
    let mut lost = Vec::new();
    let error = process.stdout.read_to_end(&mut lost).await.expect_err("something is lost");
    assert!(error.to_string().contains("lost"), "{error}");
    assert!(lost.is_empty());
    let rest = read_until(&mut process.stdout, "\n500000\n").await;
    assert!(rest.len() >= 1 << 20 && numbers(500_000).ends_with(&rest));
}

#[tokio::test]
async fn a_process_waits_for_a_server_that_does_not_read() {
    let place = new();
    let (_, remote) = over(&place, []);
    let script = "while :; do head -c 65536 /dev/zero; echo >>written; done";
    let mut process = remote.spawn(sh(script)).await.expect("it starts");
    process.stdout.read_exact(&mut [0; 1000]).await.expect("output");
    let written = || fs::read(place.path("written")).map_or(0, |lines| lines.len());
    let mut last = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        if written() == last && last > 0 {
            break;
        }
        last = written();
    }
    assert!(last * 65_536 < 1 << 20, "{last}");
    process.stdout.read_exact(&mut vec![0; 4 << 20]).await.expect("output");
    until("it goes on", || written() > last).await;
}

#[tokio::test]
async fn small_parts_that_nobody_reads_become_large_ones() {
    let place = new();
    let (_, remote) = over(&place, []);
    let script = "i=0; while [ $i -lt 20000 ]; do printf x; i=$((i+1)); done; touch written";
    let mut process = remote.spawn(sh(script)).await.expect("it starts");
    until("all is written", || place.path("written").exists()).await;
    let (mut parts, mut read) = (0, 0);
    while read < 20_000 {
        read += process.stdout.read(&mut vec![0; 1 << 20]).await.expect("output");
        parts += 1;
    }
    assert!(parts < 100, "{parts}");
}

#[tokio::test]
async fn a_connection_is_made_again_for_processes_that_somebody_holds() {
    let place = new();
    let (flaky, remote) = over(&place, []);
    let process = remote.spawn(sh("exec sleep 1000")).await.expect("it starts");
    flaky.cut();
    until("another connection", || flaky.made() == 2).await;
    drop(process);
}

#[tokio::test]
async fn a_process_that_is_dropped_while_it_cannot_be_reached_ends_later() {
    let place = new();
    let (flaky, remote) = over(&place, []);
    let mut dropped = remote.spawn(sh("echo up; exec sleep 1000")).await.expect("it starts");
    let mut kept = remote.spawn(sh("echo up; exec sleep 1000")).await.expect("it starts");
    read_until(&mut dropped.stdout, "up").await;
    read_until(&mut kept.stdout, "up").await;
    flaky.close(io::ErrorKind::NotConnected);
    drop(dropped);
    assert!(matches!(remote.ready().await, Err(Error::Unreachable { .. })));
    assert_eq!(place.processes().len(), 2);
    flaky.open();
    remote.ready().await.expect("an answer");
    until("one ends", || place.processes().len() == 1).await;
    kept.control.signal(Signal::Kill).await.expect("a signal");
    assert_eq!(end(&mut kept).await, ExitStatus::Signaled(9));
}

#[tokio::test]
async fn processes_of_a_server_that_stays_away_end() {
    let place = Place::remote(Setup { linger: Some(Duration::from_millis(100)), ..Setup::default() });
    let (flaky, remote) = over(&place, []);
    let mut process = remote.spawn(sh("echo up; exec sleep 1000")).await.expect("it starts");
    read_until(&mut process.stdout, "up").await;
    flaky.close(io::ErrorKind::NotConnected);
    until("it ends", || place.processes().is_empty()).await;
    flaky.open();
    let error = process.control.wait().await.expect_err("nobody knows it");
    assert!(error.to_string().contains("gone"), "{error}");
}

#[tokio::test]
async fn a_server_has_its_own_processes_only() {
    let place = new();
    let (_, remote) = over(&place, []);
    let mut process = remote.spawn(sh("echo up; exec sleep 1000")).await.expect("it starts");
    read_until(&mut process.stdout, "up").await;
    // Another one's hello names none of its processes.
    let (_, other) = over(&place, []);
    other.ready().await.expect("an answer");
    drop(other);
    process.control.signal(Signal::Terminate).await.expect("a signal");
    assert_eq!(end(&mut process).await, ExitStatus::Signaled(15));
}

#[tokio::test]
async fn connections_make_room_for_new_ones() {
    let place = new();
    let (first, remote) = over(&place, []);
    let mut process = remote.spawn(sh("cat")).await.expect("it starts");
    let socket = place.boxd.as_ref().expect("a boxd").socket();
    // Who says nothing goes first.
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(tokio::net::UnixStream::connect(&socket).await.expect("a connection"));
    }
    silent[0].read_to_end(&mut Vec::new()).await.expect("it is closed");
    let mut stdin = process.stdin.take().expect("an input");
    stdin.write_all(b"hello").await.expect("it takes input");
    read_until(&mut process.stdout, "hello").await;
    assert_eq!(first.made(), 1);
    // Then who was first.
    let others: Vec<_> = (0..4).map(|_| over(&place, []).1).collect();
    for other in &others {
        other.ready().await.expect("an answer");
    }
    stdin.write_all(b" again").await.expect("it takes input");
    read_until(&mut process.stdout, " again").await;
    assert!(first.made() > 1);
}

#[tokio::test]
async fn what_cannot_be_reached_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let flaky = Flaky::new(folder.path().join("nothing"), []);
    let mut options = RemoteOptions::new("/");
    options.patience = Duration::from_millis(100);
    let remote = Remote::new(Arc::new(flaky.clone()), options.clone());
    let error = remote.ready().await.expect_err("nobody is there");
    assert!(matches!(error, Error::Unreachable { .. }) && error.to_string().contains("No such file"), "{error}");

    // Where it is known that nothing is there, nobody waits.
    let place = new();
    let (flaky, _) = over(&place, []);
    options.patience = Duration::from_hours(1);
    flaky.close(io::ErrorKind::NotConnected);
    let remote = Remote::new(Arc::new(flaky), options);
    let error = remote.spawn(sh("true")).await.expect_err("it is closed");
    assert!(error.to_string().contains("closed by the test"), "{error}");
}
