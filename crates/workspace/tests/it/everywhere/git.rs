//! Against the real git. Names are chosen to break what splits them at spaces, lines or characters.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::Path,
};

use longshore_protocol::git::{GitDiff, GitStatus};
use longshore_workspace::git::{self, Error};
use tempfile::TempDir;

use super::{place, place_with};
use crate::support::{DEADLINE, Place};

/// Makes a repository, or a commit in one, without the machine's configuration.
const GIT: &str = "export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 HOME=/nowhere; \
    export GIT_AUTHOR_NAME='Ann Other' GIT_AUTHOR_EMAIL=a@example.org GIT_AUTHOR_DATE='2026-01-02T03:04:05+02:00'; \
    export GIT_COMMITTER_NAME=C GIT_COMMITTER_EMAIL=c@example.org GIT_COMMITTER_DATE='2026-01-02T03:04:05Z'; set -e; ";

async fn script(place: &Place, script: &str) {
    place.must(&format!("{GIT}{script}")).await;
}

async fn output(place: &Place, script: &str) -> String {
    let run = place.sh(&format!("{GIT}{script}")).await;
    assert!(run.status.success(), "{script}: {run:?}");
    run.stdout.trim().to_owned()
}

async fn changes(place: &Place, folder: &str, reference: Option<&str>) -> Vec<String> {
    let changes = git::changes(&*place.workspace, folder.as_ref(), reference).await.expect("an answer");
    changes.into_iter().map(|change| format!("{} {}", letter(change.status), change.path)).collect()
}

fn letter(status: GitStatus) -> char {
    match status {
        GitStatus::Moved => 'M',
        GitStatus::Added => 'A',
        GitStatus::Deleted => 'D',
        GitStatus::Updated => 'U',
    }
}

async fn diff(place: &Place, file: &str, reference: Option<&str>) -> Result<(String, String), Error> {
    git::diff(&*place.workspace, file.as_ref(), reference).await.map(sides)
}

/// The text before and after.
fn sides(diff: GitDiff) -> (String, String) {
    (diff.original.expect("the base"), diff.modified.expect("the present"))
}

fn texts(before: &str, after: &str) -> (String, String) {
    (before.into(), after.into())
}

#[tokio::test]
async fn every_kind_of_change_is_told_whatever_the_name() {
    let place = place();
    script(
        &place,
        "git init -q -b main; echo 1 >'a b.txt'; echo 1 >ü.txt; echo 1 >\"$(printf 'new\\nline')\"; echo 1 >same; \
         printf 'a\\nb\\nc\\nd\\n' >old; echo 1 >gone; mkdir deep; echo 1 >deep/er; echo '*.log' >.gitignore; \
         git add .; git commit -qm first; \
         echo 2 >'a b.txt'; echo 2 >ü.txt; echo 2 >\"$(printf 'new\\nline')\"; git mv old 'renamed to'; git rm -q gone; \
         echo 2 >deep/er; git add deep; echo 1 >'un tracked'; mkdir -p x/y; echo 1 >x/y/z; echo 1 >skip.log; \
         echo 1 >'?? odd'; ln -s nowhere link",
    )
    .await;
    let foreign = OsStr::from_bytes(b"foreign \xff");
    fs::write(place.path(foreign), "x").expect("a file");
    let expected = [
        "A ?? odd",
        "U a b.txt",
        "U deep/er",
        "A foreign \u{fffd}",
        "D gone",
        "A link",
        "U new\nline",
        "D old",
        "A renamed to",
        "A un tracked",
        "A x/y/z",
        "U ü.txt",
    ];
    assert_eq!(changes(&place, "", None).await, expected);
    assert_eq!(changes(&place, "", Some("HEAD")).await, expected);
    // Below a folder of the repository, paths are from there.
    assert_eq!(changes(&place, "x", None).await, ["A y/z"]);
    assert_eq!(changes(&place, "deep", Some("HEAD")).await, ["U er"]);

    assert_eq!(diff(&place, "a b.txt", None).await.expect("texts"), texts("1", "2"));
    assert_eq!(diff(&place, "ü.txt", None).await.expect("texts"), texts("1", "2"));
    assert_eq!(diff(&place, "new\nline", None).await.expect("texts"), texts("1", "2"));
    assert_eq!(diff(&place, "gone", None).await.expect("texts"), texts("1", ""));
    assert_eq!(diff(&place, "old", Some("HEAD")).await.expect("texts"), texts("a\nb\nc\nd", ""));
    assert_eq!(diff(&place, "x/y/z", None).await.expect("texts"), texts("", "1"));
    assert_eq!(diff(&place, "same", None).await.expect("texts"), texts("1", "1"));
    let foreign = git::diff(&*place.workspace, Path::new(foreign), None).await.expect("texts");
    assert_eq!(sides(foreign), texts("", "x"));
}

