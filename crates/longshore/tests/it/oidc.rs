//! `[auth.oidc]` in the configuration file.

use reqwest::StatusCode;
use rustix::process::Signal;

use crate::{
    serve::{Server, client},
    support::{World, code_of, signal},
};

/// Nobody listens on this port.
const CONFIG: &str = "[auth.oidc]\nissuer = 'http://127.0.0.1:1'\naudience = 'longshore'\n";

#[tokio::test]
async fn with_a_provider_everybody_needs_a_key_or_a_token_also_if_it_is_down() {
    let world = World::new();
    let file = world.path().join("longshore.toml");
    std::fs::write(&file, CONFIG).unwrap();
    let arguments = ["serve", "--port", "0", "--sandbox", "local", "--config", file.to_str().unwrap()];
    // Those who come must not share the machine, as on any server with users.
    let refused = world.run(&arguments).await;
    assert!(refused.code.is_some_and(|code| code != 0) && refused.stderr.contains("--insecure-shared-machine"));

    let mut command = world.command(&[&arguments[..], &["--log-format", "json"]].concat());
    command.arg("--insecure-shared-machine");
    let mut server = Server::start(command).await;
    let ask = client().get(format!("{}/me", server.url));
    assert_eq!(ask.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    // {"alg":"ES256"}
    let token = "eyJhbGciOiJFUzI1NiJ9.e30.AA";
    let ask = client().get(format!("{}/me", server.url)).bearer_auth(token);
    assert_eq!(ask.send().await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    signal(&server.child, Signal::TERM);
    assert_eq!(code_of(&mut server.child).await, Some(0));
}
