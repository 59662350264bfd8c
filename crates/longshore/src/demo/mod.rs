//! `longshore demo`: a server, an agent and a small task, before the user's eyes.

mod client;
mod script;

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use longshore_protocol::{ConversationId, Event, Llm, Secret};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::oneshot};
use uuid::Uuid;

use self::client::{Client, KEY_HEADER};
use crate::{
    cli::{Demo, program},
    config::Config,
    logging,
    parts::Plan,
    progress::{Progress, Stop},
    render::{Form, Line, Screen, Style, duration},
    run,
    serve::{Serving, listen},
    settings::Environment,
    signals::{INTERRUPTED, Signals, TERMINATED, Wish},
};

/// How often the status line changes.
const TICK: Duration = Duration::from_millis(100);
/// How long an idle conversation stays in memory.
const IDLE_TTL: Duration = Duration::from_mins(20);
/// Conversations that may run at the same time, should somebody use the server on.
const MAX_RUNS: usize = 16;
/// How long the server may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Shows an agent at work.
pub(crate) fn demo(options: Demo) -> Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("the runtime cannot be started")?;
    let code = runtime.block_on(show(options));
    runtime.shutdown_background();
    code
}

/// Makes the demo's folder, which is removed at the end unless something went wrong.
async fn show(options: Demo) -> Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let llm = options.model.chosen(&Environment::of_process())?;
    let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, options.port))).await?;
    let folder =
        tempfile::Builder::new().prefix("longshore-demo-").tempdir().context("there is no temporary folder")?;
    logging::start_in_file(&folder.path().join("longshore.log"))?;
    let outcome = in_folder(&options, &folder, listener, llm, &mut signals).await;
    if outcome.is_err() {
        let kept = folder.keep();
        return outcome.with_context(|| format!("the demo failed; its files and its log are in {}", kept.display()));
    }
    outcome
}

