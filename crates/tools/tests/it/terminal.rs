use std::{
    path::Path,
    time::{Duration, Instant},
};

use indexmap::IndexMap;
use longshore_protocol::{Observation, Secret, action::TerminalAction, observation::TerminalObservation};
use longshore_tools::{Call, Error};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{Bench, DEADLINE, text};

fn command(command: &str) -> TerminalAction {
    TerminalAction { command: command.into(), ..TerminalAction::default() }
}

fn input(text: &str) -> TerminalAction {
    TerminalAction { is_input: true, ..command(text) }
}

fn timed(text: &str, timeout: f64) -> TerminalAction {
    TerminalAction { timeout: Some(timeout), ..command(text) }
}

fn terminal() -> Bench {
    Bench::new("terminal")
}

fn impatient() -> Bench {
    Bench::with("terminal", json!({"no_change_timeout_seconds": 0.3}), &[])
}

async fn run(bench: &Bench, action: TerminalAction) -> TerminalObservation {
    seen(bench.run(action).await.expect("the tool can do it"))
}

pub(crate) fn seen(observation: Observation) -> TerminalObservation {
    match observation {
        Observation::TerminalObservation(seen) => seen,
        other => panic!("{other:?}"),
    }
}

/// The output and the exit code of a command.
async fn sh(bench: &Bench, text: &str) -> (String, i32) {
    let seen = run(bench, timed(text, DEADLINE.as_secs_f64() / 2.0)).await;
    assert!(!seen.is_error, "{seen:?}");
    (crate::text(&seen.content).to_owned(), seen.exit_code.expect("a code"))
}