#[tokio::test]
async fn before_the_first_commit_everything_is_new() {
    let place = place();
    script(&place, "git init -q -b main; echo 1 >staged; git add staged; echo 1 >'un tracked'").await;
    for reference in [None, Some("HEAD")] {
        assert_eq!(changes(&place, "", reference).await, ["A staged", "A un tracked"]);
        assert_eq!(diff(&place, "staged", reference).await.expect("texts"), texts("", "1"));
    }
    let page = git::commits(&*place.workspace, "".as_ref(), 10).await.expect("a page");
    assert!(page.commits.is_empty() && !page.has_more);
}

#[tokio::test]
async fn repositories_with_long_names_of_objects_work() {
    let place = place();
    script(&place, "git init -q -b main --object-format=sha256; echo 1 >a; git add a").await;
    assert_eq!(changes(&place, "", None).await, ["A a"]);
    script(&place, "git commit -qm first; echo 2 >a").await;
    assert_eq!(changes(&place, "", None).await, ["U a"]);
    assert_eq!(changes_of(&place, "HEAD").await, ["A a"]);
}

#[tokio::test]
async fn no_repository_has_no_changes() {
    let place = place();
    fs::write(place.path("file"), "1\n").expect("a file");
    for folder in ["", "missing", "file", "file/below"] {
        assert!(changes(&place, folder, None).await.is_empty(), "{folder}");
        assert!(changes(&place, folder, Some("HEAD")).await.is_empty(), "{folder}");
        let page = git::commits(&*place.workspace, folder.as_ref(), 10).await.expect("a page");
        assert!(page.commits.is_empty() && !page.has_more);
        assert!(git::commit_changes(&*place.workspace, folder.as_ref(), "abcd").await.expect("an answer").is_empty());
    }
    let nothing = GitDiff { modified: None, original: None };
    assert_eq!(git::diff(&*place.workspace, "file".as_ref(), None).await.expect("an answer"), nothing);
    assert_eq!(git::commit_diff(&*place.workspace, "file".as_ref(), "abcd").await.expect("an answer"), nothing);
    assert!(matches!(diff(&place, "missing", None).await, Err(Error::Missing { .. })));
}

#[tokio::test]
async fn a_reference_that_is_none_is_an_error() {
    let place = place();
    script(&place, "git init -q -b main; echo 1 >a; git add a; git commit -qm first").await;
    for reference in ["nosuchref", "", "--output=/tmp/x", "-h", "HEAD:a", "a\0b", "it's"] {
        let error = git::changes(&*place.workspace, "".as_ref(), Some(reference)).await.expect_err(reference);
        assert!(error.to_string().starts_with("Git command failed: git rev-parse --verify "), "{error}");
        let error = diff(&place, "a", Some(reference)).await.expect_err(reference);
        assert!(matches!(error, Error::Failed { .. }), "{error}");
        let error = git::commit_changes(&*place.workspace, "".as_ref(), reference).await.expect_err(reference);
        assert!(matches!(error, Error::Failed { .. }), "{error}");
    }
    let error = git::changes(&*place.workspace, "".as_ref(), Some("nosuchref")).await.expect_err("no reference");
    assert!(
        error.to_string().starts_with("Git command failed: git rev-parse --verify 'nosuchref^{commit}'"),
        "{error}"
    );
}

