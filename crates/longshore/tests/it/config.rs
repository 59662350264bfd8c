//! `longshore config`, and the files in the repository that it is about.

use std::path::Path;

use crate::support::World;

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

#[tokio::test]
async fn the_committed_reference_is_that_of_the_program() {
    let committed = std::fs::read_to_string(repository().join("docs/configuration.md")).unwrap();
    let current = World::new().run(&["config", "reference"]).await.stdout;
    assert!(
        committed.trim_end() == current.trim_end(),
        "the configuration differs from docs/configuration.md. If that is meant:\n\n    cargo run -- config reference \
         > docs/configuration.md\n"
    );
}

#[tokio::test]
async fn the_example_is_a_configuration_also_with_all_that_is_commented_out() {
    let example = std::fs::read_to_string(repository().join("deploy/longshore.toml")).unwrap();
    let world = World::new();
    let file = world.path().join("longshore.toml");
    // What stands behind "#" and nothing else is a setting; comments have a space there.
    let is_setting = |line: &str| line.starts_with('#') && !line.starts_with("# ") && line != "#";
    let all: Vec<_> = example.lines().map(|line| if is_setting(line) { &line[1..] } else { line }).collect();
    assert!(example.lines().filter(|line| is_setting(line)).count() > 5, "nothing is commented out");
    for text in [example.clone(), all.join("\n")] {
        std::fs::write(&file, text).unwrap();
        let ended = world.run(&["config", "check", file.to_str().unwrap()]).await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn a_file_that_a_server_would_not_take_is_refused_with_the_line() {
    let world = World::new();
    let file = world.path().join("wrong.toml");
    for (text, says) in [
        ("[audit]\nretention_dayz = 3\n", "line 2"),
        ("[audit]\nrequired = true\nenabled = false\n", "required"),
        ("[lifecycle]\nvolumes = [\"nowhere\"]\n", "nowhere"),
    ] {
        std::fs::write(&file, text).unwrap();
        let ended = world.run(&["config", "check", file.to_str().unwrap()]).await;
        assert_eq!(ended.code, Some(1), "{text}");
        assert!(ended.stderr.contains(says), "{text}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn the_schema_names_every_section() {
    let ended = World::new().run(&["config", "schema"]).await;
    let schema: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    for section in ["sandbox", "lifecycle", "audit", "pool", "backend"] {
        assert!(schema["properties"][section].is_object(), "{section}");
    }
    assert_eq!(schema["additionalProperties"], false);
}
