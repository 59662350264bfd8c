//! An engine from what the operator set.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use longshore_engine::{Clock, Engine, Options, Parts, QueueLimits, StoredBudgets};
use longshore_llm::{Models, ModelsOptions, Turn};
use longshore_sandbox::Sandboxes;
use longshore_server::{Limits, SandboxPlaces};
use longshore_store::{Keys, Sqlite, Store};
use longshore_tools::Registry;
use longshore_workspace::{Command, LocalOptions, guard::Guard};
use reqwest::header::HeaderMap;

use crate::{boxes::Maker, config::Config, settings::Environment};

/// What an engine is made from.
pub(crate) struct Plan {
    /// The folder for everything durable.
    pub(crate) data_dir: PathBuf,
    /// The folder of scripted and recorded models.
    pub(crate) models_dir: Option<PathBuf>,
    /// Scripted models that are built in, by name.
    pub(crate) scripts: BTreeMap<String, Vec<Turn>>,
    /// Variables that agents' commands may see besides the usual ones.
    pub(crate) pass_env: Vec<String>,
    /// Conversations that may run at the same time.
    pub(crate) max_concurrent_runs: usize,
    /// How long a conversation that nobody uses stays in memory.
    pub(crate) idle_ttl: Duration,
    /// Which boxes conversations work in.
    pub(crate) config: Config,
    /// Makes headers with which calls of models go on with a trace.
    pub(crate) trace: Option<fn() -> HeaderMap>,
}

/// An engine, and the places of its conversations.
pub(crate) struct Built {
    pub(crate) engine: Engine,
    pub(crate) places: SandboxPlaces,
    /// The boxes behind the places. They must be recovered before anybody uses them.
    pub(crate) sandboxes: Sandboxes,
}

/// Opens the store and makes an engine over it.
pub(crate) async fn build(plan: Plan, environment: &Environment) -> Result<Built> {
    let Plan { data_dir, models_dir, scripts, pass_env, max_concurrent_runs, idle_ttl, config, trace } = plan;
    make_private_dir(&data_dir)?;
    let keys = encryption_keys(environment, &data_dir)?;
    let store = Sqlite::open(&data_dir.join("longshore.db"), keys)
        .with_context(|| format!("the data folder {} cannot be opened", data_dir.display()))?;
    let store: Arc<dyn Store> = Arc::new(store);
    // Users do not answer for this machine: they choose among what the operator named.
    let has_oidc = config.auth.oidc()?.is_some();
    let has_users = has_oidc || !store.users(None, 1).await.context("the users cannot be read")?.is_empty();
    let http = config.outbound.client(!has_users)?;
    let models_environment = longshore_llm::Environment::of_process();
    let models = Models::new(ModelsOptions {
        models_dir,
        http: http.clone(),
        http_trusted: config.outbound.trusted_client()?,
        operated: config.operated(environment)?,
        operated_only: !config.models.own,
        distrust_prices: config.budget.has_money() || has_users,
        environment: models_environment,
        scripts,
        trace,
    });
    models
        .check()
        .map_err(|(name, error)| anyhow::anyhow!("the model [[model]] {name:?} cannot be called: {error}"))?;
    let own_folder = std::env::current_dir().context("the server's own folder is not known")?;
    let local = LocalOptions { pass_env, guard: Some(guard()?), ..LocalOptions::new(&own_folder) };
    let maker = Maker { config: &config, environment, data_dir: &data_dir, local, has_users };
    let sandboxes = maker.sandboxes(Arc::clone(&store)).await?;
    let places = SandboxPlaces::new(sandboxes.clone(), Arc::clone(&store));
    let budgets = Arc::new(StoredBudgets { store: Arc::clone(&store), common: config.budget.for_all() });
    let parts = Parts {
        store,
        models,
        tools: Registry::new(),
        workspaces: Arc::new(places.clone()),
        http,
        clock: Clock::system(),
        budgets,
    };
    let options = Options {
        conversations_dir: data_dir.join("conversations"),
        max_concurrent_runs,
        queue: queue(&config.limits, max_concurrent_runs, has_users),
        idle_ttl,
    };
    Ok(Built { engine: Engine::new(parts, options), places, sandboxes })
}

/// The keys that encrypt secrets at rest.
pub(crate) fn encryption_keys(environment: &Environment, data_dir: &Path) -> Result<Keys> {
    Keys::load_or_create(data_dir, environment.secret_key(), environment.previous_secret_keys()?)
        .context("the key that encrypts secrets cannot be had")
}

/// How many runs may wait, and how many of one user may work.
fn queue(limits: &Limits, most: usize, has_users: bool) -> QueueLimits {
    let number = |limit| usize::try_from(limit).unwrap_or(usize::MAX);
    let half = has_users.then_some((most / 2).max(1));
    QueueLimits {
        runs_per_owner: Some(number(limits.max_runs_per_user)).filter(|runs| *runs > 0).or(half),
        waiting: number(limits.max_queued_runs),
        waiting_per_owner: number(limits.max_queued_runs_per_user),
    }
}

/// Makes a folder that only this user can read.
pub(crate) fn make_private_dir(folder: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("the data folder {} cannot be made", folder.display()))
}

fn guard() -> Result<Guard> {
    let program = std::env::current_exe().context("the program's own file is not known")?;
    Ok(Guard::new(Command::new(program).arg("guard")))
}