#[tokio::test]
async fn repositories_in_folders_are_told_once_and_by_their_path() {
    let place = place();
    let repository = "git init -q -b main; echo 1 >kept; git add .; git commit -qm first; echo 2 >kept; echo 1 >'n w'";
    script(&place, &format!("mkdir 'one two' other empty; (cd 'one two'; {repository}); (cd other; {repository})"))
        .await;
    // Not a repository itself.
    let nested = ["A one two/n w", "U one two/kept", "A other/n w", "U other/kept"];
    let mut found = changes(&place, "", None).await;
    found.sort_by_key(|change| change[2..].to_owned());
    let mut expected = nested.to_vec();
    expected.sort_by_key(|change| change[2..].to_owned());
    assert_eq!(found, expected);

    script(
        &place,
        "git init -q -b main; echo 1 >other-file; mkdir -p deep/er; (cd deep/er; git init -q); git add other-file",
    )
    .await;
    let found = changes(&place, "", None).await;
    let expected = ["A deep/er", "U one two/kept", "A one two/n w", "A other-file", "U other/kept", "A other/n w"];
    assert_eq!(found, expected);
    // A reference that only some have leaves the others out.
    script(&place, "cd other; git branch only-here").await;
    let error = git::changes(&*place.workspace, "".as_ref(), Some("only-here")).await.expect_err("not at the top");
    assert!(matches!(error, Error::Failed { .. }), "{error}");
    // A link to a repository elsewhere is not followed.
    script(&place, "mkdir apart; ln -s '../one two' apart/link").await;
    assert!(!changes(&place, "apart", None).await.iter().any(|change| change.contains("link/")));
}

#[tokio::test]
async fn the_base_is_what_shows_the_work() {
    let place = place();
    let base = async |folder: &str| changes(&place, folder, None).await;
    script(
        &place,
        "git init -q -b main origin; cd origin; echo 1 >a; git add .; git commit -qm first; cd ..; \
         git clone -q origin clone; cd clone; git checkout -q -b work; echo 1 >committed; git add .; git commit -qm work",
    )
    .await;
    // Not pushed: from where the branch left the origin's default branch.
    assert_eq!(base("clone").await, ["A committed"]);
    assert_eq!(diff(&place, "clone/committed", None).await.expect("texts"), texts("", "1"));
    // The default branch went on; what it got is not taken back here.
    script(&place, "cd origin; echo 1 >theirs; git add .; git commit -qm theirs; cd ../clone; git fetch -q").await;
    assert_eq!(base("clone").await, ["A committed"]);
    // Pushed and clean: still the work of the branch.
    script(&place, "cd clone; git push -q origin work").await;
    assert_eq!(base("clone").await, ["A committed"]);
    // An untracked file does not count as work on the branch, a tracked one does.
    script(&place, "cd clone; echo 1 >scratch").await;
    assert_eq!(base("clone").await, ["A committed", "A scratch"]);
    script(&place, "cd clone; echo 2 >a").await;
    assert_eq!(base("clone").await, ["U a", "A scratch"]);
    // One commit more than was pushed.
    script(&place, "cd clone; git commit -qam more; rm scratch").await;
    assert_eq!(base("clone").await, ["U a"]);
    // A commit of its own, on no branch.
    script(&place, "cd clone; git checkout -q --detach").await;
    assert_eq!(base("clone").await, ["U a", "A committed"]);
    // The origin's default branch is not recorded: one with a usual name.
    script(&place, "cd clone; git branch -qD main; git remote set-head origin -d").await;
    assert_eq!(base("clone").await, ["U a", "A committed"]);
}

#[tokio::test]
async fn without_an_origin_the_local_default_branch_is_the_base() {
    let place = place();
    script(&place, "git init -q -b main; echo 1 >a; git add .; git commit -qm first; echo 2 >a").await;
    assert_eq!(changes(&place, "", None).await, ["U a"]);
    script(&place, "git checkout -q -b work; git commit -qam work; echo 1 >b").await;
    assert_eq!(changes(&place, "", None).await, ["U a", "A b"]);
    // The default branch went another way: only what is not committed.
    script(&place, "git stash -qu; git checkout -q main; echo 1 >c; git add c; git commit -qm c; git checkout -q work")
        .await;
    script(&place, "git stash pop -q").await;
    assert_eq!(changes(&place, "", None).await, ["A b"]);
}

