//! What one box may use of its proxy.

use std::{sync::Arc, time::Duration};

use longshore_sandbox::egress::{Limits, Policy, Proxy, Resolver};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    program::{Book, Program, rest, until},
    servers::echo,
    world::{World, on_a_machine},
};

const HOST: &str = "198.51.100.7:7";

async fn program(world: &World, limits: Limits) -> Program {
    echo(world, HOST).await;
    Program::with(&[HOST], &[], limits)
}

#[test]
fn one_connection_too_many_waits_and_is_then_refused() {
    on_a_machine(async |world| {
        let limits = Limits { connections: 2, wait: Duration::from_millis(100), ..Limits::default() };
        let program = program(&world, limits).await;
        let first = program.tunnel(HOST).await;
        let _second = program.tunnel(HOST).await;
        assert_eq!(program.connect(HOST).await, 503);
        // A refusal that is not about the number does not wait for its turn.
        assert_eq!(program.connect("198.51.100.8:7").await, 403);
        drop(first);
        until("the first is gone", || program.book.closed.lock().len() == 1).await;
        assert_eq!(program.connect(HOST).await, 200);
    });
}

#[test]
fn a_tunnel_in_which_nothing_passes_is_closed() {
    on_a_machine(async |world| {
        let limits = Limits { idle: Duration::from_secs(2), ..Limits::default() };
        let program = program(&world, limits).await;
        let mut stream = program.tunnel(HOST).await;
        // Something passes, each time before the time is over but for longer than that in all.
        for _ in 0..5 {
            stream.write_all(b"x").await.unwrap();
            stream.read_u8().await.unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        assert!(rest(&mut stream).await.is_empty());
        until("the end is told", || !program.book.closed.lock().is_empty()).await;
    });
}

#[test]
fn a_program_that_does_not_read_holds_no_more_than_buffers() {
    on_a_machine(async |world| {
        world
            .listen(HOST, |mut stream| async move {
                let chunk = vec![0; 64 * 1024];
                while stream.write_all(&chunk).await.is_ok() {}
            })
            .await;
        let limits = Limits { idle: Duration::from_millis(300), ..Limits::default() };
        let program = Program::with(&[HOST], &[], limits);
        let _stalled = program.tunnel(HOST).await;
        until("the end is told", || !program.book.closed.lock().is_empty()).await;
        // What the program could have read, and one buffer on the way.
        assert!(program.book.closed.lock()[0].3 <= 256 * 1024, "{:?}", program.book.closed.lock());
    });
}

#[test]
fn whoever_goes_takes_the_connection_along() {
    on_a_machine(async |world| {
        let program = program(&world, Limits::default()).await;
        drop(program.tunnel(HOST).await);
        until("the tunnel's end is told", || program.book.closed.lock().len() == 1).await;
        // A program that goes while it waits for an answer.
        let request = format!("GET http://{HOST}/ HTTP/1.1\r\nExpect: nothing\r\n\r\n");
        world
            .listen("198.51.100.8:80", |stream| async move {
                let _held = stream;
                std::future::pending::<()>().await;
            })
            .await;
        let other = Program::new(&["198.51.100.8"]);
        let mut stream = other.open();
        stream.write_all(request.replace(HOST, "198.51.100.8").as_bytes()).await.unwrap();
        until("it is connected", || other.book.connected.lock().len() == 1).await;
        drop(stream);
        until("the request's end is told", || other.book.closed.lock().len() == 1).await;
        // A proxy that goes.
        let (mut near, far) = tokio::io::duplex(1024);
        let proxy = program.proxy.clone();
        let serving = tokio::spawn(async move { proxy.serve(far).await });
        near.write_all(format!("CONNECT {HOST} HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap();
        until("it is connected", || program.book.connected.lock().len() == 2).await;
        serving.abort();
        rest(&mut near).await;
        until("its end is told", || program.book.closed.lock().len() == 2).await;
    });
}

/// Nobody answers.
#[derive(Debug)]
struct Silence;

#[async_trait::async_trait]
impl Resolver for Silence {
    async fn resolve(&self, _name: &str) -> std::io::Result<Vec<std::net::IpAddr>> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_server_that_does_not_answer_is_given_up() {
    let book = Arc::<Book>::default();
    let proxy = Arc::new(Proxy::new(Policy::public(), Arc::new(Silence), book.clone(), Limits::default()));
    let program = Program { book, proxy, ..Program::new(&[]) };
    assert_eq!(program.connect("anything.test:1").await, 504);
}
