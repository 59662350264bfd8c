//! Files over REST.

use std::os::unix::ffi::OsStrExt;

use futures::StreamExt;
use reqwest::{
    StatusCode,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use crate::server::{TestServer, answer, until};

impl TestServer {
    pub(crate) async fn upload(&self, path: &str, content: impl Into<Vec<u8>>) -> (StatusCode, Value) {
        let form = Form::new().part("file", Part::bytes(content.into()).file_name("upload"));
        answer(self.post("/api/file/upload").query(&[("path", path)]).multipart(form)).await
    }

    pub(crate) async fn download(&self, path: &str) -> (StatusCode, Vec<u8>) {
        let response = self.get("/api/file/download").query(&[("path", path)]).send().await.unwrap();
        (response.status(), response.bytes().await.unwrap().to_vec())
    }
}

#[tokio::test]
async fn what_is_uploaded_can_be_downloaded_under_any_name() {
    let server = TestServer::start().await;
    for name in ["up.txt", "new/parents/a b.txt", "é €/😀 \"quoted\";=.txt", "50%+1&x=#?.txt", "line\nbreak", " "]
    {
        let path = server.path(name);
        let content = format!("hello {name}\r\n--\0");
        let (status, body) = server.upload(&path, content.clone()).await;
        assert_eq!((status, body), (StatusCode::OK, json!({"success": true, "file_size": content.len()})), "{name}");
        assert_eq!(std::fs::read(&path).unwrap(), content.as_bytes());
        assert_eq!(server.download(&path).await, (StatusCode::OK, content.into_bytes()), "{name}");
    }
    let name = std::ffi::OsStr::from_bytes(b"\xff\xfe.bin");
    std::fs::write(server.folder.join(name), "bytes").unwrap();
    let (status, body) =
        answer(server.get(&format!("/api/file/download?path={}/%ff%FE.bin", server.folder.display()))).await;
    assert_eq!((status, body), (StatusCode::OK, json!("bytes")));
    server.stop().await;
}

#[tokio::test]
async fn an_empty_file_and_one_that_is_there_are_replaced() {
    let server = TestServer::start().await;
    let path = server.path("file");
    for content in ["", "long content", "x", ""] {
        assert_eq!(server.upload(&path, content).await.0, StatusCode::OK);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
    }
    server.stop().await;
}

#[tokio::test]
async fn large_files_stream_both_ways() {
    const SIZE: usize = 64 << 20;
    let server = TestServer::start().await;
    let path = server.path("large.bin");
    // Line breaks and hyphens, so that a boundary seems near everywhere.
    let block: Vec<u8> = (0..1 << 16).map(|at| b"\r\n--ab\0\xff"[at * 7 % 8]).collect();
    let blocks = futures::stream::iter((0..SIZE / block.len()).map({
        let block = block.clone();
        move |_| Ok::<_, std::io::Error>(block.clone())
    }));
    let part = Part::stream(reqwest::Body::wrap_stream(blocks)).file_name("large.bin");
    let request = server.post("/api/file/upload").query(&[("path", &path)]).multipart(Form::new().part("file", part));
    assert_eq!(answer(request).await.1, json!({"success": true, "file_size": SIZE}));
    let response = server.get("/api/file/download").query(&[("path", &path)]).send().await.unwrap();
    assert_eq!(response.content_length(), Some(SIZE as u64));
    let mut stream = response.bytes_stream();
    let mut read = 0;
    while let Some(chunk) = stream.next().await {
        for byte in chunk.unwrap() {
            assert!(byte == block[read % block.len()], "byte {read} is wrong");
            read += 1;
        }
    }
    assert_eq!(read, SIZE);
    server.stop().await;
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_the_old_file() {
    use tokio::io::AsyncWriteExt;
    let server = TestServer::start().await;
    let path = server.path("file");
    server.upload(&path, "old").await;
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST /api/file/upload?path={path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\
         Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b'x'; 500_000]).await.unwrap();
    let files = || std::fs::read_dir(&server.folder).unwrap().count();
    until(async || (files() > 1).then_some(())).await;
    drop(stream);
    until(async || (files() == 1).then_some(())).await;
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
    server.stop().await;
}

#[tokio::test]
async fn uploads_that_make_no_sense_say_why() {
    let server = TestServer::start().await;
    let file = server.path("file");
    server.upload(&file, "x").await;
    for (path, detail) in [
        ("rel.txt", "Path must be absolute"),
        (server.folder.to_str().unwrap(), "Path is a directory"),
        (&format!("{file}/zz"), "A parent of the path is not a directory"),
        ("/dev/null", "Path is not a regular file"),
    ] {
        // Large enough that an early answer would meet a client that is still sending.
        let (status, body) = server.upload(path, vec![b'x'; 8 << 20]).await;
        assert_eq!((status, body), (StatusCode::BAD_REQUEST, json!({"detail": detail})), "{path}");
    }
    let request = server.post("/api/file/upload").query(&[("path", &file)]);
    let missing =
        json!({"detail": [{"type": "missing", "loc": ["body", "file"], "msg": "Field required", "input": null}]});
    for request in [
        request.try_clone().unwrap(),
        request.try_clone().unwrap().json(&json!({})),
        request.multipart(Form::new().text("other", "x")),
    ] {
        assert_eq!(answer(request).await, (StatusCode::UNPROCESSABLE_ENTITY, missing.clone()));
    }
    server.stop().await;
}

#[tokio::test]
async fn parts_of_a_file_and_files_that_did_not_change() {
    let server = TestServer::start().await;
    let path = server.path("up.txt");
    server.upload(&path, "hello upload").await;
    let get = || server.get("/api/file/download").query(&[("path", &path)]);
    let whole = get().send().await.unwrap();
    let header = |response: &reqwest::Response, name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header(&whole, "content-disposition"), "attachment; filename=\"up.txt\"");
    assert_eq!(header(&whole, "accept-ranges"), "bytes");
    assert_eq!(header(&whole, "content-type"), "application/octet-stream");
    let (etag, modified) = (header(&whole, "etag"), header(&whole, "last-modified"));
    assert!(modified.ends_with(" GMT") && modified.as_bytes()[3] == b',', "{modified}");
    for (range, status, text, content_range) in [
        ("bytes=0-3", StatusCode::PARTIAL_CONTENT, "hell", "bytes 0-3/12"),
        ("bytes=6-", StatusCode::PARTIAL_CONTENT, "upload", "bytes 6-11/12"),
        ("bytes=-3", StatusCode::PARTIAL_CONTENT, "oad", "bytes 9-11/12"),
        ("bytes=12-", StatusCode::RANGE_NOT_SATISFIABLE, "", "bytes */12"),
    ] {
        let response = get().header("Range", range).send().await.unwrap();
        assert_eq!(response.status(), status, "{range}");
        assert_eq!(header(&response, "content-range"), content_range);
        assert_eq!(response.text().await.unwrap(), text);
    }
    for (if_range, status) in [
        (&etag, StatusCode::PARTIAL_CONTENT),
        (&modified, StatusCode::PARTIAL_CONTENT),
        (&"\"x\"".to_owned(), StatusCode::OK),
    ] {
        let response = get().header("Range", "bytes=0-3").header("If-Range", if_range).send().await.unwrap();
        assert_eq!(response.status(), status, "{if_range}");
    }
    let unchanged = get().header("If-None-Match", &etag).send().await.unwrap();
    assert_eq!(unchanged.status(), StatusCode::NOT_MODIFIED);
    server.upload(&path, "hello UPLOAD").await;
    assert_eq!(get().header("If-None-Match", &etag).send().await.unwrap().status(), StatusCode::OK);
    server.stop().await;
}

