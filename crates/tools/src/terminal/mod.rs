//! A shell that keeps its state between calls (contract: agent §5.3).

mod capture;
mod keys;
mod parser;
mod session;
mod settings;
mod shell;

use std::{sync::OnceLock, time::Duration};

use async_trait::async_trait;
use longshore_protocol::{
    Action, Observation,
    tool::{ToolAnnotations, ToolDefinition, ToolSchema},
};
use serde_json::json;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use self::session::{Request, Session};
pub(crate) use self::settings::Settings;
use crate::{Call, Context, Error, Tool, schema};

/// How long a command that is under way may take to end before its shell is left.
const FAREWELL: Duration = Duration::from_secs(1);

const DESCRIPTION: &str = "Runs a command in a bash session that keeps its folder, variables and background jobs between \
    calls.\n\
    - Several lines, here-documents and pipes work. Chain dependent steps with &&.\n\
    - A command without new output for a while, or past its timeout, keeps running and the call returns with exit code -1. \
    Then send an empty command for more output, text with is_input=true to answer it, or a key such as C-c, C-d, C-z, \
    ENTER, UP. Other commands are refused until it ends.\n\
    - Start servers in the background with output in a file: `server > log 2>&1 &`.\n\
    - Output over 30000 characters is cut in the middle; the full text is saved in a file that is named there.";

/// The tool.
#[derive(Debug)]
pub(crate) struct Terminal {
    context: Context,
    settings: Settings,
    /// The way to the task that owns the shell; there is none before the first call.
    requests: OnceLock<mpsc::Sender<Request>>,
    tasks: TaskTracker,
    closing: CancellationToken,
    leaving: CancellationToken,
    _close_on_drop: DropGuard,
}

impl Terminal {
    pub(crate) fn new(context: Context, settings: Settings) -> Self {
        let closing = CancellationToken::new();
        let (leaving, close_on_drop) = (CancellationToken::new(), closing.clone().drop_guard());
        let (requests, tasks) = (OnceLock::new(), TaskTracker::new());
        Self { context, settings, requests, tasks, closing, leaving, _close_on_drop: close_on_drop }
    }

    fn requests(&self) -> &mpsc::Sender<Request> {
        self.requests.get_or_init(|| {
            let (sender, receiver) = mpsc::channel(1);
            let session = Session::new(self.context.clone(), self.settings.clone());
            self.tasks.spawn(session.serve(receiver, self.closing.clone(), self.leaving.clone()));
            sender
        })
    }
}

#[async_trait]
impl Tool for Terminal {
    fn definition(&self) -> ToolDefinition {
        ToolDefinition {
            description: DESCRIPTION.to_owned(),
            action_type: "TerminalAction".to_owned(),
            observation_type: Some("TerminalObservation".to_owned()),
            annotations: Some(ToolAnnotations {
                title: Some("terminal".to_owned()),
                read_only: false,
                destructive: true,
                idempotent: false,
                open_world: true,
            }),
            client_tool_name: None,
            input_schema: None,
            kind: "TerminalTool".to_owned(),
            title: "terminal".to_owned(),
        }
    }

    fn schema(&self) -> ToolSchema {
        schema::tool(
            "terminal",
            DESCRIPTION,
            json!({
                "type": "object",
                "properties": {
                    "command": {
                        "type": "string",
                        "description": "The command; or input or a key for the running one; or empty to read its output.",
                    },
                    "is_input": {
                        "type": "boolean",
                        "description": "Whether command is input for the running command. Default: false.",
                    },
                    "timeout": {
                        "type": "number",
                        "description": "Seconds to wait for the end, however quiet. Default: until nothing is printed for \
                            30 seconds. Set it for long builds and tests.",
                    },
                    "reset": {
                        "type": "boolean",
                        "description": "Start a new shell first, when this one does not answer any more; variables, folder \
                            and jobs are lost. Not with is_input.",
                    },
                },
                "required": ["command"],
            }),
        )
    }

    fn resource(&self, _action: &Action) -> Option<String> {
        Some("terminal:session".to_owned())
    }

    async fn run(&self, action: Action, call: Call) -> Result<Observation, Error> {
        let Action::TerminalAction(action) = action else {
            return Err(schema::wrong_action("terminal", &action));
        };
        // A caller that goes away without cancelling means the same.
        let cancel = call.cancel.child_token();
        let cancel_on_drop = cancel.clone().drop_guard();
        let call = Call { cancel, ..call };
        let closed = || Error::Failed("The terminal was closed.".to_owned());
        let (reply, answer) = oneshot::channel();
        self.requests().send(Request { action, call, reply }).await.map_err(|_| closed())?;
        let done = answer.await.map_err(|_| closed())?;
        cancel_on_drop.disarm();
        Ok(done?.into())
    }

    async fn close(&self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn leave(&self) {
        self.leaving.cancel();
        self.tasks.close();
        if timeout(FAREWELL, self.tasks.wait()).await.is_err() {
            // A command that does not let itself be interrupted is not left to go on unseen.
            self.close().await;
        }
    }
}