async fn out(bench: &Bench, text: &str) -> String {
    sh(bench, text).await.0
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn is_alive(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
async fn an_observation_says_what_happened_and_where() {
    let bench = terminal();
    let result = run(&bench, command("  echo warm \n")).await;
    let work = bench.path("").display().to_string();
    let user = std::process::Command::new("id").arg("-un").output().unwrap().stdout;
    let metadata = &result.metadata;
    assert_eq!(metadata.username.as_deref(), Some(String::from_utf8(user).unwrap().trim()));
    assert!(metadata.hostname.as_ref().is_some_and(|host| !host.is_empty()));
    let expected = json!({
        "content": [{"cache_prompt": false, "type": "text", "text": "warm"}], "is_error": false, "command": "echo warm",
        "exit_code": 0, "timeout": false,
        "metadata": {
            "exit_code": 0, "pid": -1, "username": metadata.username, "hostname": metadata.hostname,
            "working_dir": work.trim_end_matches('/'), "py_interpreter_path": metadata.py_interpreter_path, "prefix": "",
            "suffix": "\n[The command completed with exit code 0.]",
        },
        "full_output_save_dir": bench.folder.path().join("state/observations"), "kind": "TerminalObservation",
    });
    let mut actual = json!(Observation::from(result.clone()));
    if metadata.py_interpreter_path.is_none() {
        actual["metadata"]["py_interpreter_path"] = Value::Null;
    }
    assert_eq!(actual, expected);
    assert_eq!(bench.tool.resource(&command("x").into()).as_deref(), Some("terminal:session"));
}

#[tokio::test]
async fn state_stays_between_commands() {
    let bench = terminal();
    std::fs::create_dir(bench.path("sub")).unwrap();
    let result = run(&bench, command("cd sub && export A=1 && B=2 && declare -A map=([k]=v) && f() { echo f; }")).await;
    assert!(result.metadata.working_dir.unwrap().ends_with("/work/sub"));
    assert_eq!(out(&bench, "echo $A $B ${map[k]} $(f) ${PWD##*/}; sh -c 'echo $A$B'").await, "1 2 v f sub\n1");
    assert_eq!(sh(&bench, "false").await.1, 1);
    assert_eq!(out(&bench, "echo $?").await, "1");
    assert_eq!(out(&bench, "alias hi='echo hello'\nhi").await, "hello");
}

#[tokio::test]
async fn any_text_is_a_command() {
    let bench = terminal();
    for (text, expected) in [
        ("echo one\necho two\n\necho three", "one\ntwo\nthree"),
        ("cat <<EOF\n\tline $((1+1))\n'quoted' \"x\" \\n\nEOF", "\tline 2\n'quoted' \"x\" \\n"),
        ("cat <<'EOF' | tr a-z A-Z\n$HOME `x` !!\nEOF\necho after", "$HOME `X` !!\nafter"),
        ("for i in 1 2 3; do\n  echo $i\ndone", "1\n2\n3"),
        ("echo 'ünïcödé → 🦀'", "ünïcödé → 🦀"),
        ("printf 'a\\tb'", "a\tb"),
        ("echo \\; a\\\n b", "; a b"),
        ("# only a comment", ""),
        ("echo '!!' !x", "!! !x"),
        ("echo a; # comment\necho b", "a\nb"),
    ] {
        assert_eq!(sh(&bench, text).await, (expected.to_owned(), 0), "{text}");
    }
    let long = "x".repeat(20_000);
    assert_eq!(out(&bench, &format!("echo {long}")).await, long);
    let (text, code) = sh(&bench, "echo 'unfinished").await;
    assert!(text.contains("unexpected EOF") && code != 0, "{text} {code}");
    let (text, code) = sh(&bench, "echo before\nnope-nope").await;
    assert_eq!((text.as_str(), code), ("before\nbash: nope-nope: command not found", 127));
    assert_eq!(out(&bench, "echo still here").await, "still here");
}

#[tokio::test]
async fn output_that_is_too_long_is_cut_and_saved() {
    let bench = terminal();
    let result = run(&bench, timed("seq 1 700000; printf 'last ünïcode'", 50.0)).await;
    assert_eq!(result.exit_code, Some(0));
    let shown = text(&result.content);
    assert!(shown.starts_with("1\n2\n3\n") && shown.ends_with("700000\nlast ünïcode"), "{shown}");
    assert!((28_000..=30_000).contains(&shown.chars().count()), "{}", shown.chars().count());
    let path = shown.split("The full output is in ").nth(1).unwrap().split(']').next().unwrap();
    let folder = bench.folder.path().join("state/observations");
    assert_eq!(Path::new(path).parent().unwrap(), folder);
    let saved = std::fs::read_to_string(path).unwrap();
    assert_eq!(saved.lines().count(), 700_001);
    assert!(saved.starts_with("1\n2\n") && saved.ends_with("\n700000\nlast ünïcode"));
    let digest = std::process::Command::new("sha256sum").arg(path).output().unwrap().stdout;
    let name = format!("terminal_output_{}.txt", std::str::from_utf8(&digest[..8]).unwrap());
    assert_eq!(Path::new(path).file_name().unwrap().to_str(), Some(name.as_str()));

    let middling = out(&bench, "seq 1 10000").await;
    assert!(middling.contains("The full output is in "));
    assert_eq!(out(&bench, "seq 1 5000").await.lines().count(), 5000);
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files.len(), 2, "{files:?}");
}

#[tokio::test]
async fn endless_output_fills_neither_memory_nor_disk() {
    let bench = terminal();
    let result =
        run(&bench, timed("yes 'some words that fill the disk quickly' | head -c 90000000; echo; echo end", 55.0))
            .await;
    let shown = text(&result.content);
    assert!(
        shown.ends_with("\nend") && shown.contains("bytes of its middle is in "),
        "{}",
        &shown[shown.len() - 2000..]
    );
    let path = shown.split("of its middle is in ").nth(1).unwrap().split(']').next().unwrap();
    let saved = std::fs::metadata(path).unwrap().len();
    assert!((60 * 1024 * 1024..70 * 1024 * 1024).contains(&saved), "{saved}");
    let result = run(&bench, timed("yes", 0.5)).await;
    assert_eq!(result.exit_code, Some(-1));
    let result = run(&bench, input("C-c")).await;
    assert_eq!(result.exit_code, Some(130), "{:?}", result.metadata);
    assert_eq!(out(&bench, "echo alive").await, "alive");
}

#[tokio::test]
async fn a_running_command_can_be_talked_to() {
    let bench = impatient();
    let result = run(&bench, command("read -p 'Name? ' name; echo \"Hello $name\"; cat")).await;
    assert_eq!((text(&result.content), result.exit_code), ("Name?", Some(-1)));
    assert!(result.metadata.suffix.starts_with("\n[The command has no new output after 0.3 seconds."));
    assert!(!result.timeout && !result.is_error && result.metadata.exit_code == -1);

    let result = run(&bench, input("Ada")).await;
    assert_eq!(text(&result.content), "Hello Ada");
    assert_eq!(result.metadata.prefix, "[Below is the output of the previous command.]\n");

    let result = run(&bench, input("one\ntwo")).await;
    assert_eq!(text(&result.content), "one\ntwo");

    let result = run(&bench, command("echo no")).await;
    assert_eq!((result.is_error, result.exit_code), (true, Some(-1)));
    assert!(
        result
            .metadata
            .suffix
            .starts_with("\n[Your command \"echo no\" is NOT executed. The previous command is still")
    );

    let result = run(&bench, input("C-d")).await;
    assert_eq!(result.exit_code, Some(0));
    assert_eq!(result.metadata.suffix, "\n[The command completed with exit code 0. CTRL+D was sent.]");
    assert_eq!(out(&bench, "echo next").await, "next");
}

#[tokio::test]
async fn waiting_ends_hard_or_softly_and_the_command_runs_on() {
    let bench = impatient();
    let result = run(&bench, timed("echo begin; sleep 1; echo end; exit_code() { return 7; }; exit_code", 0.5)).await;
    assert_eq!((text(&result.content), result.exit_code), ("begin", Some(-1)));
    assert!(result.metadata.suffix.starts_with("\n[The command timed out after 0.5 seconds."), "{result:?}");
    let result = run(&bench, timed("", 30.0)).await;
    assert_eq!((text(&result.content), result.exit_code), ("end", Some(7)));
    assert_eq!(result.metadata.prefix, "[Below is the output of the previous command.]\n");

    // A hard limit does not end early because nothing is printed, and output resets the soft one.
    assert_eq!(sh(&bench, "sleep 0.6; echo quiet").await, ("quiet".into(), 0));
    let result = run(&bench, command("for i in 1 2 3 4 5 6; do echo $i; sleep 0.1; done")).await;
    assert_eq!(result.exit_code, Some(0));
}

#[tokio::test]
async fn a_command_that_ends_between_calls_is_reported_once() {
    let bench = impatient();
    let shell = out(&bench, "echo $$").await;
    let end_between_calls = async || {
        assert_eq!(run(&bench, command("sleep 0.6; echo late")).await.exit_code, Some(-1));
        until("the shell waits for a command", || is_at_prompt(&shell)).await;
    };
    end_between_calls().await;
    let result = run(&bench, command("")).await;
    assert_eq!((text(&result.content), result.exit_code), ("late", Some(0)));
    let result = run(&bench, command("")).await;
    assert_eq!((text(&result.content), result.is_error), ("No previous running command to retrieve logs from.", true));

    // Input for a command that is over must not become a command.
    end_between_calls().await;
    let result = run(&bench, input(&format!("touch {}", bench.path("bad").display()))).await;
    assert_eq!((text(&result.content), result.exit_code), ("late", Some(0)));
    out(&bench, "true").await;
    assert!(!bench.path("bad").exists());

    end_between_calls().await;
    let result = run(&bench, command("echo new")).await;
    assert_eq!((text(&result.content), result.exit_code), ("late\nnew", Some(0)));
    assert!(result.metadata.prefix.starts_with("[The previous command completed with exit code 0;"), "{result:?}");
}

/// Whether a shell sleeps while no program of its own has the terminal.
fn is_at_prompt(shell: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{shell}/stat")).unwrap_or_default();
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    fields.first() == Some(&"S") && fields.get(5) == Some(&shell)
}

#[tokio::test]
async fn nothing_running_means_nothing_to_talk_to() {
    let bench = terminal();
    let result = run(&bench, command(" \n")).await;
    assert_eq!((text(&result.content), result.is_error), ("No previous running command to retrieve logs from.", true));
    assert_eq!(result.exit_code, None);
    for action in [input("y"), input("C-c"), command("C-c")] {
        let result = run(&bench, action).await;
        assert_eq!((text(&result.content), result.is_error), ("No previous running command to interact with.", true));
    }
}

#[tokio::test]
async fn keys_interrupt_programs_and_loops() {
    let bench = impatient();
    for endless in ["sleep 100", "while :; do :; done", "sh -c 'sleep 100; echo no'", "(sleep 100)", "sleep 100 | cat"]
    {
        assert_eq!(run(&bench, command(endless)).await.exit_code, Some(-1), "{endless}");
        let result = run(&bench, input("C-c")).await;
        assert_eq!(result.exit_code, Some(130), "{endless}: {result:?}");
        assert!(result.metadata.suffix.ends_with("CTRL+C was sent.]"));
        assert!(result.metadata.working_dir.is_some(), "{endless}");
    }
    // Without is_input a key can only mean the running command.
    run(&bench, command("sleep 100")).await;
    assert_eq!(run(&bench, command("C-c")).await.exit_code, Some(130));

    run(&bench, command("sleep 100")).await;
    let result = run(&bench, input("C-z")).await;
    assert_eq!(result.exit_code, Some(148), "{result:?}");
    assert!(out(&bench, "jobs").await.contains("Stopped"));
    assert_eq!(sh(&bench, "kill %1; wait %1 2>/dev/null; echo gone").await.1, 0);
}

#[tokio::test]
async fn the_first_command_waits_for_slow_start_files() {
    let bench = Bench::with(
        "terminal",
        json!({}),
        &[(".bashrc", "sleep 1\necho noise\nexport FROM_RC=yes\nPS1='my prompt> '\n")],
    );
    let start = Instant::now();
    assert_eq!(sh(&bench, "sleep 0.5; echo late $FROM_RC").await, ("late yes".into(), 0));
    assert!(start.elapsed() >= Duration::from_millis(1500));
}

#[tokio::test]
async fn start_files_that_end_the_shell_are_left_out() {
    let bench = Bench::with("terminal", json!({}), &[(".bashrc", "echo bye\nexit 1\n")]);
    let result = run(&bench, command("echo works")).await;
    assert_eq!((text(&result.content), result.exit_code), ("works", Some(0)));
    assert!(result.metadata.prefix.contains("without ~/.bashrc"), "{result:?}");
    assert_eq!(run(&bench, command("echo works")).await.metadata.prefix, "");
}

#[tokio::test]
async fn a_shell_that_ends_is_replaced() {
    let bench = terminal();
    let result = run(&bench, command("X=1; echo bye; exit 3")).await;
    assert_eq!(result.exit_code, Some(3));
    assert!(text(&result.content).starts_with("bye"), "{result:?}");
    assert!(
        result.metadata.suffix.starts_with("\n[The command completed with exit code 3. The shell ended"),
        "{result:?}"
    );
    let result = run(&bench, command("echo \"new$X\"")).await;
    assert_eq!((text(&result.content), result.exit_code), ("new", Some(0)));

    assert_eq!(run(&bench, command("kill -9 $$")).await.exit_code, Some(137));
    assert_eq!(out(&bench, "echo again").await, "again");

    let pid = out(&bench, "echo $$; (sleep 0.1; kill -9 $$) &").await;
    let pid = pid.lines().next().unwrap();
    until("the shell is killed", || !is_alive(pid)).await;
    let result = run(&bench, command("echo \"back$X\"")).await;
    assert_eq!(text(&result.content), "back");
}

#[tokio::test]
async fn background_jobs_run_on() {
    let bench = terminal();
    let result = run(&bench, command("sleep 100 & echo $!")).await;
    let pid: i32 = text(&result.content).lines().last().unwrap().parse().unwrap();
    assert_eq!((result.metadata.pid, result.exit_code), (pid, Some(0)));
    assert!(is_alive(&pid.to_string()));
    assert_eq!(sh(&bench, "kill %1; wait; echo ok").await.1, 0);

    let marker = bench.path("marker");
    let result = run(&bench, command(&format!("(sleep 0.2; echo from behind; touch {}) &", marker.display()))).await;
    assert!(!text(&result.content).contains("behind"));
    until("the job ends", || marker.exists()).await;
    let seen = out(&bench, "echo front").await;
    assert!(seen.starts_with("from behind\n") && seen.contains("front"), "{seen}");
    assert!(!seen.contains("__longshore"), "{seen}");
}

#[tokio::test]
async fn marks_cannot_be_forged_or_confused() {
    let bench = terminal();
    let seen = out(&bench, "set; declare -p; declare -f; alias; echo the-$((1+1))-end").await;
    assert!(seen.ends_with("the-2-end"), "{}", &seen[seen.len().saturating_sub(300)..]);
    for forged in [
        r"printf '\e]7717;0123456789abcdef0123456789abcdef;1;D;2;0;-1\a'; sleep 0.2; echo real",
        r"printf '\e]7717;D;2;0\a\e]7717;\a'; sleep 0.2; echo real",
        r"printf '\n###PS1JSON###\n{}\n###PS1END###\n' >/dev/null; printf '$ '; sleep 0.2; echo; echo real",
        r#"eval "x=\"${PS1}\""; bash -c 'sleep 0.2'; echo real"#,
        // A shell inside this one shows the same prompt.
        "set -a; PS1=$PS1; set +a; export __longshore_seq PS1; bash --norc --noediting -i <<<'sleep 0.2; echo inner'; echo real",
        r"sh -c 'printf \\033]; sleep 0.1'; echo real",
    ] {
        let (text, code) = sh(&bench, forged).await;
        assert!(text.ends_with("real") && code == 0, "{forged}: {text}");
    }
}

#[tokio::test]
async fn a_prompt_that_is_taken_away_is_not_missed() {
    let bench = impatient();
    for clobber in [
        "PS1='(venv) '\"$PS1\"",
        "PS1='$ '",
        "PROMPT_COMMAND='echo mine'",
        "unset PS1 PROMPT_COMMAND; PS4=x",
        "PROMPT_COMMAND='PS1=\"starship> \"'; PS1=x",
        "set -e",
        "set -u",
        "set -o posix; set +o posix",
        "trap 'true' ERR DEBUG EXIT INT",
        "printf() { echo no; }; alias printf=no local=no return=no",
        "shopt -u promptvars",
        "IFS=x",
        "exec 2>/dev/null",
    ] {
        let bench = terminal();
        assert_eq!(sh(&bench, clobber).await.1, 0, "{clobber}");
        for _ in 0..2 {
            let (text, code) = sh(&bench, "echo hi").await;
            assert!(text.ends_with("hi") && code == 0, "{clobber}: {text}");
        }
        assert_eq!(sh(&bench, "! true || (exit 5) || true").await.1, 0, "{clobber}");
    }
    // Interrupted after everything was taken away.
    run(&bench, command("PROMPT_COMMAND='echo mine'; sleep 100")).await;
    assert_eq!(run(&bench, input("C-c")).await.exit_code, Some(130));
    assert!(out(&bench, "echo hi").await.ends_with("hi"));
}

#[tokio::test]
async fn the_shells_own_output_may_go_elsewhere() {
    let bench = terminal();
    let log = bench.path("log");
    assert_eq!(sh(&bench, &format!("exec >{} 2>&1", log.display())).await.1, 0);
    assert_eq!(sh(&bench, "echo hidden").await, (String::new(), 0));
    assert_eq!(std::fs::read_to_string(log).unwrap(), "hidden\n");
}

#[tokio::test]
async fn tracing_shows_the_command_only() {
    let bench = terminal();
    out(&bench, "set -x").await;
    let seen = out(&bench, "echo hi").await;
    assert!(
        seen.ends_with("++ echo hi\nhi") && !seen.contains("__longshore_begin") && !seen.contains("7717"),
        "{seen}"
    );
}

#[tokio::test]
async fn queries_are_not_passed_on_and_broken_text_is() {
    let bench = terminal();
    assert_eq!(
        out(&bench, r"printf 'a\033[6n\033[c\033]11;?\007b\033[31mc\033[0m\033[?2004h'").await,
        "ab\u{1b}[31mc\u{1b}[0m"
    );
    assert_eq!(out(&bench, r"printf '\303'; sleep 0.1; printf '\244 \377 ok'").await, "ä \u{fffd} ok");
    assert_eq!(out(&bench, r"printf 'x\r\ny'; printf '\0z'").await, "x\nyz");
    assert_eq!(out(&bench, "mkdir -p $'odd\\a\\n;dir' && cd $'odd\\a\\n;dir'; echo in").await, "in");
    let result = run(&bench, command("true")).await;
    assert!(result.metadata.working_dir.unwrap().ends_with("/odd??;dir"));
}

#[tokio::test]
async fn secrets_are_variables_and_nothing_else() {
    let bench = terminal();
    let value = "s3cr't $x \"q\"\nline";
    let call = Call { secrets: IndexMap::from([("MY_KEY".to_owned(), Secret::new(value))]), ..Call::default() };
    let result = seen(
        bench
            .call(command("[ \"$MY_KEY\" = \"s3cr't \\$x \\\"q\\\"\nline\" ] && echo same"), call.clone())
            .await
            .unwrap(),
    );
    assert_eq!(text(&result.content), "same");
    let result = seen(bench.call(command("sh -c 'echo ${#MY_KEY}'"), call).await.unwrap());
    assert!(text(&result.content).ends_with("18"), "{result:?}");
    assert!(!format!("{result:?}").contains("s3cr"));
    // No file has it.
    let found = out(&bench, "cat $__longshore_folder/* | grep -c 's[3]cr'").await;
    assert!(found.ends_with('0'), "{found}");
    assert_eq!(out(&bench, "stat -c %a $__longshore_folder").await, "700");
}

#[tokio::test]
async fn a_cleaned_temporary_folder_does_not_matter() {
    let bench = terminal();
    out(&bench, "rm -rf $__longshore_folder").await;
    assert_eq!(out(&bench, "stat -c %a $__longshore_folder").await, "700");
}

#[tokio::test]
async fn a_cancelled_call_stops_its_command_and_the_shell_goes_on() {
    let bench = terminal();
    out(&bench, "KEPT=yes").await;
    for stubborn in [
        "sleep 100",
        "trap '' INT; sleep 100; trap - INT",
        "while :; do sleep 0.01; done",
        "(trap '' INT TERM; exec sleep 100)",
    ] {
        let marker = bench.path("began");
        let script = command(&format!("touch {}; {stubborn}; echo over", marker.display()));
        let call = Call::default();
        let cancel = call.cancel.clone();
        let start = async {
            until("the command runs", || marker.exists()).await;
            let before = Instant::now();
            cancel.cancel();
            before
        };
        let (result, before) = tokio::join!(bench.call(script, call), start);
        assert!(matches!(result, Err(Error::Failed(_))));
        assert!(before.elapsed() < Duration::from_millis(900), "{stubborn}");
        assert_eq!(out(&bench, "echo $KEPT").await, "yes", "{stubborn}");
        std::fs::remove_file(marker).unwrap();
    }
    // Whoever stops waiting without a word means the same.
    let marker = bench.path("began");
    let script = command(&format!("touch {}; sleep 100", marker.display()));
    tokio::select! {
        _ = bench.run(script) => panic!("it sleeps"),
        () = until("the command runs", || marker.exists()) => {}
    }
    assert_eq!(out(&bench, "echo $KEPT").await, "yes");

    let call = Call { cancel: CancellationToken::new(), ..Call::default() };
    call.cancel.cancel();
    assert!(bench.call(command("touch never"), call).await.is_err());
    assert!(!bench.path("never").exists());
}

#[tokio::test]
async fn a_reset_starts_anew() {
    let bench = impatient();
    run(&bench, command("X=1; sleep 100")).await;
    let reset = |text| TerminalAction { reset: true, ..command(text) };
    let result = run(&bench, reset("")).await;
    assert_eq!((result.command.as_deref(), result.exit_code, result.is_error), (Some("[RESET]"), Some(0), false));
    let words =
        "Terminal session has been reset. All previous environment variables and session state have been cleared.";
    assert_eq!(text(&result.content), words);
    assert_eq!(out(&bench, "echo \"x$X\"").await, "x");
    let result = run(&bench, reset("echo hi")).await;
    assert_eq!(
        (result.command.as_deref(), text(&result.content)),
        (Some("[RESET] echo hi"), &*format!("{words}\n\nhi"))
    );
    let error = bench.run(TerminalAction { is_input: true, ..reset("x") }).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)));
}

