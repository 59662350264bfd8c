use longshore_workspace::Command;
use longshore_workspace::guard::{Guard, MARKER};

use crate::support::{Place, variables};

#[tokio::test]
async fn the_servers_secrets_reach_no_process() {
    let place = Place::local(|options| {
        options.inherited = variables([
            ("PATH", "/usr/bin:/bin"),
            ("LC_TIME", "C"),
            ("SSL_CERT_FILE", "/certificates"),
            ("OH_SESSION_API_KEYS", "[\"key-1\"]"),
            ("OH_SESSION_API_KEYS_0", "key-2"),
            ("OH_PREVIOUS_SECRET_KEYS", "key-3"),
            ("OH_WEBHOOKS_0_HEADERS", "key-4"),
            ("SESSION_API_KEY", "key-5"),
            ("LONGSHORE_DATA_DIR", "/secret-folder"),
            ("LLM_API_KEY", "key-6"),
            ("AWS_SECRET_ACCESS_KEY", "key-7"),
            ("GIT_DIR", "/elsewhere"),
            ("MY_TOOL", "wanted"),
        ]);
        options.pass_env.push("MY_TOOL".into());
    });
    let run = place.run(Command::new("env").env("EXTRA", "1")).await;
    let mut names: Vec<&str> = run.stdout.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    names.sort_unstable();
    assert_eq!(names, ["AI_AGENT", "EXTRA", "LC_TIME", "LONGSHORE_TEST", "MY_TOOL", "PATH", "SSL_CERT_FILE"]);
    assert!(run.stdout.contains("AI_AGENT=openhands\n"));
    for secret in ["key-", "secret-folder", "elsewhere"] {
        assert!(!run.stdout.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn the_last_word_on_a_variable_is_the_commands() {
    let place = Place::local(|options| {
        options.inherited = variables([("PATH", "/usr/bin:/bin"), ("LANG", "server")]);
        options.env.extend(variables([("LANG", "workspace"), ("TZ", "workspace")]));
    });
    let run = place.run(Command::new("env").env("LANG", "first").env("LANG", "command")).await;
    assert!(run.stdout.contains("LANG=command\n") && run.stdout.contains("TZ=workspace\n"), "{}", run.stdout);
}

#[tokio::test]
async fn a_command_cannot_take_off_the_guards_mark() {
    let guard = Guard::new(Command::new("cat"));
    let place = Place::local(|options| options.guard = Some(guard.clone()));
    let run = place.run(Command::new("env").env(MARKER, "other")).await;
    assert!(run.stdout.contains(&format!("{MARKER}={}\n", guard.marker())), "{}", run.stdout);
}

#[test]
fn debug_output_shows_no_secrets() {
    let command = Command::new("tool").arg("--key=secret").env("KEY", "secret");
    assert!(!format!("{command:?}").contains("secret"));
    let place = Place::local(|options| options.env.extend(variables([("KEY", "secret")])));
    assert!(!format!("{:?}", place.workspace).contains("secret"));
}
