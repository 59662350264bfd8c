//! Making conversations, and what their parts must be like.

use indexmap::IndexMap;
use longshore_agent::prompt;
use longshore_protocol::{
    Agent, ConversationId, Role,
    agent::{SecretSource, SecretValue},
    confirmation::{ConfirmationPolicy, SecurityAnalyzer, UNSUPPORTED_ANALYZERS},
    conversation::{
        Definition, LocalWorkspace, Progress, SendMessage, StartConversation, UpdateConversation, check_tags,
    },
};
use longshore_store::{Created, NewConversation, Owner};
use uuid::Uuid;

use crate::{
    Engine, Error,
    info::{Info, Skills},
    toolbox::Toolbox,
};

/// Secrets of one conversation.
const MAX_SECRETS: usize = 256;
/// Bytes of one secret's value.
const MAX_SECRET: usize = 64 << 10;
/// Bytes of all values of one conversation: every text that an agent writes is searched for them.
const MAX_SECRETS_BYTES: usize = 1 << 20;
/// Characters of a secret's name.
const MAX_SECRET_NAME: usize = 128;
/// Characters of a title.
const MAX_TITLE: usize = 200;

/// Whether a conversation is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// It was made now.
    New,
    /// It was there before; the wish changed nothing.
    Before,
}

impl Engine {
    /// Makes a conversation. The same id again gives the same conversation, as it is by then.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the field that makes no sense, [`Error::IdTaken`], [`Error::AtCapacity`] if there is a first
    /// message that cannot be run.
    pub async fn create(&self, owner: &Owner, wish: StartConversation, skills: Skills) -> Result<(Info, Made), Error> {
        let id = wish.conversation_id.unwrap_or_else(|| ConversationId(Uuid::new_v4()));
        let parent = wish.parent_conversation_id;
        let first_message = wish.initial_message.clone();
        if first_message.as_ref().is_some_and(|message| message.role != Role::User) {
            return Err(Error::invalid("initial_message", "Only user messages are allowed to be sent to the agent."));
        }
        if wish.conversation_id.is_some()
            && let Some(row) = self.shared.parts.store.conversation(owner, id).await?
        {
            return Box::pin(self.made_before(owner, row, first_message, skills)).await;
        }
        let tags = wish.tags.clone();
        check_tags(&tags).map_err(|reason| Error::invalid("tags", reason))?;
        let secrets = check_secrets(wish.secrets.clone())?;
        check_policy(&wish.confirmation_policy)?;
        check_analyzer(wish.security_analyzer.as_ref())?;
        let progress = Progress {
            confirmation_policy: wish.confirmation_policy.clone(),
            security_analyzer: wish.security_analyzer.clone(),
            ..Progress::default()
        };
        let definition = self.define(owner, wish).await?;
        check_amount(&with_own_secrets(&definition, &secrets))?;
        self.check_parent(owner, id, parent, &definition).await?;
        self.check_agent(owner, id, &definition).await?;
        if first_message.is_some() && !self.shared.runs.has_room(owner) {
            return Err(Error::AtCapacity);
        }

        let created_at = self.shared.parts.clock.now();
        let workspace = self.shared.parts.workspaces.workspace_id(owner, &definition.workspace);
        let new = NewConversation {
            id,
            owner: owner.clone(),
            created_at,
            parent,
            workspace,
            definition,
            progress,
            tags,
            secrets,
        };
        match self.shared.parts.store.create_conversation(new).await? {
            Created::New => {}
            Created::Existing(row) => {
                return Box::pin(self.made_before(owner, *row, first_message, skills)).await;
            }
            Created::Taken => return Err(Error::IdTaken(id)),
        }
        if let Some(parent) = parent {
            self.forget_answer(owner, parent);
        }
        if let Some(message) = first_message {
            self.begin(owner, id, message).await?;
        }
        Ok((self.info(owner, id, skills).await?, Made::New))
    }

    /// The conversation that is there. If it has no event, the server may have died between making it and taking the first
    /// message, and whoever asks again gets what they asked for.
    async fn made_before(
        &self,
        owner: &Owner,
        row: longshore_store::Conversation,
        first_message: Option<SendMessage>,
        skills: Skills,
    ) -> Result<(Info, Made), Error> {
        if let Some(message) = first_message.filter(|_| row.tail == 0) {
            self.begin(owner, row.id, message).await?;
        }
        Ok((self.info(owner, row.id, skills).await?, Made::Before))
    }

