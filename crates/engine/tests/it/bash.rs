//! Commands over the API, and what one user may take of what is there for all.

use std::{sync::Arc, time::Duration};

use longshore_engine::bash::{BashService, Error, Limits, Scope};
use longshore_protocol::{
    Secret,
    bash::{BashEvent, ExecuteBash},
};
use longshore_store::{At, BashQuery, Keys, Owner, Sqlite, Store as _};
use longshore_workspace::{Local, LocalOptions};
use tempfile::TempDir;

use crate::world::DEADLINE;

struct Place {
    service: BashService,
    workspace: Arc<Local>,
    store: Arc<Sqlite>,
    _folder: TempDir,
}

impl Place {
    fn new(limits: Limits) -> Self {
        let folder = TempDir::new().unwrap();
        let keys = Keys::new(&Secret::new("a key for tests"), &[]);
        let store = Arc::new(Sqlite::open(&folder.path().join("store.db"), keys).unwrap());
        let workspace = Arc::new(Local::new(LocalOptions::new(folder.path())).unwrap());
        let service = BashService::new(store.clone(), limits);
        Self { service, workspace, store, _folder: folder }
    }

    async fn close(self) {
        self.service.close().await;
        self.store.close().await;
    }
}

fn of(owner: &str) -> Scope {
    Scope { owner: Owner(owner.into()), at: At::Own }
}

fn command(command: &str) -> ExecuteBash {
    ExecuteBash { command: command.to_owned(), cwd: None, timeout: 100 }
}

#[tokio::test]
async fn nobody_takes_the_places_of_all() {
    let place = Place::new(Limits { running: 3, running_of_owner: 2, ..Limits::default() });
    let start = async |owner: &str| place.service.start(&of(owner), place.workspace.clone(), command("sleep 60")).await;
    start("ann").await.unwrap();
    let second = start("ann").await.unwrap();
    assert!(matches!(start("ann").await, Err(Error::TooManyCommands(2))));
    start("ben").await.unwrap();
    assert!(matches!(start("cleo").await, Err(Error::TooManyCommands(3))));
    assert!(place.service.stop(&of("ann"), second.id.parse().unwrap()).await.unwrap());
    start("cleo").await.unwrap();
    place.close().await;
}

#[tokio::test]
async fn output_for_which_there_is_no_memory_is_in_the_events() {
    let place = Place::new(Limits { awaited: 1 << 20, ..Limits::default() });
    let ann = of("ann");
    let execute = async |script: &str| {
        let run = place.service.execute(&ann, place.workspace.clone(), command(script));
        tokio::time::timeout(DEADLINE, run).await.unwrap().unwrap()
    };
    let much = execute("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo end").await;
    let (stdout, stderr) = (much.stdout.unwrap(), much.stderr.unwrap());
    assert!(stdout.len() < 2 << 20 && stdout.starts_with("xxx"), "{}", stdout.len());
    assert!(stderr.contains("the rest is in the command's events"), "{stderr}");
    let query = BashQuery { command_id: Some(much.command_id), limit: 100, ..BashQuery::default() };
    let events = place.service.search(&ann, query).await.unwrap().items;
    let written = events.iter().filter_map(|event| match event {
        BashEvent::BashOutput(output) => output.stdout.as_deref(),
        _ => None,
    });
    assert_eq!(written.map(str::len).sum::<usize>(), 3_000_005);
    // It is there again for the next.
    let next = execute("head -c 700000 /dev/zero | tr '\\0' x").await;
    assert_eq!((next.stdout.unwrap().len(), next.stderr), (700_000, None));
    assert_eq!(place.service.running(), 0);
    tokio::time::timeout(Duration::from_secs(5), place.close()).await.unwrap();
}