/// Starts a server with everything in `folder`, lets an agent work, and stops the server when nobody wants it any more.
async fn in_folder(
    options: &Demo,
    folder: &TempDir,
    listener: TcpListener,
    llm: Option<Llm>,
    signals: &mut Signals,
) -> Result<ExitCode> {
    let workspace = folder.path().canonicalize().context("the temporary folder is gone")?.join("workspace");
    fs::create_dir(&workspace).context("the demo's workspace cannot be made")?;
    fs::write(workspace.join(script::STORY.0), script::STORY.1).context("the demo's workspace cannot be filled")?;
    let is_scripted = llm.is_none();
    let llm = llm.unwrap_or_else(|| Llm { model: format!("scripted/{}", script::NAME), ..Llm::default() });

    let address = listener.local_addr().context("the server's address is not known")?;
    let key = Secret::new(Uuid::new_v4().simple().to_string());
    let plan = Plan {
        data_dir: folder.path().join("data"),
        models_dir: None,
        scripts: [(script::NAME.to_owned(), script::turns(&workspace))].into(),
        pass_env: Vec::new(),
        max_concurrent_runs: MAX_RUNS,
        idle_ttl: IDLE_TTL,
        config: Config::local(),
        trace: None,
    };
    let serving = Serving {
        may_share_machine: false,
        listener,
        keys: vec![key.clone()],
        plan,
        options: longshore_server::Options::default(),
        environment: Environment::default(),
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let mut server = tokio::spawn(serving.until(async {
        let _ = stopped.await;
    }));
    let client = Client::new(format!("http://{address}"), key)?;
    let mut screen = Screen::new(Form::Full, &workspace.to_string_lossy());
    screen.lines(&introduction(&llm, is_scripted, &client.url, &workspace))?;
    let shown = tokio::select! {
        shown = present(&client, llm, &workspace, is_scripted, signals, &mut screen) => shown,
        ended = &mut server => ended.context("the server crashed")?.and_then(|()| bail!("the server ended by itself")),
    };
    let code = match shown {
        Ok(Shown::Done(id)) => {
            screen.lines(&further(&client, id, &workspace))?;
            keep(options, signals, &mut screen).await?;
            Ok(ExitCode::SUCCESS)
        }
        Ok(Shown::Left(wish)) => Ok(leave_code(wish)),
        Err(error) => Err(error),
    };
    drop(stop);
    tokio::time::timeout(PATIENCE, server)
        .await
        .context("the server does not end")?
        .context("the server crashed")??;
    code
}

/// How the presentation ended.
enum Shown {
    Done(ConversationId),
    /// The user did not want to see the end.
    Left(Wish),
}

/// Gives the agent its task and shows what it does.
async fn present(
    client: &Client,
    llm: Llm,
    workspace: &Path,
    is_scripted: bool,
    signals: &mut Signals,
    screen: &mut Screen,
) -> Result<Shown> {
    let begun = Instant::now();
    let id = client.create(llm, workspace).await?;
    let mut events = client.listen(id).await?;
    client.say(id, script::TASK).await?;
    let mut progress = Progress::default();
    let mut ticks = tokio::time::interval(TICK);
    let stop = loop {
        tokio::select! {
            json = events.next() => {
                let json = json?;
                let event: Event = serde_json::from_str(&json).context("the server sent something that is no event")?;
                progress.take(&event);
                screen.event(&event, &json)?;
                if let Some(stop) = progress.stop() {
                    break stop;
                }
            }
            wish = signals.next() => {
                client.interrupt(id).await?;
                return Ok(Shown::Left(wish));
            }
            _ = ticks.tick() => screen.tick(&progress),
        }
    };
    if stop != Stop::Finished {
        bail!("the agent did not finish its task");
    }
    // The script says that all went well; what the commands say counts.
    if is_scripted && progress.commands() != (3, Some(0)) {
        bail!("the demo's commands did not do here what they should: its test does not pass");
    }
    let spent = format!("{} · {}", duration(begun.elapsed()), progress.usage().text());
    screen.lines(&[Line::blank(), Line::new(Style::Dim, spent)])?;
    Ok(Shown::Done(id))
}

fn introduction(llm: &Llm, is_scripted: bool, url: &str, workspace: &Path) -> Vec<Line> {
    let model = if is_scripted {
        "No real model is used: LLM_MODEL is not set, so a built-in script says what a model would say. All else is real: the \
         server, the conversation over HTTP and WebSocket, the shell, the files."
            .to_owned()
    } else {
        format!(
            "The model is {}. The agent may do anything that you may do, in a shell of its own, without asking.",
            llm.model
        )
    };
    vec![
        Line::new(Style::Bold, "Longshore at work"),
        Line::new(if is_scripted { Style::Warning } else { Style::Plain }, model),
        Line::new(Style::Dim, format!("Server: {url}   Workspace: {}", workspace.display())),
    ]
}

/// What the user can do next.
fn further(client: &Client, id: ConversationId, workspace: &Path) -> Vec<Line> {
    let (url, key, program) = (&client.url, client.key.expose(), program());
    let folder = workspace.to_string_lossy();
    let text = format!(
        r#"
The server still runs at {url} (API documentation: {url}/docs). Its key is {key}.

Ask it, from another terminal:
  curl -s -H '{KEY_HEADER}: {key}' {url}/api/conversations/{id}
  curl -s -H '{KEY_HEADER}: {key}' '{url}/api/conversations/{id}/events/search?limit=5'

Use it from Python (pip install openhands-sdk openhands-tools), with a model of yours:
  import openhands.tools.file_editor, openhands.tools.task_tracker, openhands.tools.terminal
  from openhands.sdk import LLM, Agent, Conversation, Tool, Workspace
  tools = [Tool(name=name) for name in ("terminal", "file_editor", "task_tracker")]
  agent = Agent(llm=LLM(model="openai/gpt-5", api_key="…"), tools=tools)
  workspace = Workspace(host="{url}", api_key="{key}", working_dir={folder:?})
  conversation = Conversation(agent=agent, workspace=workspace)
  conversation.send_message("Let top-words.sh ignore words of less than four letters.")
  conversation.run()

Without a server, in a folder of yours:
  export LLM_MODEL=openai/gpt-5 LLM_API_KEY=…
  {program} run "explain what this project does"

A server that stays, with its data in your home folder:
  {program} serve"#
    );
    text.lines().map(Line::plain).collect()
}

/// Lets the server run on as long as the user wants.
async fn keep(options: &Demo, signals: &mut Signals, screen: &mut Screen) -> Result<()> {
    let wants = options.keep || (!options.no_keep && run::is_terminal() && wants_to_keep(signals, screen).await);
    if wants {
        screen.note("The server runs until Ctrl-C. Then its temporary files are removed.")?;
        signals.next().await;
    } else {
        screen.note(format!("The server stops and its files are removed. {} demo --keep keeps both.", program()))?;
    }
    Ok(())
}

async fn wants_to_keep(signals: &mut Signals, screen: &mut Screen) -> bool {
    let mut input = run::Input::default();
    run::Input::discard();
    screen.ask("\nKeep the server running to try this? [y/N]");
    tokio::select! {
        line = input.line() => line.is_some_and(|line| matches!(line.to_lowercase().as_str(), "y" | "yes")),
        _ = signals.next() => false,
    }
}

fn leave_code(wish: Wish) -> ExitCode {
    match wish {
        Wish::Pause | Wish::Interrupt => INTERRUPTED.into(),
        Wish::Terminate => TERMINATED.into(),
    }
}
