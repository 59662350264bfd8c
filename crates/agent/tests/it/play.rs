//! A conversation with a scripted world.

use std::sync::Arc;

use jiff::{Timestamp, tz::TimeZone};
use longshore_agent::{
    Act, Answer, Effect, Failure, Machine, Question, Runner, Setup, ToolInfo, ToolResult, World, builtin, prompt,
};
use longshore_protocol::{
    Agent, Content, Event, EventBody, EventTime, Llm, Message, Observation, Role, ToolCall,
    conversation::Progress,
    error::{ErrorClassification, FailureKind, UserAction},
    metrics::{Call, TokenUsage},
    observation::TerminalObservation,
    tool::{ToolDefinition, ToolSchema},
};
use serde_json::{Value, json};

/// Time that stands still and ids that count.
#[derive(Default)]
pub(crate) struct Counter(u64);

impl World for Counter {
    fn time(&mut self) -> EventTime {
        EventTime::at(Timestamp::UNIX_EPOCH, &TimeZone::UTC)
    }

    fn id(&mut self) -> String {
        self.0 += 1;
        format!("e{}", self.0)
    }
}

/// A machine, and everything that it wanted.
pub(crate) struct Play {
    pub(crate) machine: Machine,
    pub(crate) world: Counter,
    pub(crate) log: Vec<(Event, Option<String>)>,
    pub(crate) questions: Vec<Question>,
    pub(crate) acts: Vec<Act>,
    pub(crate) settled: usize,
    pub(crate) aborted: usize,
    setup: Setup,
}

