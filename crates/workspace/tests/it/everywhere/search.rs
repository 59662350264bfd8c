use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::symlink},
    path::Path,
    sync::Arc,
    time::Duration,
};

use longshore_workspace::{Error, Findings, Incomplete, Search, SearchLimits};

use super::place;
use crate::support::{DEADLINE, Place};

/// Files of the place, with their folders.
fn write(place: &Place, files: &[(&str, &str)]) {
    for (name, content) in files {
        let path = place.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("the folder");
        fs::write(path, content).expect("a file");
    }
}

async fn find(place: &Place, search: Search) -> Findings {
    let found = tokio::time::timeout(DEADLINE, place.workspace.search(search)).await.expect("in time");
    found.expect("an answer")
}

/// The lines that were found, as `path:line:text`.
async fn lines(place: &Place, search: Search) -> Vec<String> {
    let found = find(place, search).await;
    assert!(found.files.is_empty() && found.incomplete.is_none(), "{found:?}");
    let line =
        |found: longshore_workspace::Match| format!("{}:{}:{}", below(place, &found.path), found.line, found.text);
    found.matches.into_iter().map(line).collect()
}

/// The files that were found.
async fn files(place: &Place, search: Search) -> Vec<String> {
    let found = find(place, search).await;
    assert!(found.matches.is_empty() && found.incomplete.is_none(), "{found:?}");
    found.files.iter().map(|file| below(place, &file.path)).collect()
}

fn below(place: &Place, path: &Path) -> String {
    path.strip_prefix(place.workspace.working_dir()).expect("a path below").to_str().expect("text").to_owned()
}

#[tokio::test]
async fn lines_are_found_in_order() {
    let place = place();
    write(&place, &[("b/c", "one\ntwo\nOne two\n"), ("b/a", "x\r\none\r\n"), ("a", "none"), ("d", "No")]);
    let all = ["a:1:none", "b/a:2:one", "b/c:1:one"];
    assert_eq!(lines(&place, Search::new("").pattern("one")).await, all);
    assert_eq!(lines(&place, Search::new(".").pattern("one")).await, all);
    assert_eq!(lines(&place, Search::new("b/./").pattern("^one$")).await, all[1..]);
    let mut search = Search::new("b").pattern(r"^ONE\b");
    search.case_insensitive = true;
    assert_eq!(lines(&place, search).await, ["b/a:2:one", "b/c:1:one", "b/c:3:One two"]);
    assert_eq!(lines(&place, Search::new("b/c").pattern("o")).await, ["b/c:1:one", "b/c:2:two", "b/c:3:One two"]);
    assert_eq!(lines(&place, Search::new(place.path("b/c")).pattern("tw+").include("c")).await.len(), 2);
}

#[tokio::test]
async fn what_is_hidden_or_ignored_is_found_if_asked_for() {
    let place = place();
    let names = ["seen", ".hidden", "built.log", "target/deep/built", "sub/other.tmp", ".git/config", "sub/.env"];
    write(&place, &names.map(|name| (name, "x")));
    write(&place, &[(".gitignore", "*.log\n/target\n"), ("sub/.ignore", "*.tmp\n")]);
    assert_eq!(files(&place, Search::new("")).await, ["seen"]);
    let mut search = Search::new("");
    search.hidden = true;
    assert_eq!(files(&place, search.clone()).await, [".gitignore", ".hidden", "seen", "sub/.env", "sub/.ignore"]);
    search.ignore_files = false;
    assert_eq!(files(&place, search.clone()).await.len(), 9);
    search.hidden = false;
    assert_eq!(files(&place, search).await, ["built.log", "seen", "sub/other.tmp", "target/deep/built"]);
    // The files that are above count as well.
    write(&place, &[("sub/built.log", "x")]);
    assert!(files(&place, Search::new("sub")).await.is_empty());
    assert_eq!(lines(&place, Search::new("").pattern("x")).await, ["seen:1:x"]);
}

