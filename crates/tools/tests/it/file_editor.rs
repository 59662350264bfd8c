use longshore_protocol::{
    Content, Observation,
    action::{EditorCommand, FileEditorAction},
    observation::FileEditorObservation,
};

use crate::{Bench, text};

fn action(command: EditorCommand, path: impl AsRef<std::path::Path>) -> FileEditorAction {
    FileEditorAction {
        command,
        path: path.as_ref().display().to_string(),
        file_text: None,
        old_str: None,
        new_str: None,
        insert_line: None,
        view_range: None,
    }
}

fn replace(path: impl AsRef<std::path::Path>, old: &str, new: &str) -> FileEditorAction {
    let base = action(EditorCommand::StrReplace, path);
    FileEditorAction { old_str: Some(old.into()), new_str: Some(new.into()), ..base }
}

async fn run(bench: &Bench, action: FileEditorAction) -> FileEditorObservation {
    match bench.run(action).await.expect("the tool can do it") {
        Observation::FileEditorObservation(seen) => seen,
        other => panic!("{other:?}"),
    }
}

async fn error(bench: &Bench, action: FileEditorAction) -> String {
    let seen = run(bench, action).await;
    assert!(seen.is_error && seen.path.is_none(), "{seen:?}");
    text(&seen.content).to_owned()
}

#[tokio::test]
async fn a_file_is_created_viewed_edited_and_restored() {
    let bench = Bench::new("file_editor");
    let path = bench.path("a.txt");
    let create = FileEditorAction { file_text: Some("a\nb\n".into()), ..action(EditorCommand::Create, &path) };
    let seen = run(&bench, create.clone()).await;
    assert_eq!(text(&seen.content), format!("File created successfully at: {}", path.display()));
    assert_eq!((seen.prev_exist, seen.new_content.as_deref(), seen.old_content), (false, Some("a\nb\n"), None));
    assert!(error(&bench, create).await.contains("already exists"));

    let seen = run(&bench, action(EditorCommand::View, &path)).await;
    let shown = format!("Here's the result of running `cat -n` on {}:\n     1\ta\n     2\tb\n", path.display());
    assert_eq!(text(&seen.content), shown);

    let seen = run(&bench, replace(&path, "b", "c")).await;
    assert_eq!((seen.old_content.as_deref(), seen.new_content.as_deref()), (Some("a\nb\n"), Some("a\nc\n")));
    assert!(text(&seen.content).starts_with(&format!("The file {} has been edited.", path.display())));
    assert!(text(&seen.content).contains("     2\tc\n"));

    let insert =
        FileEditorAction { insert_line: Some(1), new_str: Some("x".into()), ..action(EditorCommand::Insert, &path) };
    run(&bench, insert).await;
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "a\nx\nc\n");

    for (before, after) in [("a\nx\nc\n", "a\nc\n"), ("a\nc\n", "a\nb\n")] {
        let seen = run(&bench, action(EditorCommand::UndoEdit, &path)).await;
        assert_eq!((seen.old_content.as_deref(), seen.new_content.as_deref()), (Some(before), Some(after)));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), after);
    }
    assert!(error(&bench, action(EditorCommand::UndoEdit, &path)).await.contains("No edit"));
}

#[tokio::test]
async fn a_folder_is_shown_two_levels_deep() {
    let bench = Bench::new("file_editor");
    let root = bench.path("tree");
    std::fs::create_dir_all(root.join("b/deep/deeper")).unwrap();
    std::fs::create_dir(root.join(".git")).unwrap();
    for name in ["a.txt", ".hidden", "b/c.txt", "b/.x"] {
        std::fs::write(root.join(name), "").unwrap();
    }
    std::os::unix::fs::symlink("b", root.join("link")).unwrap();
    let seen = run(&bench, action(EditorCommand::View, &root)).await;
    let shown = root.display();
    assert_eq!(
        text(&seen.content),
        format!(
            "Here's the files and directories up to 2 levels deep in {shown}, excluding hidden items:\n{shown}/\n\
             {shown}/a.txt\n{shown}/b/\n{shown}/b/c.txt\n{shown}/b/deep/\n{shown}/link/\n{shown}/link/c.txt\n\
             {shown}/link/deep/\n\n2 hidden items are not shown here; `ls -la {shown}` lists them."
        )
    );
    let ranged = FileEditorAction { view_range: Some(vec![1, 2]), ..action(EditorCommand::View, &root) };
    assert!(error(&bench, ranged).await.contains("view_range"));
    assert!(error(&bench, replace(&root, "a", "b")).await.contains("folder"));

    for number in 0..2000 {
        std::fs::write(root.join(format!("file-{number}")), "").unwrap();
    }
    let seen = run(&bench, action(EditorCommand::View, &root)).await;
    assert!(text(&seen.content).contains("more entries are not shown"));
    assert!(text(&seen.content).chars().count() < 16_500);
}