    async fn check_parent(
        &self,
        owner: &Owner,
        id: ConversationId,
        parent: Option<ConversationId>,
        definition: &Definition,
    ) -> Result<(), Error> {
        let Some(parent) = parent else { return Ok(()) };
        let invalid = |reason: String| Error::invalid("parent_conversation_id", reason);
        if parent == id {
            return Err(invalid("a conversation cannot be its own parent".to_owned()));
        }
        let Some(row) = self.shared.parts.store.conversation(owner, parent).await? else {
            return Err(invalid(format!("Parent conversation not found: {parent}")));
        };
        if row.definition.workspace != definition.workspace {
            let folder = &row.definition.workspace.working_dir;
            return Err(invalid(format!("parent and child must work in the same folder; the parent's is {folder}")));
        }
        Ok(())
    }

    /// Makes the agent's tools once, to find out now what could not be made later, and the folder it works in.
    async fn check_agent(&self, owner: &Owner, id: ConversationId, definition: &Definition) -> Result<(), Error> {
        prompt::system_prompt(&definition.agent).map_err(|error| Error::invalid("agent", error.to_string()))?;
        let parts = &self.shared.parts;
        let opened = parts.workspaces.open(owner, id, &definition.workspace).await?;
        let folder = opened.tools_dir(&self.shared, id);
        let is_elsewhere = opened.is_elsewhere();
        let workspace = opened.workspace;
        Toolbox::new(&parts.tools, std::sync::Arc::clone(&workspace), folder, definition)?;
        if is_elsewhere {
            // The folder is made with the place, when the agent first does something.
            return Ok(());
        }
        workspace
            .create_dir(workspace.working_dir())
            .await
            .map_err(|error| Error::invalid("workspace", format!("the folder cannot be made: {error}")))
    }

    async fn define(&self, owner: &Owner, wish: StartConversation) -> Result<Definition, Error> {
        if wish.max_iterations == 0 {
            return Err(Error::invalid("max_iterations", "Input should be greater than 0"));
        }
        if wish.conversation_runtime.as_deref().is_some_and(|runtime| runtime != "local") {
            return Err(Error::invalid("conversation_runtime", "This server only runs local conversations"));
        }
        if wish.worktree {
            return Err(Error::invalid("worktree", "git worktrees are not available: make one and give its folder"));
        }
        if wish.secrets_encrypted {
            let reason = "encrypted secrets are not available: send them as they are, over a connection you trust";
            return Err(Error::invalid("secrets_encrypted", reason));
        }
        Ok(Definition {
            agent: agent_of(wish.agent, wish.agent_settings.is_some(), wish.agent_profile_id.is_some())?,
            workspace: self.resolve(owner, wish.workspace).await?,
            max_iterations: wish.max_iterations,
            stuck_detection: wish.stuck_detection,
            client_tools: wish.client_tools,
            tool_module_qualnames: wish.tool_module_qualnames,
            agent_definitions: wish.agent_definitions,
            plugins: wish.plugins,
            hook_config: wish.hook_config,
            user_id: wish.user_id,
            autotitle: wish.autotitle,
        })
    }

    async fn resolve(&self, owner: &Owner, workspace: LocalWorkspace) -> Result<LocalWorkspace, Error> {
        if workspace.working_dir.contains('\0') {
            return Err(Error::invalid("workspace", "working_dir must not contain a zero byte"));
        }
        let resolved = self.shared.parts.workspaces.resolve(owner, workspace).await;
        resolved.map_err(|reason| Error::invalid("workspace", reason))
    }
}

fn agent_of(agent: Option<Agent>, has_settings: bool, has_profile: bool) -> Result<Agent, Error> {
    match (agent, has_profile) {
        (Some(_), true) => Err(Error::invalid("agent", "`agent_profile_id` is mutually exclusive with `agent`")),
        (Some(agent), false) => Ok(agent),
        (None, true) => Err(Error::invalid("agent_profile_id", "saved agents are not available: send `agent`")),
        (None, false) if has_settings => {
            Err(Error::invalid("agent_settings", "agents from settings are not available: send `agent`"))
        }
        (None, false) => {
            Err(Error::invalid("agent", "One of `agent`, `agent_settings`, or `agent_profile_id` must be provided"))
        }
    }
}

