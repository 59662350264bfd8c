//! Servers of a test's internet.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response,
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::world::World;

/// The requests that a server has seen, each as its request line and headers in lower case, and the digest of its body.
pub(crate) type Seen = Arc<Mutex<Vec<(String, [u8; 32])>>>;

/// A web server: `/bytes/N` has N bytes, and with `?chunked` does not say how many; anything else tells who answers.
pub(crate) async fn web(world: &World, address: &str) -> Seen {
    let seen = Seen::default();
    let name = address.to_owned();
    let requests = seen.clone();
    let serve = move |stream: TcpStream| {
        let (name, requests) = (name.clone(), requests.clone());
        async move {
            let service = service_fn(|request| answer(request, &name, &requests));
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        }
    };
    world.listen(address, serve).await;
    seen
}

async fn answer(
    request: Request<Incoming>,
    name: &str,
    seen: &Seen,
) -> Result<Response<UnsyncBoxBody<Bytes, Infallible>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let mut text = format!("{} {}\n", head.method, head.uri);
    for (name, value) in &head.headers {
        text += &format!("{name}: {}\n", value.to_str().expect("text"));
    }
    let body = body.collect().await?.to_bytes();
    seen.lock().push((text, digest(&body)));
    let Some(count) = head.uri.path().strip_prefix("/bytes/") else {
        return Ok(Response::new(Full::from(format!("this is {name}\n")).boxed_unsync()));
    };
    let bytes = pattern(count.parse().expect("a number"));
    let body = if head.uri.query() == Some("chunked") {
        let frames: Vec<_> = bytes.chunks(10_000).map(|chunk| Ok(Frame::data(Bytes::copy_from_slice(chunk)))).collect();
        StreamBody::new(stream::iter(frames)).boxed_unsync()
    } else {
        Full::from(bytes).boxed_unsync()
    };
    Ok(Response::new(body))
}

/// A server that sends back what it gets, all of it once the other side has ended.
pub(crate) async fn echo_at_end(world: &World, address: &str) {
    let serve = |mut stream: TcpStream| async move {
        let mut bytes = Vec::new();
        if stream.read_to_end(&mut bytes).await.is_ok() {
            let _ = stream.write_all(&bytes).await;
        }
    };
    world.listen(address, serve).await;
}

/// A server that sends back what it gets.
pub(crate) async fn echo(world: &World, address: &str) {
    let serve = |mut stream: TcpStream| async move {
        let (mut reader, mut writer) = stream.split();
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
    };
    world.listen(address, serve).await;
}

/// A server that answers every connection with the same bytes and ends it; returns what it was sent.
pub(crate) async fn canned(world: &World, address: &str, answer: &'static str) -> Arc<Mutex<Vec<String>>> {
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let requests = seen.clone();
    let serve = move |mut stream: TcpStream| {
        let requests = requests.clone();
        async move {
            let request = super::program::head(&mut stream).await;
            requests.lock().push(request);
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    };
    world.listen(address, serve).await;
    seen
}

/// Counts connections, and closes them.
pub(crate) fn counter() -> (Arc<Mutex<usize>>, impl FnMut(TcpStream) -> std::future::Ready<()> + Send + 'static) {
    let count = Arc::<Mutex<usize>>::default();
    let counted = count.clone();
    (count, move |_| {
        *counted.lock() += 1;
        std::future::ready(())
    })
}

/// Bytes that are different at every place.
pub(crate) fn pattern(count: usize) -> Vec<u8> {
    (0..count as u64).map(|index| index.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0]).collect()
}

pub(crate) fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