#[tokio::test]
async fn texts_have_a_limit_and_files_must_be_somewhere() {
    let place = place();
    script(
        &place,
        "git init -q -b main; head -c 1048576 /dev/zero | tr '\\0' x >most; head -c 1048577 /dev/zero | tr '\\0' x >more; \
         printf 'a\\r\\nb\\n\\n' >lines; printf ' kept ' >spaces; printf '\\377' >bytes; mkdir d; echo 1 >d/f; \
         git add .; git commit -qm first; rm -r d; mkfifo pipe",
    )
    .await;
    assert_eq!(diff(&place, "most", None).await.expect("texts").0.len(), 1_048_576);
    assert!(matches!(diff(&place, "more", None).await, Err(Error::TooLarge { .. })));
    fs::write(place.path("more"), "small\n").expect("a file");
    assert!(matches!(diff(&place, "more", None).await, Err(Error::TooLarge { .. })));
    assert_eq!(diff(&place, "lines", None).await.expect("texts"), texts("a\nb\n", "a\nb\n"));
    assert_eq!(diff(&place, "spaces", None).await.expect("texts"), texts(" kept ", " kept "));
    assert_eq!(diff(&place, "bytes", None).await.expect("texts"), texts("\u{fffd}", "\u{fffd}"));
    // The folder is gone too.
    assert_eq!(diff(&place, "d/f", None).await.expect("texts"), texts("1", ""));
    for missing in ["nope.txt", "d/none", "d", "nowhere/nope"] {
        let error = diff(&place, missing, None).await.expect_err(missing);
        assert_eq!(error.to_string(), format!("File does not exist: {}", place.path(missing).display()));
    }
    assert!(matches!(diff(&place, "pipe", None).await, Err(Error::Workspace(_))));
}

#[tokio::test]
async fn history_is_told_in_pages() {
    let place = place();
    script(
        &place,
        "git init -q -b main; for i in 1 2 3; do echo $i >f; git add f; git commit -qm \"subject $i\n\nbody\"; done",
    )
    .await;
    let page = git::commits(&*place.workspace, "".as_ref(), 2).await.expect("a page");
    let subjects: Vec<_> = page.commits.iter().map(|commit| &*commit.subject).collect();
    assert_eq!((subjects, page.has_more), (vec!["subject 3", "subject 2"], true));
    let commit = &page.commits[0];
    assert_eq!((&*commit.author, &*commit.timestamp), ("Ann Other", "2026-01-02T03:04:05+02:00"));
    assert!(commit.sha.len() == 40 && commit.sha.starts_with(&commit.short_sha));
    let page = git::commits(&*place.workspace, "".as_ref(), 3).await.expect("a page");
    assert_eq!((page.commits.len(), page.has_more), (3, false));
}

async fn changes_of(place: &Place, commit: &str) -> Vec<String> {
    let changes = git::commit_changes(&*place.workspace, "".as_ref(), commit).await.expect("an answer");
    changes.into_iter().map(|change| format!("{} {}", letter(change.status), change.path)).collect()
}

#[tokio::test]
async fn a_commit_is_compared_with_its_first_parent() {
    let place = place();
    script(&place, "git init -q -b main; echo 1 >'a b'; mkdir d; echo 1 >d/e; git add .; git commit -qm first").await;
    let first = output(&place, "git rev-parse HEAD").await;
    script(&place, "git rm -q 'a b'; echo 2 >d/e; git commit -qam second").await;
    assert_eq!(changes_of(&place, &first).await, ["A a b", "A d/e"]);
    assert_eq!(changes_of(&place, "HEAD").await, ["D a b", "U d/e"]);
    assert_eq!(changes_of(&place, &first[..7]).await, ["A a b", "A d/e"]);

    let commit_diff = async |file: &str, commit: &str| {
        git::commit_diff(&*place.workspace, file.as_ref(), commit).await.map(sides).expect("texts")
    };
    assert_eq!(commit_diff("a b", &first).await, texts("", "1"));
    assert_eq!(commit_diff("a b", "HEAD").await, texts("1", ""));
    assert_eq!(commit_diff("d/e", "HEAD").await, texts("1", "2"));
    let error = git::commit_changes(&*place.workspace, "".as_ref(), "deadbeef").await.expect_err("no commit");
    assert!(error.to_string().starts_with("Git command failed: "), "{error}");
}

