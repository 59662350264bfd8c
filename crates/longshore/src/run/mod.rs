//! `longshore run`: an agent in a folder of this machine, without a server.

mod ask;
mod folder;
mod input;
mod session;
mod start;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use longshore_protocol::{ConversationId, sandbox::SandboxOptions};
use longshore_store::At;
use uuid::Uuid;

use self::{
    folder::{Folder, Runs},
    session::{End, Session},
};
use crate::{
    cli::{Run, program, quoted},
    config::Config,
    failure::usage,
    logging,
    parts::{Built, Plan, build},
    render::{Form, Line, Screen, Style, duration},
    settings::Environment,
    signals::Signals,
};

pub(crate) use self::input::{Input, is_terminal};

/// How long an idle conversation would stay in memory: longer than any run.
const IDLE_TTL: Duration = Duration::from_hours(1);

/// Lets an agent work until it is done or cannot go on.
pub(crate) fn run(options: Run) -> Result<ExitCode> {
    let environment = Environment::of_process();
    let task = task(&options)?;
    let runtime = tokio::runtime::Runtime::new().context("the runtime cannot be started")?;
    let code = runtime.block_on(work(options, environment, task));
    // A thread that waits for a line of standard input would wait for ever.
    runtime.shutdown_background();
    code
}

/// What the agent is to do, if the command line or standard input says so.
fn task(options: &Run) -> Result<Option<String>> {
    let text = match options.task.as_deref() {
        Some("-") => input::read_task()?,
        Some(task) => task.to_owned(),
        // A program that goes on with a run may leave its own input open, so it is not waited for.
        None if options.resume.is_some() => return Ok(None),
        None if is_terminal() => {
            return Err(usage(
                "there is no task: say what the agent is to do, as in longshore run \"fix the failing test\"",
            ));
        }
        None => input::read_task()?,
    };
    if text.trim().is_empty() {
        return Err(usage("the task is empty: say what the agent is to do"));
    }
    Ok(Some(text))
}

async fn work(options: Run, environment: Environment, task: Option<String>) -> Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let begun = Instant::now();
    let workspace = workspace(options.workspace.as_deref())?;
    let data_dir = environment.data_dir(options.data.data_dir.clone())?;
    let runs = Runs::new(&data_dir);
    let (folder, is_new) = match (&options.resume, &task) {
        (Some(prefix), _) => (runs.find(prefix, &workspace)?, false),
        (None, task) => {
            // Without a model there is nothing to make a folder for.
            options.model.required(&environment)?;
            let task = task.as_deref().unwrap_or_default();
            (runs.create(ConversationId(Uuid::new_v4()), &workspace, boxed(&options), task)?, true)
        }
    };
    check_same_place(&folder, &options, &workspace)?;
    logging::start_in_file(&folder.path.join("longshore.log"))?;

    let plan = Plan {
        data_dir: folder.path.clone(),
        models_dir: options.data.models_dir.clone(),
        scripts: BTreeMap::new(),
        pass_env: options.data.pass_env.clone(),
        max_concurrent_runs: 1,
        idle_ttl: IDLE_TTL,
        config: folder.sandbox().map_or_else(Config::local, |sandbox| Config::for_folder(sandbox, folder.workspace())),
        trace: None,
    };
    let Built { engine, sandboxes, .. } = build(plan, &environment).await?;
    sandboxes.recover().await.context("the boxes of the last run cannot be found")?;
    if folder.sandbox().is_some() {
        // Now and not in the middle of the work, where a model would be asked again and again about a box that cannot be had.
        sandboxes.user_place(&session::owner(), &SandboxOptions::default()).context("the box cannot be had")?;
        sandboxes.resume(&session::owner(), At::Own).await.context("the box cannot be had")?;
    }
    let mut screen = Screen::new(form(&options), &folder.working_dir().to_string_lossy());
    let end = Box::pin(async {
        let session = if is_new {
            Box::pin(start::begin(&engine, &folder, &options, &environment, &mut screen)).await?
        } else {
            start::resume(&engine, folder.clone(), &options, &environment, &mut screen).await?
        };
        converse(session, task, options.interactive, &mut signals, &mut screen).await
    })
    .await;
    let store = engine.store();
    engine.shutdown().await;
    sandboxes.shutdown().await;
    store.close().await;
    let (end, usage) = end?;
    let spent = format!("{} · {}", duration(begun.elapsed()), usage.text());
    let hint = Line::new(Style::Dim, resume_hint(&folder, &options));
    if form(&options) != Form::Full && end != End::Finished {
        screen.tell(std::slice::from_ref(&hint));
    }
    screen.lines(&[Line::blank(), Line::new(Style::Dim, spent), hint])?;
    Ok(end.exit_code())
}

