//! `[server]` and `[limits]` in the configuration file.

use std::{fs, path::PathBuf};

use reqwest::{Client, StatusCode};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::process::{Child, ChildStderr};

use crate::support::{Lines, PATIENCE, World, code_of, signal};

/// A server with a configuration file.
struct Server {
    child: Child,
    log: Lines<ChildStderr>,
    address: String,
}

impl Server {
    async fn start(world: &World, config: &str) -> Self {
        let file = configured(world, config);
        let mut child = world.command(&["serve", "--port", "0", "--config", &file]).spawn().unwrap();
        let mut log = Lines::of(child.stderr.take().unwrap());
        let line: Value = serde_json::from_str(&log.find("Longshore serves").await).unwrap();
        Self { child, log, address: line["address"].as_str().unwrap().to_owned() }
    }

    async fn stop(mut self) {
        signal(&self.child, Signal::TERM);
        assert_eq!(code_of(&mut self.child).await, Some(0));
    }
}

fn configured(world: &World, config: &str) -> String {
    let file = world.path().join("longshore.toml");
    fs::write(&file, format!("{config}\n[sandbox]\nbackend = \"local\"\n")).unwrap();
    file.to_str().unwrap().to_owned()
}

/// Writes a new certificate and its key, and gives a client that trusts it alone.
fn renew([certificate, key]: &[PathBuf; 2]) -> Client {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    fs::write(certificate, made.cert.pem()).unwrap();
    fs::write(key, made.key_pair.serialize_pem()).unwrap();
    let root = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    Client::builder().no_proxy().timeout(PATIENCE).tls_certs_only([root]).build().unwrap()
}

#[tokio::test]
async fn a_file_gives_limits_and_a_certificate_that_is_loaded_again_at_a_signal() {
    let world = World::new();
    let files = ["certificate.pem", "key.pem"].map(|name| world.path().join(name));
    let old = renew(&files);
    let config = format!(
        "[server]\nworkers = 2\ncors_origins = [\"https://app.example\"]\n[server.tls]\ncertificate = {:?}\nkey = {:?}\n\
         [limits]\nbody_bytes = 100\n",
        files[0], files[1]
    );
    let mut server = Server::start(&world, &config).await;
    let url = format!("https://{}", server.address);
    let large = old.post(format!("{url}/api/conversations")).json(&json!({"x": "x".repeat(200)}));
    assert_eq!(large.send().await.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
    let page = old.get(format!("{url}/health")).header("Origin", "https://app.example").send().await.unwrap();
    assert_eq!(page.headers()["access-control-allow-origin"], "https://app.example");

    let new = renew(&files);
    signal(&server.child, Signal::HUP);
    server.log.find("the certificate was loaded again").await;
    assert_eq!(new.get(format!("{url}/health")).send().await.unwrap().status(), StatusCode::OK);
    server.stop().await;
}

#[tokio::test]
async fn what_makes_no_sense_in_the_file_ends_the_start_with_what_would() {
    let world = World::new();
    for (config, words) in [
        ("[limits]\nconnections = 0", "the limit connections is 0: give 1 to"),
        ("[limits]\nconections = 10", "conections"),
        ("[server]\ntrusted_proxies = [\"everybody\"]", "'everybody' is no network"),
        ("[server]\nworkers = 0", "line 2"),
        ("[server.tls]\ncertificate = \"/no/such\"\nkey = \"/no/such\"", "/no/such cannot be read"),
        ("[server]\ncors_origin_pattern = \"(\"", "cors_origin_pattern"),
    ] {
        let file = configured(&world, config);
        let ended = world.run(&["serve", "--port", "0", "--config", &file]).await;
        assert_eq!(ended.code, Some(1), "{config}");
        assert!(ended.stderr.contains(words), "{config}: {}", ended.stderr);
    }
}

#[cfg(not(feature = "acme"))]
#[tokio::test]
async fn without_the_feature_an_authority_is_refused_with_the_way_out() {
    let world = World::new();
    let file = configured(&world, "[server.acme]\ndomains = [\"a.example\"]\ncache = \"/nowhere\"");
    let ended = world.run(&["serve", "--port", "0", "--config", &file]).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("[server.tls]"), "{}", ended.stderr);
}

#[cfg(feature = "acme")]
#[tokio::test]
async fn an_authority_that_cannot_be_reached_is_in_the_log_and_the_server_stays() {
    let world = World::new();
    let config = format!(
        "[server.acme]\ndomains = [\"a.example\"]\ncontact = \"ops@a.example\"\ndirectory = \"https://127.0.0.1:9/directory\"\n\
         cache = {:?}\n",
        world.path().join("acme")
    );
    let mut server = Server::start(&world, &config).await;
    server.log.find("no certificate could be had from the authority").await;
    let client = Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
    let answer = client.get(format!("http://{}/health", server.address)).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "it speaks TLS only");
    server.stop().await;
}
