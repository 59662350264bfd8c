//! A `boxd` that an attacker has taken over: whatever it does, a server gets an error in time and keeps its memory.

use std::{
    convert::Infallible,
    fmt, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{
    HeaderMap, Response,
    body::{Frame, Incoming},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use longshore_workspace::{
    Command, Connect, Error, Parents, Remote, RemoteOptions, Search, Stream as Duplex, TerminalSize, Workspace as _,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    sync::mpsc,
};

use crate::support::DEADLINE;

type Act = dyn Fn(usize, DuplexStream) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;
type Frames = Pin<Box<dyn Stream<Item = Frame<Bytes>> + Send>>;

/// Connects to something that acts as it likes, and is told which connection it is.
struct Hostile {
    act: Box<Act>,
    made: AtomicUsize,
}

impl fmt::Debug for Hostile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hostile")
    }
}

#[async_trait]
impl Connect for Hostile {
    async fn connect(&self) -> io::Result<Duplex> {
        let (near, far) = tokio::io::duplex(1 << 20);
        tokio::spawn((self.act)(self.made.fetch_add(1, Ordering::Relaxed), far));
        Ok(Box::new(near))
    }
}

fn remote<F: Future<Output = ()> + Send + 'static>(
    act: impl Fn(usize, DuplexStream) -> F + Send + Sync + 'static,
) -> Remote {
    let act = Box::new(move |number, stream| Box::pin(act(number, stream)) as Pin<Box<_>>);
    let mut options = RemoteOptions::new("/work");
    options.patience = Duration::from_millis(300);
    options.answer_timeout = Duration::from_millis(300);
    Remote::new(Arc::new(Hostile { act, made: AtomicUsize::new(0) }), options)
}