#[tokio::test]
async fn data_is_not_a_command() {
    let bench = terminal();
    for text in ["[\"ls\", \"-l\"]", "[{\"command\": \"ls\"}]", "{\"command\": \"ls\"}"] {
        let result = run(&bench, command(text)).await;
        assert!(result.is_error && crate::text(&result.content).contains("was not run"), "{result:?}");
    }
    assert_eq!(sh(&bench, "[ -n \"x\" ] && { echo y; }").await.0, "y");
    assert!(bench.run(timed("echo", -1.0)).await.is_err());
    assert!(bench.run(timed("echo", f64::NAN)).await.is_err());
    assert_eq!(run(&bench, timed("echo far", 1e300)).await.exit_code, Some(0));
}

#[tokio::test]
async fn two_sessions_know_nothing_of_each_other() {
    let (one, two) = (terminal(), terminal());
    let (first, second) = tokio::join!(out(&one, "X=1; sleep 0.2; echo $X"), out(&two, "X=2; sleep 0.2; echo $X"));
    assert_eq!((first.as_str(), second.as_str()), ("1", "2"));
}

#[tokio::test]
async fn closing_leaves_nothing_behind() {
    let bench = impatient();
    let seen = out(&bench, "echo $__longshore_folder; echo $$; sleep 1000 & sleep 1000 & jobs -p").await;
    run(&bench, command("sleep 1000")).await;
    bench.tool.close().await;
    let mut lines = seen.lines();
    assert!(!Path::new(lines.next().unwrap()).exists());
    for pid in lines.filter(|line| line.bytes().all(|byte| byte.is_ascii_digit())) {
        until("the process ends", || !is_alive(pid)).await;
    }
    assert!(bench.run(command("echo")).await.is_err());
}

