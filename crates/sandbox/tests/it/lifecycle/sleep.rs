//! Boxes that sleep when nobody uses them, and what wakes them.

use longshore_store::At;
use std::time::Duration;

use longshore_protocol::sandbox::{SandboxOptions, SandboxState};
use longshore_sandbox::{Error, Place, Running, Sandboxes};
use longshore_workspace::{Command, Parents, Signal, Terminal, TerminalSize, Workspace as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::task::AbortOnDropHandle;

use super::world::{
    World, events, id, idle_after, info, owner, state, states, touch, until, until_state, until_states,
};

const SIZE: TerminalSize = TerminalSize { rows: 24, columns: 80 };

fn sleeper() -> Command {
    Command::new("sleep").arg("1000")
}

async fn pause(server: &Sandboxes) {
    server.pause(&owner("ann"), At::Own).await.expect("it can sleep");
    assert_eq!(state(server, "ann"), Some(SandboxState::Paused));
}

#[tokio::test]
async fn an_unused_box_sleeps_and_the_next_use_wakes_it() {
    let world = World::new();
    let server = world.serve().await;
    let place = world.place_with(&server, "ann", idle_after(1));
    touch(&place).await;
    until_state(&server, "ann", SandboxState::Paused).await;
    assert_eq!(world.machine.boxes()[&id(&server, "ann")], Running::Paused);
    touch(&place).await;
    assert_eq!(world.machine.boxes()[&id(&server, "ann")], Running::Yes);
    let all = [SandboxState::Starting, SandboxState::Ready, SandboxState::Paused, SandboxState::Ready];
    let reasons = until_states(&server, "ann", &all).await;
    assert_eq!(reasons[2..], ["nobody used it", "it is used again"]);
}

#[tokio::test]
async fn every_kind_of_use_wakes_a_box() {
    let world = World::new();
    let server = world.serve().await;
    let place = world.place_with(&server, "ann", idle_after(0));
    std::fs::write(place.working_dir().join("file"), "").expect("a file");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("a port").port();
    let mut terminal = place.open_terminal(Command::new("cat"), SIZE).await.expect("a terminal");
    let mut woken = 0;
    macro_rules! wakes {
        ($use:expr) => {
            pause(&server).await;
            $use.await.expect(stringify!($use));
            woken += 1;
            assert_eq!(info(&server, "ann").state, SandboxState::Ready, "{}", stringify!($use));
            assert_eq!(world.machine.count("resume"), woken, "{}", stringify!($use));
        };
    }
    wakes!(place.spawn(sleeper()));
    wakes!(place.open_terminal(sleeper(), SIZE));
    wakes!(place.read("file".as_ref(), 0));
    wakes!(place.write("other".as_ref(), Parents::Required));
    wakes!(place.metadata("file".as_ref()));
    wakes!(place.list(".".as_ref()));
    wakes!(place.create_dir("folder".as_ref()));
    wakes!(place.canonicalize("file".as_ref()));
    wakes!(place.rename("file".as_ref(), "renamed".as_ref()));
    wakes!(place.remove("renamed".as_ref()));
    wakes!(place.dial(port));
    wakes!(terminal.input.write_all(b"typed\n"));
    wakes!(terminal.control.resize(SIZE));
    wakes!(terminal.control.signal_foreground(Signal::Continue));
    wakes!(terminal.control.signal(Signal::Continue));
    wakes!(server.resume(&owner("ann"), At::Own));
}

#[tokio::test]
async fn what_is_typed_while_a_box_sleeps_is_not_lost() {
    let world = World::new();
    let server = world.serve().await;
    let place = world.place_with(&server, "ann", idle_after(1));
    let mut terminal = place.open_terminal(Command::new("cat"), SIZE).await.expect("a terminal");
    for _ in 0..2 {
        until_state(&server, "ann", SandboxState::Paused).await;
        terminal.input.write_all(b"typed\n").await.expect("a way in");
        let mut shown = String::new();
        while shown.matches("typed").count() < 2 {
            let mut bytes = [0; 100];
            let count = terminal.output.read(&mut bytes).await.expect("an echo");
            shown.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    }
}

/// Lets Ann do something that lasts, and Ben sleep twice meanwhile. Returns what Ann's box did.
async fn meanwhile<T>(lasting: impl AsyncFnOnce(&Place) -> T) -> Vec<SandboxState> {
    let world = World::new();
    let server = world.serve().await;
    let (ann, ben) = (world.place_with(&server, "ann", idle_after(1)), world.place_with(&server, "ben", idle_after(1)));
    let what = lasting(&ann).await;
    touch(&ann).await;
    for _ in 0..2 {
        touch(&ben).await;
        until_state(&server, "ben", SandboxState::Paused).await;
    }
    let all = states(&events(&server, "ann").await).0;
    drop(what);
    if !all.contains(&SandboxState::Paused) {
        until_state(&server, "ann", SandboxState::Paused).await;
    }
    all
}

#[tokio::test]
async fn what_runs_keeps_a_box_awake_until_it_ends() {
    let awake = [SandboxState::Starting, SandboxState::Ready];
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("a port").port();
    let (process, token, reading, writing, connection) = tokio::join!(
        meanwhile(async |place| place.spawn(sleeper()).await.expect("a process")),
        meanwhile(async |place| place.stay_awake()),
        meanwhile(async |place| place.read("store.db".as_ref(), 0).await.expect("a file")),
        meanwhile(async |place| place.write("file".as_ref(), Parents::Required).await.expect("a file")),
        meanwhile(async |place| place.dial(port).await.expect("a connection")),
    );
    for states in [process, token, reading, writing, connection] {
        assert_eq!(states, awake);
    }
}

#[tokio::test]
async fn each_half_of_a_connection_keeps_a_box_awake() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("a port").port();
    let (reader, writer) = tokio::join!(
        meanwhile(async |place| place.dial(port).await.expect("a connection").0),
        meanwhile(async |place| place.dial(port).await.expect("a connection").1),
    );
    assert_eq!((reader.len(), writer.len()), (2, 2));
}

#[tokio::test]
async fn an_open_terminal_in_which_nothing_happens_does_not_keep_a_box_awake() {
    let states = meanwhile(async |place| place.open_terminal(sleeper(), SIZE).await.expect("a terminal")).await;
    assert!(states.contains(&SandboxState::Paused), "{states:?}");
}

#[tokio::test]
async fn what_a_terminal_shows_keeps_its_box_awake() {
    let states = meanwhile(async |place| {
        let script = Command::new("sh").args(["-c", "while sleep 0.02; do echo x; done"]);
        let Terminal { mut output, input, control } = place.open_terminal(script, SIZE).await.expect("a terminal");
        let reading = tokio::spawn(async move {
            let mut bytes = [0; 100];
            while output.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
        });
        (AbortOnDropHandle::new(reading), input, control)
    });
    assert_eq!(states.await, [SandboxState::Starting, SandboxState::Ready]);
}

#[tokio::test]
async fn a_box_whose_user_wants_it_awake_never_sleeps() {
    let world = World::new();
    let server = world.serve().await;
    let never = SandboxOptions { idle_timeout: Some(0), ..SandboxOptions::default() };
    let (ann, ben) = (world.place_with(&server, "ann", never), world.place_with(&server, "ben", idle_after(1)));
    touch(&ann).await;
    for _ in 0..2 {
        touch(&ben).await;
        until_state(&server, "ben", SandboxState::Paused).await;
    }
    assert_eq!(state(&server, "ann"), Some(SandboxState::Ready));
}

#[tokio::test]
async fn a_box_that_hangs_does_not_keep_the_others_awake() {
    let world = World::new();
    let server = world.serve().await;
    let (ann, ben) = (world.place_with(&server, "ann", idle_after(1)), world.place_with(&server, "ben", idle_after(1)));
    touch(&ann).await;
    touch(&ben).await;
    world.machine.hold("pause");
    until("both fall asleep", async || world.machine.count("pause") == 2).await;
    world.machine.release("pause");
    until_state(&server, "ann", SandboxState::Paused).await;
    until_state(&server, "ben", SandboxState::Paused).await;
}

#[tokio::test]
async fn whoever_comes_while_a_box_falls_asleep_wakes_it() {
    let world = World::new();
    let server = world.serve().await;
    let place = world.place(&server, "ann");
    touch(&place).await;
    world.machine.hold("paused");
    let asleep = {
        let server = server.clone();
        tokio::spawn(async move { server.pause(&owner("ann"), At::Own).await })
    };
    until("it falls asleep", async || world.machine.count("paused") > 0).await;
    let used = tokio::spawn(async move { touch(&place).await });
    // Nobody is let in before it sleeps.
    tokio::task::yield_now().await;
    assert_eq!(world.machine.count("resume"), 0);
    world.machine.release("paused");
    asleep.await.expect("an answer").expect("it slept");
    used.await.expect("a use");
    assert_eq!((state(&server, "ann"), world.machine.count("resume")), (Some(SandboxState::Ready), 1));
}

#[tokio::test]
async fn a_box_that_cannot_be_put_to_sleep_or_woken_stays_as_it_is() {
    let world = World::new();
    let server = world.serve().await;
    let place = world.place(&server, "ann");
    touch(&place).await;
    let refusal = Error::Invalid("not now".to_owned());
    world.machine.refuse("pause", Some(refusal.clone()));
    server.pause(&owner("ann"), At::Own).await.expect_err("it is refused");
    touch(&place).await;
    assert_eq!(world.machine.count("resume"), 0);
    world.machine.refuse("pause", None);
    pause(&server).await;
    world.machine.refuse("resume", Some(refusal));
    let told = place.metadata(".".as_ref()).await.expect_err("it is refused").to_string();
    assert!(told.contains("not now"), "{told}");
    assert_eq!(state(&server, "ann"), Some(SandboxState::Paused));
    world.machine.refuse("resume", None);
    touch(&place).await;
    assert_eq!(world.machine.count("create"), 1);
}

#[tokio::test]
async fn a_command_is_ended_when_its_time_is_over() {
    let world = World::new();
    let server = world.serve().await;
    let short = SandboxOptions { timeout: Some(1), ..SandboxOptions::default() };
    let place = world.place_with(&server, "ann", short);
    let mut quiet = place.spawn(sleeper()).await.expect("a process");
    let ended = tokio::time::timeout(Duration::from_secs(30), quiet.control.wait()).await.expect("an end");
    assert!(!ended.expect("an end").success());
    // Also when whoever started it only reads what it says.
    let mut loud = place.spawn(Command::new("yes")).await.expect("a process");
    let read = async {
        let mut bytes = vec![0; 1 << 16];
        while loud.stdout.read(&mut bytes).await.expect("what it says") > 0 {}
    };
    tokio::time::timeout(Duration::from_secs(30), read).await.expect("an end");
}
