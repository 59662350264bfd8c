//! How a run begins, or begins again.

use std::{fs::File, io::Read as _, path::Path};

use anyhow::{Context as _, Result};
use longshore_engine::{Clock, Engine, Replay, Skills};
use longshore_protocol::{
    Agent, Llm,
    agent::{AgentContext, Skill},
    confirmation::{
        AlwaysConfirm, ConfirmRisky, ConfirmationPolicy, LLMSecurityAnalyzer, NeverConfirm, Risk, SecurityAnalyzer,
    },
    conversation::{ExecutionStatus, LocalWorkspace, StartConversation},
};
use longshore_store::{Commit, EventQuery, Owner};
use longshore_tools::usual_agent;

use super::{
    folder::Folder,
    input::is_terminal,
    session::{Session, owner},
};
use crate::{
    cli::{Confirm, Run},
    failure::usage,
    progress::Progress,
    render::{Line, Screen, Style, in_one_line},
    settings::Environment,
};

/// Model calls of a run without `--max-iterations`.
const MAX_ITERATIONS: u64 = 500;
/// The file of a project that tells agents about it.
const AGENTS_FILE: &str = "AGENTS.md";
/// Bytes of that file that an agent gets.
const MAX_AGENTS_BYTES: u64 = 64 << 10;
/// Events that are read at a time.
const PAGE: usize = 200;
/// Characters of the recap's lines.
const RECAP: usize = 300;

/// Makes the conversation of a new run.
pub(crate) async fn begin(
    engine: &Engine,
    folder: &Folder,
    options: &Run,
    environment: &Environment,
    screen: &mut Screen,
) -> Result<Session> {
    let llm = options.model.required(environment)?;
    let model = llm.model.clone();
    let (skill, was_cut) = project_skill(folder.workspace())?;
    let confirm = options.confirm.unwrap_or(if is_terminal() { Confirm::Risky } else { Confirm::Never });
    let wish = StartConversation {
        conversation_id: Some(folder.id),
        confirmation_policy: policy(confirm),
        security_analyzer: Some(SecurityAnalyzer::from(LLMSecurityAnalyzer {})),
        max_iterations: options.max_iterations.unwrap_or(MAX_ITERATIONS),
        ..StartConversation::new(agent(llm, skill), LocalWorkspace::new(folder.working_dir().to_string_lossy()))
    };
    let created = Box::pin(engine.create(&owner(), wish, Skills::Trimmed)).await;
    created.context("the conversation cannot be made")?;
    screen.lines(&[Line::new(Style::Dim, format!("{model} in {}{}", folder.workspace().display(), of_box(folder)))])?;
    if was_cut {
        let text = format!("{AGENTS_FILE} is long: the agent gets its first {MAX_AGENTS_BYTES} bytes");
        screen.tell(&[Line::new(Style::Warning, text)]);
    }
    let events = engine.subscribe(&owner(), folder.id, Replay::Nothing).await?;
    Ok(Session::new(engine.clone(), folder.id, events, Progress::default()))
}

/// What follows the folder's name if the agent works in a box.
fn of_box(folder: &Folder) -> String {
    let kind = folder.sandbox().and_then(|sandbox| sandbox.backend.as_deref());
    kind.map(|kind| format!(", at {} in a box of {kind}", folder.working_dir().display())).unwrap_or_default()
}

/// Opens the conversation of an earlier run and says where it stands.
pub(crate) async fn resume(
    engine: &Engine,
    mut folder: Folder,
    options: &Run,
    environment: &Environment,
    screen: &mut Screen,
) -> Result<Session> {
    let (id, owner) = (folder.id, owner());
    change_definition(engine, &owner, &folder, options, environment).await?;
    engine.recover().await?;
    if let Some(confirm) = options.confirm {
        engine.set_confirmation_policy(&owner, id, policy(confirm)).await?;
    }
    folder.touch()?;
    let events = engine.subscribe(&owner, id, Replay::Nothing).await?;
    let progress = history(engine, &owner, &folder).await?;
    screen.lines(&recap(&folder, &progress))?;
    let session = Session::new(engine.clone(), id, events, progress);
    Ok(if options.confirm == Some(Confirm::Never) { session.accepting_all() } else { session })
}