#[tokio::test]
async fn globs_choose() {
    let place = place();
    write(
        &place,
        &["a.rs", "b.ts", "src/c.rs", "src/d.js", "src/deep/e.rs", "old/src/f.rs", "odd[1].rs"].map(|n| (n, "")),
    );
    let found = async |include: &[&str], exclude: &[&str]| {
        let mut search = Search::new("");
        search.include.extend(include.iter().map(|&glob| glob.to_owned()));
        search.exclude.extend(exclude.iter().map(|&glob| glob.to_owned()));
        files(&place, search).await.join(" ")
    };
    assert_eq!(found(&["*.rs"], &[]).await, "a.rs odd[1].rs old/src/f.rs src/c.rs src/deep/e.rs");
    assert_eq!(found(&["/*.rs"], &[]).await, "a.rs odd[1].rs");
    assert_eq!(found(&["src/**/*.rs"], &[]).await, "src/c.rs src/deep/e.rs");
    assert_eq!(found(&["./src/*.{rs,js}"], &[]).await, "src/c.rs src/d.js");
    assert_eq!(found(&["**/src/*"], &[]).await, "old/src/f.rs src/c.rs src/d.js");
    assert_eq!(found(&["src/"], &[]).await, "old/src/f.rs src/c.rs src/d.js src/deep/e.rs");
    assert_eq!(found(&["/src/"], &[]).await, "src/c.rs src/d.js src/deep/e.rs");
    assert_eq!(found(&["odd[[]1].rs", "b.ts"], &[]).await, "b.ts odd[1].rs");
    assert_eq!(found(&[], &["src"]).await, "a.rs b.ts odd[1].rs");
    assert_eq!(found(&["*.rs"], &["/src/", "a.*"]).await, "odd[1].rs old/src/f.rs");
    assert_eq!(found(&[], &["*"]).await, "");
}

#[tokio::test]
async fn limits_end_a_search_and_say_so() {
    let place = place();
    write(&place, &[("a", "x\nx\nx\n"), ("b", "x\n"), ("c", "x\n")]);
    let limited = async |pattern: bool, change: fn(&mut SearchLimits)| {
        let mut search = Search::new("");
        search.pattern = pattern.then(|| "x".to_owned());
        change(&mut search.limits);
        let found = find(&place, search).await;
        (found.matches.len(), found.files.len(), found.incomplete)
    };
    assert_eq!(limited(true, |limits| limits.matches = 5).await, (5, 0, None));
    assert_eq!(limited(true, |limits| limits.matches = 2).await, (2, 0, Some(Incomplete::Matches)));
    assert_eq!(limited(true, |limits| limits.files = 3).await, (5, 0, None));
    assert_eq!(limited(true, |limits| limits.files = 2).await, (4, 0, Some(Incomplete::Files)));
    assert_eq!(limited(false, |limits| limits.files = 3).await, (0, 3, None));
    assert_eq!(limited(false, |limits| limits.files = 2).await, (0, 2, Some(Incomplete::Files)));
    assert_eq!(limited(false, |limits| limits.time = Duration::ZERO).await, (0, 0, Some(Incomplete::Time)));

    write(&place, &[("d", "yäöü\n"), ("e", &"z".repeat(100_000))]);
    let mut search = Search::new("").pattern("[yz]");
    search.limits.line = 4;
    assert_eq!(lines(&place, search.clone()).await, ["d:1:yä", "e:1:zzzz"]);
    search.limits.line = usize::MAX;
    assert_eq!(find(&place, search).await.matches[1].text.len(), SearchLimits::MAX_LINE);

    // More than there may be of everything.
    write(&place, &[("f", &format!("{}\n", "w".repeat(10_000)).repeat(1000))]);
    let mut search = Search::new("").pattern("w");
    search.limits = SearchLimits { matches: usize::MAX, files: usize::MAX, line: usize::MAX, time: Duration::MAX };
    let found = find(&place, search).await;
    assert_eq!(found.incomplete, Some(Incomplete::Size));
    assert!(found.matches.len() > 500 && found.matches.len() * 10_000 <= SearchLimits::MAX_SIZE);
}

