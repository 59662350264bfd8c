use longshore_workspace::{Command, Error, ExitStatus, Signal, TerminalSize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::place;
use crate::support::{DEADLINE, read_until, sh, until};

const SIZE: TerminalSize = TerminalSize { rows: 30, columns: 100 };

#[tokio::test]
async fn a_process_has_a_terminal_of_the_size_that_it_was_given() {
    let place = place();
    let script = "test -t 0 && test -t 1 && test -t 2 && stty size && read line && stty size";
    let mut terminal = place.workspace.open_terminal(sh(script), SIZE).await.expect("a terminal");
    read_until(&mut terminal.output, "30 100").await;
    terminal.control.resize(TerminalSize { rows: 7, columns: 11 }).await.expect("another size");
    terminal.input.write_all(b"\n").await.expect("it takes input");
    read_until(&mut terminal.output, "7 11").await;
    assert_eq!(terminal.control.wait().await.expect("an end"), ExitStatus::Exited(0));
}

#[tokio::test]
async fn output_ends_with_the_last_process() {
    let place = place();
    let mut terminal = place.workspace.open_terminal(sh("echo one; exit 4"), SIZE).await.expect("a terminal");
    let mut output = String::new();
    let reading = terminal.output.read_to_string(&mut output);
    tokio::time::timeout(DEADLINE, reading).await.expect("in time").expect("an end and no error");
    assert_eq!(output, "one\r\n");
    assert_eq!(terminal.control.wait().await.expect("an end").code(), Some(4));
}

#[tokio::test]
async fn an_interrupt_reaches_the_foreground_and_spares_the_shell() {
    let place = place();
    let bash = Command::new("bash").args(["--norc", "--noprofile", "-i"]).env("PS1", "ready>");
    let mut terminal = place.workspace.open_terminal(bash, SIZE).await.expect("a terminal");
    read_until(&mut terminal.output, "ready>").await;
    terminal.input.write_all(b"sh -c 'echo st\"\"arted; exec sleep 1000'\n").await.expect("it takes input");
    read_until(&mut terminal.output, "started").await;
    terminal.control.signal_foreground(Signal::Interrupt).await.expect("a signal");
    read_until(&mut terminal.output, "ready>").await;
    terminal.input.write_all(b"echo code=$?\n").await.expect("it takes input");
    read_until(&mut terminal.output, "code=130").await;
}

#[tokio::test]
async fn the_interrupt_key_works() {
    let place = place();
    let mut terminal = place.workspace.open_terminal(sh("echo up; exec sleep 1000"), SIZE).await.expect("a terminal");
    read_until(&mut terminal.output, "up").await;
    terminal.input.write_all(b"\x03").await.expect("it takes input");
    assert_eq!(terminal.control.wait().await.expect("an end"), ExitStatus::Signaled(2));
    terminal.control.signal_foreground(Signal::Interrupt).await.expect("nothing to do");
}

#[tokio::test]
async fn dropping_kills_every_group_of_the_session() {
    let place = place();
    let bash = Command::new("bash").args(["--norc", "--noprofile", "-i"]).env("PS1", "ready>");
    let mut terminal = place.workspace.open_terminal(bash, SIZE).await.expect("a terminal");
    read_until(&mut terminal.output, "ready>").await;
    // Job control gives each of them a group of its own, and none of them minds a hang-up.
    terminal.input.write_all(b"trap '' HUP; nohup sleep 1000 & sleep 1001 & echo st\"\"arted\n").await.expect("input");
    read_until(&mut terminal.output, "started").await;
    until("all are up", || place.processes().len() == 3).await;
    drop(terminal);
    until("all end", || place.processes().is_empty()).await;
}

#[tokio::test]
async fn a_lot_of_output_arrives_whole() {
    let place = place();
    let script = "stty -opost; head -c 2000000 /dev/zero | tr '\\0' x";
    let mut terminal = place.workspace.open_terminal(sh(script), SIZE).await.expect("a terminal");
    let mut output = Vec::new();
    let reading = terminal.output.read_to_end(&mut output);
    tokio::time::timeout(DEADLINE, reading).await.expect("in time").expect("an end");
    assert_eq!(output.len(), 2_000_000);
}

#[tokio::test]
async fn a_missing_program_is_an_error() {
    let place = place();
    let opened = place.workspace.open_terminal(Command::new("longshore-has-no-such-program"), SIZE).await;
    assert!(matches!(opened.expect_err("no terminal"), Error::NotFound { .. }));
}
