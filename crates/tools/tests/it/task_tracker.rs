use longshore_protocol::{
    Observation,
    action::{TaskItem, TaskStatus, TaskTrackerAction, TaskTrackerCommand},
    observation::TaskTrackerObservation,
};
use serde_json::json;

use crate::{Bench, context, make, text};

async fn ask(bench: &Bench, command: TaskTrackerCommand, task_list: Vec<TaskItem>) -> TaskTrackerObservation {
    match bench.run(TaskTrackerAction { command, task_list }).await.expect("the tool can do it") {
        Observation::TaskTrackerObservation(seen) => seen,
        other => panic!("{other:?}"),
    }
}

fn task(title: &str, notes: &str, status: TaskStatus) -> TaskItem {
    TaskItem { title: title.into(), notes: notes.into(), status }
}

#[tokio::test]
async fn a_plan_is_kept_on_disk() {
    let mut bench = Bench::new("task_tracker");
    let seen = ask(&bench, TaskTrackerCommand::View, vec![]).await;
    assert_eq!(text(&seen.content), "No task list found. Use the \"plan\" command to create one.");

    let tasks = vec![
        task("one", "", TaskStatus::Done),
        task("two", "with notes", TaskStatus::InProgress),
        task("three", "", TaskStatus::Todo),
    ];
    let seen = ask(&bench, TaskTrackerCommand::Plan, tasks.clone()).await;
    assert_eq!(text(&seen.content), "Task list has been updated with 3 item(s).");
    assert_eq!((seen.is_error, &seen.task_list), (false, &tasks));

    bench.tool = make("task_tracker", json!({}), &context(&bench.folder));
    let seen = ask(&bench, TaskTrackerCommand::View, vec![]).await;
    assert_eq!(text(&seen.content), "# Task List\n\n1. ✅ one\n2. 🔄 two\n   with notes\n3. ⏳ three");
    assert_eq!(seen.task_list, tasks);
    let stored = std::fs::read(bench.folder.path().join("state/TASKS.json")).unwrap();
    let stored: serde_json::Value = serde_json::from_slice(&stored).unwrap();
    assert_eq!(stored[1], json!({"title": "two", "notes": "with notes", "status": "in_progress"}));
}

#[tokio::test]
async fn a_damaged_list_is_reported_and_kept() {
    let bench = Bench::new("task_tracker");
    let path = bench.folder.path().join("state/TASKS.json");
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "[{\"title\"").unwrap();
    for command in [TaskTrackerCommand::View, TaskTrackerCommand::Plan] {
        let seen = ask(&bench, command, vec![task("new", "", TaskStatus::Todo)]).await;
        assert!(seen.is_error && text(&seen.content).contains("damaged"), "{seen:?}");
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "[{\"title\"");
}