/// Speaks HTTP/2 and says hello as it should, and answers all else as `answer` says.
async fn speak(stream: DuplexStream, answer: impl Fn() -> Frames + Clone + Send + 'static) {
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        let answer = answer.clone();
        async move {
            let head = request.body_mut().frame().await.expect("a head").expect("a head").into_data().expect("a head");
            let is_hello = head[4..].starts_with(b"{\"hello\"");
            let frames = if is_hello { short(br#"{"Ok":null}"#) } else { answer() };
            Ok::<_, Infallible>(Response::new(StreamBody::new(frames.map(Ok::<_, Infallible>))))
        }
    });
    let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

/// A remote whose calls are all answered as `answer` says.
fn answering(answer: impl Fn() -> Frames + Clone + Send + Sync + 'static) -> Remote {
    remote(move |_, stream| speak(stream, answer.clone()))
}

fn data(bytes: impl Into<Bytes>) -> Frame<Bytes> {
    Frame::data(bytes.into())
}

fn head(json: &[u8]) -> Bytes {
    let len = u32::try_from(json.len()).expect("a length");
    [&len.to_be_bytes(), json].concat().into()
}

fn short(json: &[u8]) -> Frames {
    Box::pin(stream::iter([data(head(json))]))
}

/// What every kind of call says.
async fn errors(remote: &Remote) -> Vec<Error> {
    let size = TerminalSize { rows: 1, columns: 1 };
    let calls = async {
        let written = async {
            let mut writer = remote.write("a".as_ref(), Parents::Created).await?;
            writer.write(b"content").await?;
            writer.finish().await
        };
        vec![
            remote.ready().await.expect_err("ready"),
            remote.spawn(Command::new("true")).await.map(drop).expect_err("spawn"),
            remote.open_terminal(Command::new("true"), size).await.map(drop).expect_err("a terminal"),
            remote.read("a".as_ref(), 0).await.map(drop).expect_err("read"),
            written.await.expect_err("write"),
            remote.metadata("a".as_ref()).await.map(drop).expect_err("metadata"),
            remote.list("a".as_ref()).await.map(drop).expect_err("list"),
            remote.create_dir("a".as_ref()).await.expect_err("create"),
            remote.remove("a".as_ref()).await.expect_err("remove"),
            remote.rename("a".as_ref(), "b".as_ref()).await.expect_err("rename"),
            remote.canonicalize("a".as_ref()).await.map(drop).expect_err("canonicalize"),
            remote.dial(80).await.map(drop).expect_err("dial"),
        ]
    };
    tokio::time::timeout(DEADLINE, calls).await.expect("in time")
}

async fn all_are_unreachable(remote: Remote, why: &str) {
    for error in errors(&remote).await {
        assert!(matches!(error, Error::Unreachable { .. }) && error.to_string().contains(why), "{why}: {error}");
    }
}

#[tokio::test]
async fn silence_is_an_error() {
    all_are_unreachable(
        remote(|_, mut stream| async move {
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }),
        "no answer",
    )
    .await;
}

#[tokio::test]
async fn another_language_is_an_error() {
    let words = [&b"HTTP/1.1 200 OK\r\n\r\n"[..], b"\0", b"\xff\xff\xff\x04\0\0\0\0\0", b"", b"ZZZZZZZZZZZZ"];
    for words in words {
        let act = move |_, mut stream: DuplexStream| async move {
            let _ = stream.write_all(&words.repeat(10_000)).await;
        };
        let error = remote(act).ready().await.expect_err("no answer");
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    }
}

#[tokio::test]
async fn an_answer_that_never_comes_is_an_error() {
    let remote = answering(|| Box::pin(stream::pending()));
    for error in errors(&remote).await {
        assert!(error.to_string().contains("no answer within 300ms"), "{error}");
    }
    // Its search has a time of its own on top.
    let mut search = Search::new("");
    search.limits.time = Duration::from_millis(100);
    let error = remote.search(search).await.expect_err("no answer");
    assert!(error.to_string().contains("no answer within 400ms"), "{error}");
}

#[tokio::test]
async fn an_answer_that_trickles_is_an_error() {
    let trickle = || -> Frames {
        let start = stream::iter([data(head(&[b' '; 100]).split_to(4))]);
        Box::pin(start.chain(stream::repeat_with(|| ()).then(async |()| {
            tokio::time::sleep(Duration::from_millis(50)).await;
            data(&b" "[..])
        })))
    };
    all_are_unreachable(answering(trickle), "no answer within 300ms").await;
}

#[tokio::test]
async fn a_large_answer_is_an_error() {
    // Nothing is made of its size.
    all_are_unreachable(answering(|| Box::pin(stream::iter([data(&[0xff; 4][..])]))), "longer than").await;
    let much = || -> Frames {
        let start = stream::iter([data((1_u32 << 20).to_be_bytes().to_vec())]);
        Box::pin(start.chain(stream::repeat_with(|| data(vec![b' '; 10_000]))))
    };
    all_are_unreachable(answering(much), "makes no sense").await;
}

#[tokio::test]
async fn nonsense_is_an_error() {
    for json in
        [&b"x"[..], b"", b"{}", b"null", br#"{"Ok":"#, br#"{"Ok":{"kind":"soup"}}"#, br#"{"Err":{"what":1}}"#, b"\xff"]
    {
        all_are_unreachable(answering(move || short(json)), "makes no sense").await;
    }
    let deep = "[".repeat(100_000);
    all_are_unreachable(answering(move || short(deep.as_bytes())), "makes no sense").await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error() {
    let cut = || -> Frames { Box::pin(stream::iter([data(head(br#"{"Ok":null}"#).split_to(7))])) };
    for error in errors(&answering(cut)).await {
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_long_list_of_little_is_an_error() {
    let entry = &br#"["","file"],"#[..];
    let count = 1_000_100;
    let mut json = br#"{"Ok":["#.to_vec();
    json.extend(entry.repeat(count));
    json.pop();
    json.extend_from_slice(b"]}");
    let list = head(&json);
    let remote = {
        let act = move |_, stream| {
            let list = list.clone();
            speak(stream, move || Box::pin(stream::iter([data(list.clone())])) as Frames)
        };
        let act = Box::new(move |number, stream| Box::pin(act(number, stream)) as Pin<Box<_>>);
        Remote::new(Arc::new(Hostile { act, made: AtomicUsize::new(0) }), RemoteOptions::new("/"))
    };
    let error = remote.list("a".as_ref()).await.expect_err("too many");
    assert!(error.to_string().contains("at most 1000000"), "{error}");
}

#[tokio::test]
async fn bytes_that_end_in_no_way_are_an_error() {
    let metadata = br#"{"Ok":{"kind":"file","len":18446744073709551615,"modified":99999999999999999999999999}}"#;
    for end in [None, Some(("end", "%%%")), Some(("end", "e30")), Some(("end", "bnVsbA")), Some(("other", ""))] {
        let count = Arc::new(AtomicUsize::new(0));
        let remote = answering(move || {
            let mut frames = vec![data(head(metadata))];
            if count.fetch_add(1, Ordering::Relaxed) == 0 {
                frames.push(data(&b"content"[..]));
            }
            if let Some((name, value)) = end {
                let mut trailers = HeaderMap::new();
                trailers.insert(name, value.parse().expect("a value"));
                frames.push(Frame::trailers(trailers));
            }
            Box::pin(stream::iter(frames))
        });
        let (_, mut reader) = remote.read("a".as_ref(), 0).await.expect("a file");
        let mut read = Vec::new();
        let reading = reader.read_to_end(&mut read);
        tokio::time::timeout(DEADLINE, reading).await.expect("in time").expect_err("it has no end");
        assert_eq!(read, b"content");
    }
}

#[tokio::test]
async fn content_that_never_comes_is_an_error() {
    let metadata = br#"{"Ok":{"kind":"file","len":7,"modified":null}}"#;
    let remote = answering(move || Box::pin(stream::iter([data(head(metadata))]).chain(stream::pending())));
    let (_, mut reader) = remote.read("a".as_ref(), 0).await.expect("a file");
    let error = reader.read(&mut [0; 7]).await.expect_err("nothing comes");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_file_that_nobody_takes_is_an_error() {
    let remote = answering(|| Box::pin(stream::iter([data(head(br#"{"Ok":null}"#))]).chain(stream::pending())));
    let mut writer = remote.write("a".as_ref(), Parents::Created).await.expect("a writer");
    let written = async {
        for _ in 0..100 {
            writer.write(&vec![0; 1 << 20]).await?;
        }
        writer.finish().await
    };
    let error = tokio::time::timeout(DEADLINE, written).await.expect("in time").expect_err("nobody takes it");
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_flood_of_small_parts_ends_the_connection() {
    let (ended, mut has_ended) = mpsc::unbounded_channel();
    let remote = remote(move |_, stream| {
        let ended = ended.clone();
        async move {
            let flood = || -> Frames {
                let start = stream::iter([data(head(br#"{"Ok":null}"#))]);
                Box::pin(start.chain(stream::repeat_with(|| data(&b"x"[..]))))
            };
            speak(stream, flood).await;
            let _ = ended.send(());
        }
    });
    // Nobody reads.
    let process = remote.spawn(Command::new("true")).await.expect("a process");
    tokio::time::timeout(DEADLINE, has_ended.recv()).await.expect("in time").expect("an end");
    drop(process);
}

#[tokio::test]
async fn a_connection_that_answers_no_more_is_replaced() {
    let remote = remote(|number, stream| {
        speak(stream, move || if number == 0 { Box::pin(stream::pending()) } else { short(br#"{"Ok":null}"#) })
    });
    assert!(matches!(remote.ready().await.expect_err("no answer"), Error::Unreachable { .. }));
    remote.ready().await.expect("an answer");
}