#[tokio::test]
async fn a_range_of_lines_is_shown() {
    let bench = Bench::new("file_editor");
    let path = bench.path("lines");
    std::fs::write(&path, "1\n2\n3\n4\n").unwrap();
    let view =
        |range: &[i64]| FileEditorAction { view_range: Some(range.into()), ..action(EditorCommand::View, &path) };
    let head = format!("Here's the result of running `cat -n` on {}:\n", path.display());
    for (range, shown) in [
        (vec![2, 3], format!("{head}     2\t2\n     3\t3\n")),
        (vec![4, -1], format!("{head}     4\t4\n")),
        (vec![3, 9], format!("NOTE: the file ends at line 4.\n{head}     3\t3\n     4\t4\n")),
    ] {
        assert_eq!(text(&run(&bench, view(&range)).await.content), shown);
    }
    for range in [&[0, 2][..], &[5, 6], &[3, 2], &[1], &[1, 2, 3], &[2, -2]] {
        assert!(error(&bench, view(range)).await.contains("Invalid `view_range` parameter"), "{range:?}");
    }
    std::fs::write(&path, "ä line that is long enough\n".repeat(4000)).unwrap();
    let seen = run(&bench, action(EditorCommand::View, &path)).await;
    let shown = text(&seen.content);
    assert!(shown.contains("left out") && shown.ends_with("  4000\tä line that is long enough\n"), "{shown}");
    assert!(shown.chars().count() < 16_100);
}

#[tokio::test]
async fn an_image_is_shown_as_an_image() {
    let bench = Bench::new("file_editor");
    let path = bench.path("p.PNG");
    std::fs::write(&path, b"\x89PNG\0").unwrap();
    let seen = run(&bench, action(EditorCommand::View, &path)).await;
    let [Content::Text(_), Content::Image(image)] = &seen.content[..] else { panic!("{seen:?}") };
    assert_eq!(image.image_urls, ["data:image/png;base64,iVBORwA="]);
}

#[tokio::test]
async fn encodings_line_ends_and_modes_survive_an_edit() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::new("file_editor");
    for (before, after) in [
        (&b"one\r\ntwo\r\n"[..], &b"ONE\r\nnext\r\ntwo\r\n"[..]),
        (b"\xef\xbb\xbfone\n", b"\xef\xbb\xbfONE\nnext\n"),
        (b"caf\xe9 d\xe9j\xe0 vu one\n", b"caf\xe9 d\xe9j\xe0 vu ONE\nnext\n"),
        (b"\xff\xfeo\0n\0e\0", b"\xff\xfeO\0N\0E\0\n\0n\0e\0x\0t\0"),
        (b"one\nmixed\r\nend", b"ONE\nnext\nmixed\r\nend"),
    ] {
        let path = bench.path("encoded");
        std::fs::write(&path, before).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o751)).unwrap();
        let seen = run(&bench, replace(&path, "one", "ONE\nnext")).await;
        assert!(!seen.is_error, "{seen:?}");
        assert_eq!(std::fs::read(&path).unwrap(), after);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o751);
    }
}

#[tokio::test]
async fn what_cannot_be_edited_is_left_alone() {
    let bench = Bench::new("file_editor");
    std::fs::write(bench.path("binary"), b"\x7fELF\0\x01one").unwrap();
    assert!(error(&bench, replace(bench.path("binary"), "one", "two")).await.contains("binary file"));
    assert!(error(&bench, action(EditorCommand::View, bench.path("binary"))).await.contains("File validation failed"));

    std::fs::File::create(bench.path("large")).unwrap().set_len(10 * 1024 * 1024 + 1).unwrap();
    assert!(error(&bench, action(EditorCommand::View, bench.path("large"))).await.contains("10 MB"));

    std::fs::write(bench.path("text"), "one\ntwo\none\n").unwrap();
    let hint = error(&bench, replace("text", "one", "1")).await;
    assert!(hint.contains(&format!("absolute path. Maybe you meant {}?", bench.path("text").display())), "{hint}");
    assert!(error(&bench, replace(bench.path("text"), "one", "1")).await.contains("lines [1, 3]"));
    assert!(error(&bench, replace(bench.path("text"), "two", "two")).await.contains("the same"));
    assert!(error(&bench, replace(bench.path("none"), "a", "b")).await.contains("no such file"));
    let missing = error(&bench, action(EditorCommand::StrReplace, bench.path("text"))).await;
    assert_eq!(missing, "Parameter `old_str` is required for command: str_replace.");
    let missing = error(&bench, action(EditorCommand::Create, bench.path("new"))).await;
    assert_eq!(missing, "Parameter `file_text` is required for command: create.");
    let lost = FileEditorAction { file_text: Some(String::new()), ..action(EditorCommand::Create, bench.path("no/x")) };
    assert!(error(&bench, lost).await.contains("could not be written"));
    assert_eq!(std::fs::read_to_string(bench.path("text")).unwrap(), "one\ntwo\none\n");
}

#[tokio::test]
async fn one_file_is_one_resource() {
    let bench = Bench::new("file_editor");
    let key = |path: &str| bench.tool.resource(&action(EditorCommand::View, path).into());
    assert_eq!(key("/a/b"), Some("file:/a/b".into()));
    assert_eq!(key("/a//./b/"), key("/a/b"));
    assert_ne!(key("/a/c"), key("/a/b"));
}
