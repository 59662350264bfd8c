//! Files of a workspace.

use std::os::unix::fs::{PermissionsExt, symlink};

use longshore_server::{Limits, Options};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{World, own};
use crate::server::answer;

/// The path of a file in Ann's own workspace.
fn file(path: &str) -> String {
    format!("{}/files/{path}", own("ann"))
}

async fn put(world: &World, path: &str, body: impl Into<reqwest::Body>) -> (StatusCode, Value) {
    answer(world.request("ann", Method::PUT, &file(path)).body(body)).await
}

#[tokio::test]
async fn files_come_back_as_they_were_put() {
    let world = World::start().await;
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let (status, body) = put(&world, "deep/down/a%20b.bin", content.clone()).await;
    assert_eq!((status, body), (StatusCode::CREATED, json!({"path": "deep/down/a b.bin", "size": content.len()})));
    assert_eq!(std::fs::read(world.0.folder.join("deep/down/a b.bin")).unwrap(), content);
    let response = world.request("ann", Method::GET, &file("deep/down/a%20b.bin")).send().await.unwrap();
    assert_eq!(response.headers()["content-length"], content.len().to_string());
    let etag = response.headers()["etag"].clone();
    assert!(response.headers().contains_key("last-modified"));
    assert_eq!(response.bytes().await.unwrap(), content);

    let get = || world.request("ann", Method::GET, &file("deep/down/a%20b.bin"));
    let part = get().header("Range", "bytes=10-19").send().await.unwrap();
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.bytes().await.unwrap(), content[10..20]);
    let known = get().header("If-None-Match", etag).send().await.unwrap();
    assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
    let beyond = get().header("Range", "bytes=9999999-").send().await.unwrap();
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    let head = world.request("ann", Method::HEAD, &file("deep/down/a%20b.bin")).send().await.unwrap();
    assert_eq!(
        (head.status(), &head.headers()["content-length"]),
        (StatusCode::OK, &json!(content.len()).to_string().parse().unwrap())
    );
    assert_eq!(head.bytes().await.unwrap().len(), 0);

    assert_eq!(put(&world, "deep/down/a%20b.bin", "new").await.0, StatusCode::OK);
    assert_eq!(get().send().await.unwrap().text().await.unwrap(), "new");
    let (status, _) =
        answer(world.request("ann", Method::PUT, &format!("{}?mode=0755", file("run.sh"))).body("x")).await;
    assert_eq!(status, StatusCode::CREATED);
    let mode = std::fs::metadata(world.0.folder.join("run.sh")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    let leftovers = std::fs::read_dir(&world.0.folder).unwrap().flatten();
    assert!(leftovers.map(|entry| entry.file_name()).all(|name| !name.to_string_lossy().starts_with(".longshore")));
    world.0.stop().await;
}