impl Play {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let agent = Agent::new(Llm::default(), Vec::new());
        let mut setup = Setup {
            instructions: prompt::system_prompt(&agent).unwrap(),
            agent: Arc::new(agent),
            tools: vec![terminal(), builtin::by_class("FinishTool").unwrap(), builtin::by_class("ThinkTool").unwrap()],
            max_iterations: 100,
            stuck_detection: true,
            secrets: indexmap::IndexMap::new(),
        };
        change(&mut setup);
        Self::of(Machine::new(setup.clone(), Progress::default()), setup)
    }

    fn of(machine: Machine, setup: Setup) -> Self {
        Self {
            machine,
            world: Counter::default(),
            log: Vec::new(),
            questions: Vec::new(),
            acts: Vec::new(),
            settled: 0,
            aborted: 0,
            setup,
        }
    }

    /// The same conversation in a server that was started again.
    pub(crate) fn restarted(&self) -> Self {
        let mut machine = Machine::new(self.setup.clone(), self.machine.progress().clone());
        for (event, arguments) in &self.log {
            machine.replay(event, arguments.as_deref());
        }
        let mut play = Self::of(machine, self.setup.clone());
        play.world = Counter(self.world.0);
        play.log.clone_from(&self.log);
        play
    }

    pub(crate) fn recover(&mut self) {
        let effects = self.machine.recover(&mut self.world);
        self.take(effects);
    }

    pub(crate) fn say(&mut self, text: &str) -> &mut Self {
        let message = Message::new(Role::User, vec![Content::text(text)]);
        let effects = self.machine.message(&mut self.world, message);
        self.take(effects)
    }

    pub(crate) fn run(&mut self) -> &mut Self {
        let effects = self.machine.run(&mut self.world).unwrap();
        self.take(effects)
    }

    pub(crate) fn pause(&mut self) -> &mut Self {
        let effects = self.machine.pause(&mut self.world);
        self.take(effects)
    }

    pub(crate) fn interrupt(&mut self) -> &mut Self {
        let effects = self.machine.interrupt(&mut self.world);
        self.take(effects)
    }

    pub(crate) fn confirm(&mut self, accept: bool) -> &mut Self {
        let response = serde_json::from_value(json!({"accept": accept, "reason": "no thanks"})).unwrap();
        let effects = self.machine.confirm(&mut self.world, &response);
        self.take(effects)
    }

    /// The model answers with calls: names and arguments.
    pub(crate) fn calls(&mut self, calls: &[(&str, Value)]) -> &mut Self {
        let number = self.questions.len();
        let calls = calls.iter().enumerate().map(|(index, (name, arguments))| ToolCall {
            id: format!("call_{number}_{index}"),
            responses_item_id: None,
            name: (*name).to_owned(),
            arguments: arguments.as_str().map_or_else(|| arguments.to_string(), str::to_owned),
            origin: longshore_protocol::message::CallOrigin::Completion,
        });
        let message = Message { role: Role::Assistant, tool_calls: Some(calls.collect()), ..Message::default() };
        self.answer(message)
    }

    pub(crate) fn reply(&mut self, text: &str) -> &mut Self {
        self.answer(Message::new(Role::Assistant, vec![Content::text(text)]))
    }

    fn answer(&mut self, message: Message) -> &mut Self {
        let response_id = format!("response_{}", self.questions.len());
        let usage = TokenUsage { prompt_tokens: 10, completion_tokens: 2, ..TokenUsage::default() };
        let call = Call { usage_id: "default".to_owned(), usage, cost: 0.5, latency: 0.1, timestamp: 0.0 };
        let answer = Answer { response_id, message, call };
        let effects = self.machine.answered(&mut self.world, Ok(answer));
        self.take(effects)
    }

    pub(crate) fn model_fails(&mut self, code: &str) -> &mut Self {
        let classification = ErrorClassification::of_code(code);
        let failure = Failure { code: code.to_owned(), detail: "why".to_owned(), classification };
        let effects = self.machine.answered(&mut self.world, Err(failure));
        self.take(effects)
    }

    /// The action with this command is done.
    pub(crate) fn done(&mut self, command: &str) -> &mut Self {
        let content = vec![Content::text(format!("output of {command}"))];
        let observation = TerminalObservation { content, exit_code: Some(0), ..TerminalObservation::default() }.into();
        self.result(command, Ok(observation))
    }

    pub(crate) fn fails(&mut self, command: &str) -> &mut Self {
        let classification = ErrorClassification::new(FailureKind::Internal, false, UserAction::None);
        self.result(command, Err(longshore_agent::ActFailure { error: "broken".to_owned(), classification }))
    }

    pub(crate) fn result(&mut self, command: &str, result: ToolResult) -> &mut Self {
        let is_it = |act: &&Act| serde_json::to_value(&act.action).unwrap()["command"] == command;
        let id = self.acts.iter().rev().find(is_it).expect("the action was begun").action_id.clone();
        let effects = self.machine.acted(&mut self.world, &id, result);
        self.take(effects)
    }

    pub(crate) fn take(&mut self, effects: Vec<Effect>) -> &mut Self {
        for effect in effects {
            match effect {
                Effect::Append(appended) => self.log.push(((*appended.event).clone(), appended.arguments)),
                Effect::Ask(question) => self.questions.push(question),
                Effect::Act(act) => self.acts.push(act),
                Effect::Abort => self.aborted += 1,
                Effect::Settled => self.settled += 1,
            }
        }
        self
    }

    pub(crate) fn status(&self) -> &'static str {
        self.machine.status().as_str()
    }

    /// Commands that were begun, in order.
    pub(crate) fn begun(&self) -> Vec<String> {
        self.acts
            .iter()
            .map(|act| serde_json::to_value(&act.action).unwrap()["command"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// The log in words: kinds, and what matters of each.
    pub(crate) fn story(&self) -> Vec<String> {
        self.log.iter().map(|(event, _)| tell(event)).collect()
    }

    /// What the model was asked last: a line for each message.
    pub(crate) fn last_question(&self) -> Vec<String> {
        let question = self.questions.last().expect("the model was asked");
        question
            .messages
            .iter()
            .skip(1)
            .map(|message| {
                let calls: Vec<_> = message.tool_calls.iter().flatten().map(|call| call.arguments.clone()).collect();
                let role = serde_json::to_value(message.role).unwrap();
                format!("{}: {}{}", role.as_str().unwrap(), message.text(), calls.join(" + "))
            })
            .collect()
    }
}

fn tell(event: &Event) -> String {
    match &event.body {
        EventBody::SystemPromptEvent(_) => "instructions".to_owned(),
        EventBody::MessageEvent(message) => format!("{:?}: {}", event.source, message.llm_message.text()),
        EventBody::ActionEvent(action) if action.action.is_none() => format!("bad call of {}", action.tool_name),
        EventBody::ActionEvent(action) => format!("call of {}", action.tool_name),
        EventBody::ObservationEvent(it) => {
            let text = it.observation.content().first().and_then(Content::as_text).unwrap_or_default();
            format!("result: {text}")
        }
        EventBody::AgentErrorEvent(error) => format!("error: {}", error.error),
        EventBody::UserRejectObservation(rejection) => format!("rejected: {}", rejection.rejection_reason),
        EventBody::ConversationErrorEvent(error) => format!("{}: {}", error.code, error.detail),
        EventBody::ConversationStateUpdateEvent(update) if update.key == "execution_status" => {
            format!("now {}", update.value.as_str().unwrap_or_default())
        }
        EventBody::ConversationStateUpdateEvent(update) => format!("new {}", update.key),
        other => other.kind().to_owned(),
    }
}

/// A terminal whose commands share what stands before a colon: `a: ls` and `a: pwd` cannot run at the same time.
pub(crate) fn terminal() -> ToolInfo {
    let parameters = json!({
        "type": "object",
        "properties": {"command": {"type": "string"}, "is_input": {"type": "boolean"}, "timeout": {"type": "number"}},
        "required": ["command"],
    });
    ToolInfo {
        definition: ToolDefinition {
            description: "Run a command.".to_owned(),
            action_type: "TerminalAction".to_owned(),
            observation_type: Some("TerminalObservation".to_owned()),
            annotations: None,
            client_tool_name: None,
            input_schema: None,
            kind: "TerminalTool".to_owned(),
            title: "terminal".to_owned(),
        },
        schema: ToolSchema {
            name: "terminal".to_owned(),
            description: "Run a command.".to_owned(),
            parameters: parameters.as_object().unwrap().clone(),
        },
        runner: Runner::World(Arc::new(|action| {
            let value = serde_json::to_value(action).unwrap();
            value["command"].as_str().and_then(|command| command.split_once(':')).map(|(key, _)| key.to_owned())
        })),
    }
}

/// An observation that says something.
pub(crate) fn says(text: &str) -> Observation {
    TerminalObservation { content: vec![Content::text(text)], ..TerminalObservation::default() }.into()
}