#[tokio::test]
async fn downloads_that_make_no_sense_say_why() {
    let server = TestServer::start().await;
    for (path, status, detail) in [
        ("rel", StatusCode::BAD_REQUEST, "Path must be absolute"),
        ("/nosuch/file", StatusCode::NOT_FOUND, "File not found"),
        ("/etc/passwd/x", StatusCode::NOT_FOUND, "File not found"),
        ("/etc", StatusCode::BAD_REQUEST, "Path is not a file"),
        ("/dev/zero", StatusCode::BAD_REQUEST, "Path is not a file"),
    ] {
        let request = server.get("/api/file/download").query(&[("path", path)]);
        assert_eq!(answer(request).await, (status, json!({"detail": detail})), "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn folders_are_made_and_listed() {
    let server = TestServer::start().await;
    let file = server.path("file");
    server.upload(&file, "x").await;
    let make = async |path: &str| answer(server.post("/api/file/create_directory").query(&[("path", path)])).await;
    for name in ["sub/alpha", "sub/Beta", "sub/x1", "sub/x2", "sub/Zeta", "sub/.hid", "sub/alpha"] {
        assert_eq!(make(&server.path(name)).await, (StatusCode::OK, json!({"success": true})));
    }
    assert_eq!(make(&file).await, (StatusCode::BAD_REQUEST, json!({"detail": "Path exists and is not a directory"})));
    assert_eq!(make("rel").await, (StatusCode::BAD_REQUEST, json!({"detail": "Path must be absolute"})));
    std::os::unix::fs::symlink("alpha", server.path("sub/link")).unwrap();
    let sub = server.path("sub");
    let list = async |query: &[(&str, &str)]| {
        let (status, page) = answer(server.get("/api/file/search_subdirs").query(&[("path", &sub)]).query(query)).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        let names = page["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned());
        (names.collect::<Vec<_>>().join(" "), page["next_page_id"].clone())
    };
    assert_eq!(list(&[]).await, ("alpha Beta x1 x2 Zeta".to_owned(), Value::Null));
    assert_eq!(list(&[("limit", "2")]).await, ("alpha Beta".to_owned(), json!("x1")));
    assert_eq!(list(&[("limit", "2"), ("page_id", "x1")]).await, ("x1 x2".to_owned(), json!("Zeta")));
    assert_eq!(list(&[("include_hidden", "true")]).await.0, ".hid alpha Beta x1 x2 Zeta");
    for (path, status, detail) in [
        ("/nosuch", StatusCode::NOT_FOUND, "Directory not found"),
        (file.as_str(), StatusCode::BAD_REQUEST, "Path is not a directory"),
        ("rel", StatusCode::BAD_REQUEST, "Path must be absolute"),
    ] {
        let request = server.get("/api/file/search_subdirs").query(&[("path", path)]);
        assert_eq!(answer(request).await, (status, json!({"detail": detail})), "{path}");
    }
    let (status, home) = answer(server.get("/api/file/home")).await;
    assert_eq!((status, &home["locations"]), (StatusCode::OK, &json!([{"label": "/", "path": "/"}])));
    assert!(home["home"].as_str().unwrap().starts_with('/'), "{home}");
    server.stop().await;
}
