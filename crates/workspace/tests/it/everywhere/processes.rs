use std::{os::unix::fs::PermissionsExt as _, path::Path};

use longshore_workspace::{Command, Error, ExitStatus, Signal};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::place;
use crate::support::{read_until, sh, until};

#[tokio::test]
async fn output_and_errors_come_apart() {
    let run = place().sh("echo out; echo err >&2; exit 3").await;
    assert_eq!((&*run.stdout, &*run.stderr), ("out\n", "err\n"));
    assert_eq!(run.status, ExitStatus::Exited(3));
    assert_eq!((run.status.code(), run.status.signal(), run.status.shell_code()), (Some(3), None, 3));
}

#[tokio::test]
async fn a_signal_is_told_from_a_code() {
    let run = place().sh("kill -TERM $$").await;
    assert_eq!((run.status.code(), run.status.signal(), run.status.shell_code()), (None, Some(15), -15));
}

#[tokio::test]
async fn input_arrives_and_ends() {
    let place = place();
    let mut process = place.workspace.spawn(Command::new("cat")).await.expect("it starts");
    let mut stdin = process.stdin.take().expect("an input");
    stdin.write_all(b"hello").await.expect("it takes input");
    drop(stdin);
    let mut output = String::new();
    process.stdout.read_to_string(&mut output).await.expect("output");
    assert_eq!(output, "hello");
    assert!(process.control.wait().await.expect("an end").success());
}

#[tokio::test]
async fn a_process_leads_a_group_of_its_own() {
    let run = place().sh("echo $$; ps -o pgid= -p $$").await;
    let numbers: Vec<i32> = run.stdout.split_whitespace().map(|number| number.parse().expect("a number")).collect();
    assert_eq!(numbers[0], numbers[1]);
}

#[tokio::test]
async fn signals_reach_the_whole_group() {
    let place = place();
    let mut process = place.workspace.spawn(sh("sleep 1000 & echo up; wait")).await.expect("it starts");
    read_until(&mut process.stdout, "up").await;
    process.control.signal(Signal::Terminate).await.expect("a signal");
    assert_eq!(process.control.wait().await.expect("an end"), ExitStatus::Signaled(15));
    until("the group ends", || place.processes().is_empty()).await;
    // The end can be asked for again, and a signal to nobody is no error.
    assert_eq!(process.control.wait().await.expect("an end"), ExitStatus::Signaled(15));
    process.control.signal(Signal::Kill).await.expect("nothing to do");
}

#[tokio::test]
async fn a_process_that_nobody_reads_any_more_is_told_so() {
    let place = place();
    for errors in [false, true] {
        let script = if errors { "exec yes >&2" } else { "exec yes" };
        let mut process = place.workspace.spawn(sh(script)).await.expect("it starts");
        read_until(if errors { &mut process.stderr } else { &mut process.stdout }, "y").await;
        if errors {
            drop(process.stderr);
        } else {
            drop(process.stdout);
        }
        assert_eq!(process.control.wait().await.expect("an end"), ExitStatus::Signaled(13));
    }
}