/// Gives the conversation the model and the limit that the flags name. It is not in memory yet, so the stored form counts.
async fn change_definition(
    engine: &Engine,
    owner: &Owner,
    folder: &Folder,
    options: &Run,
    environment: &Environment,
) -> Result<()> {
    let store = engine.store();
    let gone = || usage(format!("run {} has no conversation: it ended before it began", folder.short_id()));
    let row = store.conversation(owner, folder.id).await?.ok_or_else(gone)?;
    let mut definition = row.definition.clone();
    if let Some(llm) = options.model.change(&definition.agent.llm, environment)? {
        definition.agent.llm = llm;
    }
    definition.max_iterations = options.max_iterations.unwrap_or(definition.max_iterations);
    if definition != row.definition {
        let mut commit = Commit::new(row.tail, Clock::system().now());
        commit.definition = Some(definition);
        store.commit(folder.id, commit).await?;
    }
    Ok(())
}

/// How far the conversation is.
async fn history(engine: &Engine, owner: &Owner, folder: &Folder) -> Result<Progress> {
    let mut progress = Progress::default();
    let mut from = None;
    loop {
        let page =
            engine.find_events(owner, folder.id, EventQuery { from, limit: PAGE, ..EventQuery::default() }).await?;
        for stored in &page.items {
            let event =
                serde_json::from_str(&stored.json).with_context(|| format!("event {} is damaged", stored.seq))?;
            progress.take(&event);
        }
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    if let Some(row) = engine.store().conversation(owner, folder.id).await? {
        progress.restore(row.progress.execution_status, &row.progress.stats);
    }
    Ok(progress)
}

fn recap(folder: &Folder, progress: &Progress) -> Vec<Line> {
    let place = folder.workspace().display();
    let title = format!("Run {} in {place}{}: {}", folder.short_id(), of_box(folder), folder.task());
    let state = match progress.status() {
        ExecutionStatus::Finished => "The agent had finished.",
        ExecutionStatus::Paused => "The agent was paused.",
        ExecutionStatus::Error => "The last run failed.",
        ExecutionStatus::Stuck => "The agent went in circles.",
        ExecutionStatus::WaitingForConfirmation => "Actions wait for your answer.",
        ExecutionStatus::Idle | ExecutionStatus::Running | ExecutionStatus::Deleting => "The agent had not begun.",
    };
    let (commands, _) = progress.commands();
    let commands = if commands == 1 { "1 command".to_owned() } else { format!("{commands} commands") };
    let state = format!("{state} So far: {commands}, {}.", progress.usage().text());
    let mut lines = vec![Line::new(Style::Dim, title), Line::new(Style::Dim, state)];
    if let Some(answer) = progress.answer() {
        lines.push(Line::new(Style::Dim, format!("Its last words: {}", in_one_line(answer, RECAP))));
    }
    lines
}

fn agent(llm: Llm, skill: Option<Skill>) -> Agent {
    let context = AgentContext { skills: skill.into_iter().collect(), ..AgentContext::default() };
    Agent { agent_context: Some(context), ..usual_agent(llm) }
}

fn policy(confirm: Confirm) -> ConfirmationPolicy {
    match confirm {
        Confirm::Never => NeverConfirm {}.into(),
        // An action that nobody judged may be anything.
        Confirm::Risky => ConfirmRisky { threshold: Risk::High, confirm_unknown: true }.into(),
        Confirm::Always => AlwaysConfirm {}.into(),
    }
}

/// What the project tells agents, and whether that was cut because it is long.
fn project_skill(workspace: &Path) -> Result<(Option<Skill>, bool)> {
    let path = workspace.join(AGENTS_FILE);
    // Anything but a file, such as a pipe, could be waited for.
    if !path.is_file() {
        return Ok((None, false));
    }
    let mut bytes = Vec::new();
    File::open(&path)
        .and_then(|file| file.take(MAX_AGENTS_BYTES + 1).read_to_end(&mut bytes))
        .with_context(|| format!("{} cannot be read", path.display()))?;
    let limit = usize::try_from(MAX_AGENTS_BYTES).unwrap_or(usize::MAX);
    let was_cut = bytes.len() > limit;
    bytes.truncate(limit);
    let mut content = String::from_utf8_lossy(&bytes).into_owned();
    if was_cut {
        content.push_str(&format!("\n[The rest of {AGENTS_FILE} is left out: read the file if it matters.]"));
    }
    let skill = serde_json::from_value(serde_json::json!({
        "name": "agents", "content": content, "source": path.to_string_lossy(),
    }));
    Ok((Some(skill.context("the project's notes cannot be used")?), was_cut))
}