#[tokio::test]
async fn a_conflict_is_one_change() {
    let place = place();
    script(
        &place,
        "git init -q -b main; echo 1 >a; git add a; git commit -qm first; git checkout -qb other; echo 2 >a; \
         git commit -qam other; git checkout -q main; echo 3 >a; git commit -qam main; ! git merge -q other >/dev/null",
    )
    .await;
    assert_eq!(changes(&place, "", None).await, ["U a"]);
}

#[tokio::test]
async fn a_repositorys_configuration_runs_nothing() {
    let place = place();
    script(
        &place,
        "git init -q -b main; echo 1 >a; echo '* diff=evil' >.gitattributes; git add .; git commit -qm first; echo 2 >a; \
         printf '#!/bin/sh\\ntouch '\"$PWD\"'/ran\\ncat \"$@\"\\n' >evil; chmod +x evil; mkdir hooks; cp evil hooks/post-index-change; \
         git config core.hooksPath \"$PWD/hooks\"; git config core.fsmonitor \"$PWD/evil\"; \
         git config diff.external \"$PWD/evil\"; git config diff.evil.command \"$PWD/evil\"; \
         git config diff.evil.textconv \"$PWD/evil\"; git config core.pager \"$PWD/evil\"; \
         git config log.showSignature true; git config gpg.program \"$PWD/evil\"; git config status.showUntrackedFiles no; \
         rm -f ran",
    )
    .await;
    assert_eq!(changes(&place, "", None).await, ["U a", "A evil", "A hooks/post-index-change"]);
    assert_eq!(diff(&place, "a", None).await.expect("texts"), texts("1", "2"));
    assert_eq!(changes_of(&place, "HEAD").await, ["A .gitattributes", "A a"]);
    assert_eq!(git::commits(&*place.workspace, "".as_ref(), 5).await.expect("a page").commits.len(), 1);
    assert!(!place.path("ran").exists());
}

#[tokio::test]
async fn a_repository_of_somebody_else_is_read() {
    let place = place();
    script(&place, "git init -q -b main; mkdir sub; echo 1 >sub/a; git add .").await;
    if !place.sh("chown -R 12345:12345 .").await.status.success() {
        // Only root can make one.
        return;
    }
    std::os::unix::fs::symlink("sub", place.path("link")).expect("a link");
    assert_eq!(changes(&place, "", None).await, ["A link", "A sub/a"]);
    assert_eq!(changes(&place, "link", None).await, ["A a"]);
    script(&place, "chown -R 0:0 .").await;
}

#[tokio::test]
async fn a_folder_becomes_a_repository_once() {
    let place = place();
    fs::create_dir(place.path("sub")).expect("a folder");
    assert!(git::init_if_needed(&*place.workspace, "".as_ref()).await.expect("an answer"));
    assert!(place.path(".git").is_dir());
    for folder in ["", "sub"] {
        assert!(!git::init_if_needed(&*place.workspace, folder.as_ref()).await.expect("an answer"));
    }
    assert!(!place.path("sub/.git").exists());
    let error = git::init_if_needed(&*place.workspace, "missing".as_ref()).await.expect_err("no folder");
    assert!(matches!(error, Error::Workspace(_)), "{error}");
}

/// A workspace whose git is a script, and the folder that holds the script.
pub(super) fn with_git(script: &str) -> (TempDir, Place) {
    let tools = tempfile::tempdir().expect("a folder");
    let git = tools.path().join("git");
    fs::write(&git, format!("#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")).expect("a script");
    fs::set_permissions(&git, fs::Permissions::from_mode(0o755)).expect("its mode");
    let place = place_with("PATH", tools.path().to_str().expect("text"));
    (tools, place)
}

#[tokio::test]
async fn a_workspace_without_git_says_so() {
    let place = place_with("PATH", "/nowhere");
    let error = git::commits(&*place.workspace, "".as_ref(), 5).await.expect_err("no git");
    assert!(matches!(error, Error::NotInstalled), "{error}");
}

#[tokio::test]
async fn git_that_answers_without_end_is_ended() {
    let (_tools, place) = with_git("exec yes");
    let answer = git::commits(&*place.workspace, "".as_ref(), 5);
    let error = tokio::time::timeout(DEADLINE, answer).await.expect("in time").expect_err("it is too much");
    assert!(matches!(error, Error::TooMuchOutput { .. }), "{error}");
}