#[tokio::test]
async fn a_process_that_takes_no_input_breaks_the_pipe() {
    let place = place();
    let mut process = place.workspace.spawn(sh("exec 0<&-; echo up; exec sleep 1000")).await.expect("it starts");
    read_until(&mut process.stdout, "up").await;
    let mut stdin = process.stdin.take().expect("an input");
    let written = async {
        stdin.write_all(b"hello").await?;
        stdin.flush().await
    };
    assert_eq!(written.await.expect_err("nobody reads").kind(), std::io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn signals_pass_a_full_input() {
    let place = place();
    let mut process = place.workspace.spawn(sh("echo up; exec sleep 1000")).await.expect("it starts");
    read_until(&mut process.stdout, "up").await;
    let mut stdin = process.stdin.take().expect("an input");
    let much = vec![b'x'; 4 << 20];
    tokio::select! {
        _ = stdin.write_all(&much) => panic!("nobody reads"),
        signalled = process.control.signal(Signal::Interrupt) => signalled.expect("a signal"),
    }
    assert_eq!(process.control.wait().await.expect("an end"), ExitStatus::Signaled(2));
}

#[tokio::test]
async fn many_processes_run_at_once() {
    let place = place();
    let runs = (0..60).map(|number| {
        let place = &place;
        async move {
            let run = place.sh(&format!("head -c 100000 /dev/zero | tr '\\0' x; exit {number}")).await;
            assert_eq!((run.stdout.len(), run.status.code()), (100_000, Some(number)));
        }
    });
    futures::future::join_all(runs).await;
}

#[tokio::test]
async fn dropping_kills_children_of_children() {
    let place = place();
    let script = "sh -c 'trap \"\" TERM HUP INT; sleep 1000 & echo up; wait' & wait";
    let mut process = place.workspace.spawn(sh(script)).await.expect("it starts");
    read_until(&mut process.stdout, "up").await;
    // One that is just becoming another program is not known as the place's for a moment.
    until("three run", || place.processes().len() >= 3).await;
    drop(process);
    until("all end", || place.processes().is_empty()).await;
}

#[tokio::test]
async fn what_an_ended_process_left_running_lives_on() {
    let place = place();
    let mut process = place.workspace.spawn(sh("sleep 1000 >/dev/null 2>&1 & echo $!")).await.expect("it starts");
    let number = read_until(&mut process.stdout, "\n").await;
    assert!(process.control.wait().await.expect("an end").success());
    until("one is left", || place.processes().len() == 1).await;
    drop(process);
    // Another process is started and ended meanwhile.
    assert!(place.sh("true").await.status.success());
    assert!(place.sh(&format!("kill {number}")).await.status.success(), "it is gone");
    until("all end", || place.processes().is_empty()).await;
}

#[tokio::test]
async fn no_dead_process_stays_in_the_list() {
    let place = place();
    for ended in [true, false] {
        let mut process = place.workspace.spawn(sh("echo $$; exec sleep 1000")).await.expect("it starts");
        let number = read_until(&mut process.stdout, "\n").await;
        if ended {
            process.control.signal(Signal::Kill).await.expect("a signal");
            process.control.wait().await.expect("an end");
        }
        drop(process);
        until("it is collected", || !Path::new("/proc").join(number.trim()).exists()).await;
    }
}

#[tokio::test]
async fn much_output_on_both_pipes_arrives_whole() {
    let run = place().sh("head -c 3000000 /dev/zero | tr '\\0' a; head -c 3000000 /dev/zero | tr '\\0' b >&2").await;
    assert_eq!((run.stdout.len(), run.stderr.len()), (3_000_000, 3_000_000));
}

#[tokio::test]
async fn commands_start_in_their_folder() {
    let place = place();
    std::fs::create_dir(place.path("sub")).expect("a folder");
    assert_eq!(Path::new(place.sh("pwd").await.stdout.trim()), place.path(""));
    assert_eq!(Path::new(place.run(sh("pwd").cwd("sub")).await.stdout.trim()), place.path("sub"));
    assert_eq!(place.run(sh("pwd").cwd("/")).await.stdout, "/\n");
}

#[tokio::test]
async fn what_does_not_start_says_why() {
    let place = place();
    let write = |name: &str, content: &str, mode| {
        std::fs::write(place.path(name), content).expect("a file");
        std::fs::set_permissions(place.path(name), std::fs::Permissions::from_mode(mode)).expect("its mode");
    };
    write("plain", "", 0o644);
    write("script", "#!/nowhere/interpreter\n", 0o755);
    let why = async |command: Command| place.workspace.spawn(command).await.expect_err("it does not start");

    let error = why(Command::new("longshore-has-no-such-program")).await;
    assert!(
        matches!(&error, Error::NotFound { path } if path == Path::new("longshore-has-no-such-program")),
        "{error}"
    );
    let error = why(Command::new("./missing")).await;
    assert!(matches!(&error, Error::NotFound { path } if path == Path::new("./missing")), "{error}");
    let error = why(sh("true").cwd("no-folder")).await;
    assert!(matches!(&error, Error::NotFound { path } if *path == place.path("no-folder")), "{error}");
    let error = why(sh("true").cwd("plain")).await;
    assert!(matches!(&error, Error::NotADirectory { path } if *path == place.path("plain")), "{error}");
    let error = why(Command::new("./plain")).await;
    assert!(matches!(error, Error::PermissionDenied { .. }), "{error}");
    let error = why(Command::new("/tmp")).await;
    assert!(matches!(error, Error::PermissionDenied { .. }), "{error}");
    let error = why(Command::new("./script")).await;
    assert!(error.to_string().contains("interpreter"), "{error}");
    let error = why(Command::new("")).await;
    assert!(error.to_string().contains("empty"), "{error}");
    let error = why(sh("true").arg("a\0b")).await;
    assert!(matches!(error, Error::Io { .. }), "{error}");
}

#[tokio::test]
async fn a_program_of_the_folder_is_found_by_its_path_there() {
    let place = place();
    std::fs::create_dir(place.path("sub")).expect("a folder");
    let tool = place.path("sub/tool");
    std::fs::write(&tool, "#!/bin/sh\necho \"$0\"\n").expect("a file");
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    let run = place.run(Command::new("./tool").cwd("sub")).await;
    assert!(run.stdout.trim().ends_with("/tool"), "{run:?}");
    let run = place.run(Command::new("tool").env("PATH", place.path("sub"))).await;
    assert!(run.status.success(), "{run:?}");
}
