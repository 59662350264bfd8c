//! The end of a server.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::server::{Said, TestServer, answer, is_running};

#[tokio::test]
async fn a_server_ends_soon_whatever_runs() {
    let server = TestServer::start().await;
    let mut socket = server.socket("/sockets/bash-events").await;
    socket.send("[]").await;
    socket.next().await.json();
    server.start_command(json!({"command": "trap '' TERM INT HUP; sleep 35.7; sleep 35.7"})).await;
    let waiting = server.post("/api/bash/execute_bash_command").json(&json!({"command": "echo begun; sleep 36.7"}));
    let waiting = tokio::spawn(answer(waiting));
    let stalled = tokio::net::TcpStream::connect(server.address).await.unwrap();
    while !is_running("sleep 36.7") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    let started = Instant::now();
    let directory = server.stop().await;
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    while let Said::Json(_) = socket.next().await {}
    assert_eq!(socket.next().await, Said::Closed(1006), "nothing follows the goodbye");
    let (_, output) = waiting.await.unwrap();
    assert_eq!((&output["exit_code"], &output["stdout"]), (&json!(-9), &json!("begun\n")));
    assert!(!is_running("sleep 35.7") && !is_running("sleep 36.7"), "a child was left behind");
    drop(stalled);

    // Nothing is open, so nothing is told as lost.
    let again = TestServer::again(directory).await;
    let outputs = again.outputs(output["command_id"].as_str().unwrap(), -1).await;
    assert_eq!(outputs.last().unwrap()["exit_code"], -9, "{outputs:?}");
    again.stop().await;
}

#[tokio::test]
async fn sockets_are_closed_with_1012() {
    let server = TestServer::start().await;
    let mut socket = server.socket("/sockets/bash-events").await;
    socket.send("[]").await;
    socket.next().await.json();
    server.stop().await;
    assert_eq!(socket.next().await, Said::Closed(1012));
}