pub(crate) fn check_policy(policy: &ConfirmationPolicy) -> Result<(), Error> {
    match policy {
        ConfirmationPolicy::Unknown(_) => Err(Error::invalid(
            "confirmation_policy",
            format!("Unknown kind '{}'; Expected one of: {:?}", policy.kind(), ConfirmationPolicy::KINDS),
        )),
        _ => Ok(()),
    }
}

pub(crate) fn check_analyzer(analyzer: Option<&SecurityAnalyzer>) -> Result<(), Error> {
    let Some(analyzer @ SecurityAnalyzer::Unknown(_)) = analyzer else { return Ok(()) };
    let kind = analyzer.kind();
    let reason = if UNSUPPORTED_ANALYZERS.contains(&kind) {
        format!("{kind} is not available here; use one of {:?}, or null", SecurityAnalyzer::KINDS)
    } else {
        format!("Unknown kind '{kind}'; Expected one of: {:?}", SecurityAnalyzer::KINDS)
    };
    Err(Error::invalid("security_analyzer", reason))
}

/// The secrets, if each has a name that can be an environment variable.
pub(crate) fn check_secrets(secrets: IndexMap<String, SecretValue>) -> Result<IndexMap<String, SecretSource>, Error> {
    for name in secrets.keys() {
        let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let goes_on_well = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !starts_well || !goes_on_well || name.len() > MAX_SECRET_NAME {
            let reason = format!(
                "the name {name:?} cannot be an environment variable: use at most {MAX_SECRET_NAME} letters, digits and \
                 underscores, and begin with a letter"
            );
            return Err(Error::invalid("secrets", reason));
        }
    }
    let secrets = secrets.into_iter().map(|(name, value)| (name, value.0)).collect();
    check_amount(&secrets)?;
    Ok(secrets)
}

/// The agent's own secrets and the conversation's, which come first.
pub(crate) fn with_own_secrets(
    definition: &Definition,
    secrets: &IndexMap<String, SecretSource>,
) -> IndexMap<String, SecretSource> {
    let context = definition.agent.agent_context.as_ref();
    let own = context.and_then(|context| context.secrets.as_ref()).into_iter().flatten();
    let mut all: IndexMap<_, _> = own.map(|(name, value)| (name.clone(), value.0.clone())).collect();
    all.extend(secrets.clone());
    all
}

/// Whether a conversation may have so many and so large secrets.
pub(crate) fn check_amount(secrets: &IndexMap<String, SecretSource>) -> Result<(), Error> {
    if secrets.len() > MAX_SECRETS {
        return Err(Error::invalid("secrets", format!("a conversation can have at most {MAX_SECRETS} secrets")));
    }
    let mut total = 0;
    for (name, source) in secrets {
        let SecretSource::StaticSecret(secret) = source else { continue };
        let size = secret.value.as_ref().map_or(0, |value| value.expose().len());
        if size > MAX_SECRET {
            let reason = format!("the value of {name} is longer than {MAX_SECRET} bytes: put it into a file instead");
            return Err(Error::invalid("secrets", reason));
        }
        total += size;
    }
    if total > MAX_SECRETS_BYTES {
        let reason = format!("a conversation can have at most {MAX_SECRETS_BYTES} bytes of secrets in all");
        return Err(Error::invalid("secrets", reason));
    }
    Ok(())
}

pub(crate) fn check_update(mut update: UpdateConversation) -> Result<UpdateConversation, Error> {
    if let Some(title) = &mut update.title {
        *title = title.trim().to_owned();
        if title.is_empty() {
            return Err(Error::invalid("title", "title must not be blank"));
        }
        if title.chars().count() > MAX_TITLE {
            return Err(Error::invalid("title", format!("title must have at most {MAX_TITLE} characters")));
        }
    }
    if let Some(tags) = &update.tags {
        check_tags(tags).map_err(|reason| Error::invalid("tags", reason))?;
    }
    Ok(update)
}