#[tokio::test]
async fn closing_does_not_wait_for_a_command() {
    let bench = terminal();
    let marker = bench.path("began");
    let script = command(&format!("touch {}; sleep 1000", marker.display()));
    let close = async {
        until("the command runs", || marker.exists()).await;
        bench.tool.close().await;
    };
    let (result, ()) = tokio::join!(bench.run(script), close);
    assert!(result.is_err());
}

#[tokio::test]
async fn a_dropped_terminal_leaves_nothing_behind() {
    let bench = terminal();
    let seen = out(&bench, "echo $__longshore_folder; echo $$").await;
    let (folder, pid) = seen.split_once('\n').unwrap();
    drop(bench);
    until("the shell ends", || !is_alive(pid) && !Path::new(folder).exists()).await;
}

#[tokio::test]
async fn other_shells_work_too() {
    let bench = Bench::with(
        "terminal",
        json!({"shell_path": "/bin/sh", "no_change_timeout_seconds": 0.3, "env": {"E": "v"}}),
        &[],
    );
    assert_eq!(out(&bench, "echo $0 $E; [ -z \"$BASH_VERSION\" ] && echo posix").await, "/bin/sh v\nposix");
    assert_eq!(sh(&bench, "cd / && (exit 4)").await.1, 4);
    assert_eq!(out(&bench, "echo $? $PWD").await, "4 /");
    assert_eq!(out(&bench, "cat <<EOF\na\nb\nEOF\necho c").await, "a\nb\nc");
    let result = run(&bench, command("sleep 100")).await;
    assert_eq!(result.exit_code, Some(-1));
    let result = run(&bench, input("C-c")).await;
    assert_eq!(result.exit_code, Some(130), "{result:?}");
    assert!(out(&bench, "set; echo done").await.ends_with("done"));
    assert!(sh(&bench, "if; then").await.1 != 0);
    let result = run(&bench, command("exit 3")).await;
    assert_eq!(result.exit_code, Some(3));
    let result = run(&bench, command("echo again")).await;
    assert_eq!(text(&result.content), "again");
    assert!(result.metadata.username.is_some() && result.metadata.hostname.is_some());
}