#[tokio::test]
async fn folders_are_made_listed_by_pages_and_removed() {
    let world = World::start().await;
    assert_eq!(put(&world, "folder/sub/", "").await.0, StatusCode::CREATED);
    assert_eq!(put(&world, "folder/sub/", "").await.0, StatusCode::OK);
    assert_eq!(put(&world, "folder/other/", "body").await.0, StatusCode::UNPROCESSABLE_ENTITY);
    for name in ["b", "a"] {
        put(&world, &format!("folder/{name}"), "1234").await;
    }
    symlink("/etc/passwd", world.0.folder.join("folder/link")).unwrap();
    let (status, listing) = world.get("ann", &file("folder")).await;
    assert_eq!((status, &listing["path"], &listing["next_page_id"]), (StatusCode::OK, &json!("folder"), &Value::Null));
    let found: Vec<_> = listing["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (item["name"].as_str().unwrap(), item["kind"].as_str().unwrap(), item["size"].clone()))
        .collect();
    let expected = [
        ("a", "file", json!(4)),
        ("b", "file", json!(4)),
        ("link", "symlink", Value::Null),
        ("sub", "directory", Value::Null),
    ];
    assert_eq!(found, expected);
    assert!(listing["items"][0]["modified_at"].is_string() && listing["items"][2]["modified_at"].is_null());
    let (_, page) = world.get("ann", &format!("{}?limit=3&page_id=b", file("folder/"))).await;
    assert_eq!((page["items"][0]["name"].as_str(), page["items"].as_array().unwrap().len()), (Some("b"), 3));
    for root in [own("ann") + "/files", file("")] {
        assert_eq!(world.get("ann", &root).await.1["items"][0]["name"], "folder", "{root}");
    }

    assert_eq!(world.delete("ann", &file("folder")).await.0, StatusCode::CONFLICT);
    assert_eq!(world.delete("ann", &file("folder/sub")).await.0, StatusCode::NO_CONTENT);
    assert_eq!(world.delete("ann", &file("folder/link")).await.0, StatusCode::NO_CONTENT);
    assert!(std::path::Path::new("/etc/passwd").exists());
    assert_eq!(world.delete("ann", &format!("{}?recursive=true", file("folder"))).await.0, StatusCode::NO_CONTENT);
    assert_eq!(world.delete("ann", &file("folder")).await.0, StatusCode::NOT_FOUND);
    assert_eq!(world.delete("ann", &file(".?recursive=true")).await.0, StatusCode::METHOD_NOT_ALLOWED);
    world.0.stop().await;
}

#[tokio::test]
async fn what_is_not_there_or_in_the_way_is_told() {
    let world = World::start().await;
    put(&world, "file", "x").await;
    put(&world, "folder/", "").await;
    for (method, path, status) in [
        (Method::GET, "none", StatusCode::NOT_FOUND),
        (Method::GET, "file/below", StatusCode::NOT_FOUND),
        (Method::GET, "file/", StatusCode::NOT_FOUND),
        (Method::DELETE, "none", StatusCode::NOT_FOUND),
        (Method::PUT, "folder", StatusCode::CONFLICT),
        (Method::PUT, "file/", StatusCode::CONFLICT),
        (Method::PUT, "new?mode=rwx", StatusCode::UNPROCESSABLE_ENTITY),
        (Method::PUT, "new?mode=4755", StatusCode::UNPROCESSABLE_ENTITY),
        (Method::GET, "folder?limit=0", StatusCode::UNPROCESSABLE_ENTITY),
        (Method::POST, "file", StatusCode::METHOD_NOT_ALLOWED),
    ] {
        let (found, body) = world.ask("ann", method.clone(), &file(path), Value::Null).await;
        assert_eq!(found, status, "{method} {path}: {body}");
    }
    world.0.stop().await;
}

#[tokio::test]
async fn no_path_leads_out_of_the_folder() {
    let world = World::start().await;
    put(&world, "inside", "x").await;
    let folder = &world.0.folder;
    symlink("/etc", folder.join("outside")).unwrap();
    symlink(folder.parent().unwrap().join("not-yet"), folder.join("dangling")).unwrap();
    for path in [
        "..%2fstore.db",
        "%2fetc/passwd",
        "/etc/passwd",
        "a%00b",
        "outside/passwd",
        "outside/new",
        "dangling",
        "a/..%2f..%2fx",
    ] {
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            if path == "dangling" && method == Method::DELETE {
                continue;
            }
            let (status, body) = world.ask("ann", method.clone(), &file(path), Value::Null).await;
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{method} {path}: {body}");
        }
    }
    // Clients take these out of a path before they send it, so the line is written by hand.
    for path in ["../x", "%2e%2e/x", "a/../../x"] {
        let mut stream = tokio::net::TcpStream::connect(world.0.address).await.unwrap();
        let head = format!(
            "GET {} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ann\r\nConnection: close\r\n\r\n",
            file(path)
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 422"), "{path}: {answer}");
    }
    assert_eq!(world.delete("ann", &file("dangling")).await.0, StatusCode::NO_CONTENT, "the link itself is inside");
    assert!(!folder.parent().unwrap().join("not-yet").exists());
    world.0.stop().await;
}

#[tokio::test]
async fn a_file_that_is_too_large_leaves_no_trace() {
    let world =
        World::with(Options { limits: Limits { upload_bytes: 1000, ..Limits::default() }, ..Options::default() }).await;
    assert_eq!(put(&world, "fits", vec![0; 1000]).await.0, StatusCode::CREATED);
    assert_eq!(put(&world, "large", vec![0; 1001]).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let chunks = futures::stream::iter((0..20).map(|_| Ok::<_, std::io::Error>(vec![0_u8; 100])));
    let (status, _) = put(&world, "streamed", reqwest::Body::wrap_stream(chunks)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let (status, _) =
        answer(world.request("ann", Method::PUT, &format!("{}?mode=700", file("moded"))).body(vec![0; 1001])).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let names: Vec<_> = std::fs::read_dir(&world.0.folder).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["fits"]);
    world.0.stop().await;
}
