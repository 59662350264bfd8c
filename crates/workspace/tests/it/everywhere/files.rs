use std::{
    ffi::OsStr,
    fs::{self, Permissions},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt as _, symlink},
    },
    path::Path,
};

use longshore_workspace::{Error, FileKind, Parents};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::place;
use crate::support::{Place, content, until};

async fn write(place: &Place, path: impl AsRef<Path>, bytes: &[u8], parents: Parents) -> Result<(), Error> {
    let mut writer = place.workspace.write(path.as_ref(), parents).await?;
    writer.write(bytes).await?;
    writer.finish().await
}

fn names(place: &Place) -> Vec<String> {
    let entries = fs::read_dir(place.folder.path()).expect("the folder");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_file_appears_whole_or_not_at_all() {
    let place = place();
    fs::write(place.path("a"), "old").expect("a file");
    let mut writer = place.workspace.write("a".as_ref(), Parents::Required).await.expect("a writer");
    writer.write(&vec![b'n'; 1_000_000]).await.expect("a write");
    assert_eq!(fs::read(place.path("a")).expect("the file"), b"old");
    writer.finish().await.expect("the end");
    assert_eq!(fs::read(place.path("a")).expect("the file"), vec![b'n'; 1_000_000]);
    assert_eq!(names(&place), ["a"]);
}

#[tokio::test]
async fn a_write_that_is_given_up_leaves_nothing() {
    let place = place();
    fs::write(place.path("a"), "old").expect("a file");
    for name in ["a", "b"] {
        let mut writer = place.workspace.write(name.as_ref(), Parents::Required).await.expect("a writer");
        writer.write(&vec![b'n'; 1_000_000]).await.expect("a write");
    }
    until("nothing is left of it", || names(&place) == ["a"]).await;
    assert_eq!(fs::read(place.path("a")).expect("the file"), b"old");
}

#[tokio::test]
async fn a_file_keeps_its_mode_and_a_new_one_gets_the_usual() {
    let place = place();
    let mode = |name: &str| fs::metadata(place.path(name)).expect("the file").permissions().mode() & 0o7777;
    fs::write(place.path("tool"), "old").expect("a file");
    fs::set_permissions(place.path("tool"), Permissions::from_mode(0o751)).expect("its mode");
    write(&place, "tool", b"new", Parents::Required).await.expect("a write");
    assert_eq!(mode("tool"), 0o751);
    fs::write(place.path("usual"), "").expect("a file");
    write(&place, "new", b"", Parents::Required).await.expect("a write");
    assert_eq!(mode("new"), mode("usual"));
}

#[tokio::test]
async fn a_link_stays_a_link() {
    let place = place();
    fs::create_dir(place.path("d")).expect("a folder");
    fs::write(place.path("d/real"), "old").expect("a file");
    symlink("d/real", place.path("one")).expect("a link");
    symlink("one", place.path("two")).expect("a link");
    write(&place, "two", b"new", Parents::Required).await.expect("a write");
    assert_eq!(fs::read(place.path("d/real")).expect("the file"), b"new");
    assert_eq!(fs::read_link(place.path("two")).expect("a link"), Path::new("one"));

    symlink("d/later", place.path("dangling")).expect("a link");
    write(&place, "dangling", b"here", Parents::Required).await.expect("a write");
    assert_eq!(fs::read(place.path("d/later")).expect("the file"), b"here");

    symlink("round", place.path("round")).expect("a link");
    let error = write(&place, "round", b"", Parents::Required).await.expect_err("it has no end");
    assert!(matches!(error, Error::Io { .. }), "{error}");
}

#[tokio::test]
async fn parents_are_made_only_if_asked() {
    let place = place();
    let error = write(&place, "a/b/c", b"x", Parents::Required).await.expect_err("no folder");
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    write(&place, "a/b/c", b"x", Parents::Created).await.expect("a write");
    assert_eq!(fs::read(place.path("a/b/c")).expect("the file"), b"x");
    for parents in [Parents::Created, Parents::Required] {
        let error = write(&place, "a/b/c/d", b"x", parents).await.expect_err("a file is in the way");
        assert!(matches!(error, Error::NotADirectory { .. }), "{error}");
        assert!(error.to_string().contains("a/b/c"), "{error}");
    }
    let error = write(&place, "a/b", b"x", Parents::Created).await.expect_err("a folder is in the way");
    assert!(matches!(error, Error::IsADirectory { .. }), "{error}");
}

#[tokio::test]
async fn only_regular_files_are_read_or_replaced() {
    let place = place();
    place.must("mkfifo pipe").await;
    for path in ["pipe", "/dev/null"] {
        let error = content(&*place.workspace, path, 0).await.expect_err("no file");
        assert!(matches!(error, Error::NotAFile { .. }), "{error}");
        let error = write(&place, path, b"x", Parents::Required).await.expect_err("no file");
        assert!(matches!(error, Error::NotAFile { .. }), "{error}");
    }
    let error = content(&*place.workspace, "", 0).await.expect_err("no file");
    assert!(matches!(error, Error::IsADirectory { .. }), "{error}");
    let error = content(&*place.workspace, "none", 0).await.expect_err("no file");
    assert!(matches!(&error, Error::NotFound { path } if *path == place.path("none")), "{error}");
}

#[tokio::test]
async fn names_are_bytes() {
    let place = place();
    let name = Path::new(OsStr::from_bytes(b"\xff \n\xfe"));
    write(&place, name, b"content", Parents::Required).await.expect("a write");
    assert_eq!(content(&*place.workspace, name, 3).await.expect("the file"), b"tent");
    let listed = place.workspace.list("".as_ref()).await.expect("the folder");
    assert_eq!(listed.len(), 1);
    assert_eq!((&*listed[0].name, listed[0].kind), (name.as_os_str(), FileKind::File));
    assert_eq!(place.workspace.canonicalize(name).await.expect("its path"), place.path(name));
    place.workspace.rename(name, "plain".as_ref()).await.expect("another name");
    place.workspace.remove("plain".as_ref()).await.expect("its end");
    assert!(names(&place).is_empty());
}

#[tokio::test]
async fn a_large_file_goes_there_and_back() {
    const PART: usize = 1 << 20;
    let place = place();
    let part = |index: u8| {
        (0..251).cycle().take(PART).map(|byte: u8| byte.wrapping_add(index.wrapping_mul(31))).collect::<Vec<_>>()
    };
    let mut writer = place.workspace.write("large".as_ref(), Parents::Required).await.expect("a writer");
    for index in 0..64 {
        writer.write(&part(index)).await.expect("a write");
    }
    writer.finish().await.expect("the end");
    let (metadata, mut reader) = place.workspace.read("large".as_ref(), 5).await.expect("the file");
    assert_eq!(metadata.len, 64 * PART as u64);
    let mut bytes = vec![0; PART - 5];
    reader.read_exact(&mut bytes).await.expect("a part");
    assert!(bytes == part(0)[5..]);
    bytes.resize(PART, 0);
    for index in 1..64 {
        reader.read_exact(&mut bytes).await.expect("a part");
        assert!(bytes == part(index), "part {index}");
    }
    assert_eq!(reader.read(&mut bytes).await.expect("the end"), 0);
}

#[tokio::test]
async fn reading_starts_where_it_is_told() {
    let place = place();
    fs::write(place.path("a"), "0123456789").expect("a file");
    for (offset, expected) in [(0, "0123456789"), (4, "456789"), (10, ""), (1000, "")] {
        assert_eq!(content(&*place.workspace, "a", offset).await.expect("the file"), expected.as_bytes());
    }
    // A file that does not know its length.
    assert!(!content(&*place.workspace, "/proc/self/status", 0).await.expect("the file").is_empty());
}

#[tokio::test]
async fn folders_are_made_listed_and_removed() {
    let place = place();
    place.workspace.create_dir("a/b".as_ref()).await.expect("a folder");
    place.workspace.create_dir("a/b".as_ref()).await.expect("it is there");
    fs::write(place.path("a/file"), "x").expect("a file");
    fs::write(place.path("kept"), "x").expect("a file");
    symlink("../kept", place.path("a/link")).expect("a link");
    place.must("mkfifo a/pipe").await;
    let mut listed: Vec<_> = place
        .workspace
        .list("a".as_ref())
        .await
        .expect("the folder")
        .into_iter()
        .map(|entry| (entry.name, entry.kind))
        .collect();
    listed.sort_by(|one, other| one.0.cmp(&other.0));
    let expected =
        [("b", FileKind::Directory), ("file", FileKind::File), ("link", FileKind::Symlink), ("pipe", FileKind::Other)];
    assert_eq!(listed, expected.map(|(name, kind)| (name.into(), kind)));
    assert_eq!(place.workspace.metadata("a/link".as_ref()).await.expect("its target").kind, FileKind::File);

    for path in ["kept", "kept/below"] {
        let error = place.workspace.create_dir(path.as_ref()).await.expect_err("a file is in the way");
        assert!(matches!(error, Error::NotADirectory { .. }), "{error}");
        let error = place.workspace.list(path.as_ref()).await.expect_err("no folder");
        assert!(matches!(error, Error::NotADirectory { .. }), "{error}");
    }
    place.workspace.remove("a".as_ref()).await.expect("its end");
    assert_eq!(names(&place), ["kept"]);
    let error = place.workspace.remove("a".as_ref()).await.expect_err("it is gone");
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
}

#[tokio::test]
async fn times_are_exact() {
    let place = place();
    for time in
        ["1901-12-13 20:45:55.123456789", "1969-12-31 23:59:59.5", "2026-01-02 03:04:05.999999999", "3000-01-01"]
    {
        place.must(&format!("touch -d '{time}' file")).await;
        let expected = fs::metadata(place.path("file")).expect("the file").modified().expect("a time");
        let found = place.workspace.metadata("file".as_ref()).await.expect("the file");
        assert_eq!((found.kind, found.len, found.modified), (FileKind::File, 0, Some(expected)));
    }
}

#[tokio::test]
async fn renaming_replaces_and_names_what_is_missing() {
    let place = place();
    fs::write(place.path("a"), "new").expect("a file");
    fs::write(place.path("b"), "old").expect("a file");
    place.workspace.rename("a".as_ref(), "b".as_ref()).await.expect("another name");
    assert_eq!(fs::read(place.path("b")).expect("the file"), b"new");
    let error = place.workspace.rename("a".as_ref(), "c".as_ref()).await.expect_err("it is gone");
    assert!(matches!(&error, Error::NotFound { path } if *path == place.path("a")), "{error}");
    let error = place.workspace.rename("b".as_ref(), "none/c".as_ref()).await.expect_err("no folder");
    assert!(matches!(&error, Error::NotFound { path } if *path == place.path("none")), "{error}");
}

#[tokio::test]
async fn a_port_is_reached() {
    let place = place();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let (dialled, accepted) = tokio::join!(place.workspace.dial(port), listener.accept());
    let (mut reader, mut writer) = dialled.expect("a connection");
    let (mut peer, _) = accepted.expect("a connection");
    writer.write_all(b"ping").await.expect("a write");
    let mut bytes = [0; 4];
    peer.read_exact(&mut bytes).await.expect("a read");
    peer.write_all(b"pong").await.expect("a write");
    reader.read_exact(&mut bytes).await.expect("a read");
    assert_eq!(&bytes, b"pong");
    drop(listener);
    let error = place.workspace.dial(port).await.err().expect("nobody listens");
    assert!(error.to_string().contains(&port.to_string()), "{error}");
}