/// Talks with the agent until nobody has anything to say.
async fn converse(
    mut session: Session,
    task: Option<String>,
    is_interactive: bool,
    signals: &mut Signals,
    screen: &mut Screen,
) -> Result<(End, crate::render::Usage)> {
    let mut input = Input::default();
    let mut message = task;
    loop {
        let end = session.turn(message.take(), signals, &mut input, screen).await?;
        let wants_more = is_interactive && is_terminal() && matches!(end, End::Finished);
        if wants_more {
            message = ask::next_message(signals, &mut input, screen).await?;
        }
        if message.is_none() {
            return Ok((end, session.usage()));
        }
    }
}

/// The folder to work in, as an absolute path without links.
fn workspace(folder: Option<&Path>) -> Result<PathBuf> {
    let folder = folder.unwrap_or(Path::new("."));
    let real = folder.canonicalize().map_err(|error| usage(format!("the folder {}: {error}", folder.display())))?;
    if !real.is_dir() {
        return Err(usage(format!("{} is not a folder", folder.display())));
    }
    if real.to_str().is_none() {
        return Err(usage(format!("the name of {} is not UTF-8 text, which an agent could not write", real.display())));
    }
    Ok(real)
}

/// The box that a run is asked to work in; none for this machine.
fn boxed(options: &Run) -> Option<SandboxOptions> {
    options.sandbox.clone().filter(|sandbox| sandbox.backend.as_deref() != Some("local"))
}

/// An earlier run stays where it was.
fn check_same_place(folder: &Folder, options: &Run, workspace: &Path) -> Result<()> {
    let place = folder.workspace();
    if options.sandbox.is_some() && boxed(options).as_ref() != folder.sandbox() {
        return Err(usage(format!("run {} stays where it began: leave --sandbox out", folder.short_id())));
    }
    if options.workspace.is_some() && place != workspace {
        return Err(usage(format!("run {} works in {}: leave --workspace out", folder.short_id(), place.display())));
    }
    if !place.is_dir() {
        return Err(usage(format!("run {} works in {}, which is gone", folder.short_id(), place.display())));
    }
    Ok(())
}

fn form(options: &Run) -> Form {
    match (options.json, options.quiet) {
        (true, _) => Form::Json,
        (_, true) => Form::Answer,
        _ => Form::Full,
    }
}

/// The command that goes on with the run, with the flags that are not stored with it.
fn resume_hint(folder: &Folder, options: &Run) -> String {
    let mut command = format!("{} run", program());
    let mut add = |flag: &str, value: &str| command.push_str(&format!(" {flag} {}", quoted(value)));
    if let Some(data_dir) = &options.data.data_dir {
        add("--data-dir", &data_dir.to_string_lossy());
    }
    if let Some(models_dir) = &options.data.models_dir {
        add("--models-dir", &models_dir.to_string_lossy());
    }
    for name in &options.data.pass_env {
        add("--pass-env", name);
    }
    add("--resume", &folder.short_id());
    format!("Go on with: {command}")
}