#[tokio::test]
async fn only_text_is_looked_into() {
    let place = place();
    write(&place, &[("binary", "needle\n"), ("text", "needle\n"), ("real/file", "needle\n")]);
    // What shows that it is no text comes long after the line.
    let mut binary = b"needle\n".to_vec();
    binary.extend_from_slice(&b"something else\n".repeat(50_000));
    binary.push(0);
    fs::write(place.path("binary"), binary).expect("a file");
    fs::write(place.path("latin"), b"needle caf\xe9\n").expect("a file");
    symlink("text", place.path("link")).expect("a link");
    symlink("real", place.path("folder")).expect("a link");
    place.must("mkfifo pipe").await;
    let expected = ["latin:1:needle caf\u{fffd}", "real/file:1:needle", "text:1:needle"];
    assert_eq!(lines(&place, Search::new("").pattern("needle")).await, expected);
    assert_eq!(files(&place, Search::new("")).await, ["binary", "latin", "real/file", "text"]);
    // What is named itself is followed.
    assert_eq!(lines(&place, Search::new("folder").pattern("needle")).await, ["folder/file:1:needle"]);
    assert_eq!(lines(&place, Search::new("link").pattern("needle")).await, ["link:1:needle"]);
}

#[tokio::test]
async fn names_of_any_bytes_are_found() {
    let place = place();
    let name = OsStr::from_bytes(b"\xff \n");
    fs::write(place.path(name), "needle").expect("a file");
    let found = find(&place, Search::new("").pattern("needle").include("*")).await;
    assert_eq!(found.matches[0].path, place.path(name));
    let found = find(&place, Search::new("")).await;
    assert_eq!(found.files[0].path, place.path(name));
    let modified = fs::metadata(place.path(name)).expect("the file").modified().expect("a time");
    assert_eq!(found.files[0].modified, Some(modified));
}

#[tokio::test]
async fn what_makes_no_sense_is_told() {
    let place = place();
    let why = async |search: Search| place.workspace.search(search).await.expect_err("it makes no sense");
    let error = why(Search::new("").pattern("a(b")).await;
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
    assert!(error.to_string().contains("a(b\n") && error.to_string().contains("unclosed group"), "{error}");
    let error = why(Search::new("").pattern(r"a\nb")).await;
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
    let error = why(Search::new("").pattern(r"\w{1000}{1000}")).await;
    assert!(matches!(error, Error::Invalid { .. }) && error.to_string().contains("size"), "{error}");
    for search in [Search::new("").include("a[b"), Search::new("").exclude("a[b")] {
        let error = why(search).await;
        assert!(matches!(error, Error::Invalid { .. }) && error.to_string().contains("'a[b'"), "{error}");
    }
    assert!(matches!(why(Search::new("").include("")).await, Error::Invalid { .. }));
    let mut search = Search::new("");
    search.include = vec!["a".into(); 101];
    assert!(matches!(why(search).await, Error::Invalid { .. }));
    let error = why(Search::new("none").pattern("a")).await;
    assert!(matches!(&error, Error::NotFound { path } if *path == place.path("none")), "{error}");
}

#[tokio::test]
async fn a_search_that_is_given_up_ends() {
    let place = Arc::new(place());
    write(&place, &[("file", "needle")]);
    let mut search = Search::new("/").pattern("there is no such line here");
    (search.hidden, search.ignore_files, search.limits.time) = (true, false, SearchLimits::MAX_TIME);
    let start = || {
        let (place, search) = (place.clone(), search.clone());
        tokio::spawn(async move { place.workspace.search(search).await.map(drop) })
    };
    let searches: Vec<_> = (0..100).map(|_| start()).collect();
    tokio::task::yield_now().await;
    // They leave room for other things.
    let looked = tokio::time::timeout(DEADLINE, place.workspace.metadata("file".as_ref())).await;
    looked.expect("in time").expect("the file");
    for search in &searches {
        search.abort();
    }
    for search in searches {
        assert!(search.await.expect_err("it was given up").is_cancelled());
    }
    assert_eq!(lines(&place, Search::new("").pattern("needle")).await, ["file:1:needle"]);
}