#[tokio::test]
async fn settings_reach_the_shell() {
    let bench =
        Bench::with("terminal", json!({"env": {"FROM_SPEC": "a b"}, "username": "x", "terminal_type": "tmux"}), &[]);
    assert_eq!(out(&bench, "echo \"$FROM_SPEC\" $TERM $PAGER $GIT_PAGER").await, "a b xterm-256color cat cat");
    let bench = Bench::with("terminal", json!({"shell_path": "/nope/bash"}), &[]);
    let error = bench.run(command("echo")).await.unwrap_err().to_string();
    assert!(error.contains("cannot be started") && error.contains("/nope/bash"), "{error}");
}

/// Keys that a program in line mode did not take must not end up in the next command.
#[tokio::test]
async fn keys_that_nobody_read_are_gone() {
    let bench = impatient();
    for keys in ["UP", "TAB", "C-a"] {
        run(&bench, command("sleep 0.6")).await;
        run(&bench, input(keys)).await;
        let result = run(&bench, timed("", 30.0)).await;
        assert!(result.is_error || result.exit_code == Some(0), "{result:?}");
        assert!(out(&bench, "echo clean").await.ends_with("clean"), "{keys}");
    }
    run(&bench, command("sleep 0.6")).await;
    run(&bench, timed("", 0.0)).await;
    run(&bench, input(&format!("touch {0}\ntouch {0}", bench.path("bad").display()))).await;
    let result = run(&bench, timed("", 30.0)).await;
    assert!(result.is_error || result.exit_code == Some(0), "{result:?}");
    assert!(out(&bench, "echo clean").await.ends_with("clean"));
    assert!(!bench.path("bad").exists());
}

#[tokio::test]
async fn what_a_killed_server_left_is_removed() {
    let bench = terminal();
    let left = bench.folder.path().join("state/.terminal-0123");
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("command"), "x").unwrap();
    assert_eq!(out(&bench, "echo hi").await, "hi");
    assert!(!left.exists());
}

#[tokio::test]
async fn a_missing_history_stays_missing() {
    let bench = terminal();
    out(&bench, "echo one; history").await;
    bench.tool.close().await;
    assert!(!bench.folder.path().join("home/.bash_history").exists());
}
