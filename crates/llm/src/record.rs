//! Recordings: `record/<file>+<model>` keeps what a model answers, `replay/<file>` answers from it without a network.
//!
//! A recording is a file of JSON lines, one for each answer, with the fingerprint of its request. It holds neither keys nor
//! requests. A request is answered by the line with its fingerprint; if several lines have it, in the order of the file,
//! counted for each conversation apart, and by the last one from then on.

use std::{
    collections::{BTreeMap, HashMap},
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use longshore_protocol::{ConversationId, Llm, Message, Role, metrics::TokenUsage};
use serde::{Deserialize, Serialize};
use tokio::{sync::mpsc, time::Instant};

use crate::{
    Delta, Error, ErrorKind, Estimate, Model, Request, Response, chat::call, files, fingerprint::fingerprint,
    mask::Mask, scripted::send_pieces,
};

/// The most conversations whose place in a recording is remembered.
const MEMORY: usize = 1000;

/// One line of a recording.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    /// The fingerprint.
    request: Vec<String>,
    id: String,
    message: Message,
    usage: TokenUsage,
    cost: f64,
}

/// A model that keeps what another one answers.
#[derive(Debug)]
pub(crate) struct Recorder {
    model: Arc<dyn Model>,
    path: PathBuf,
    mask: Mask,
}

impl Recorder {
    /// Records into a file of the folder, after what it has.
    pub(crate) fn open(llm: &Llm, model: Arc<dyn Model>, folder: &Path, file: &str) -> Result<Self, Error> {
        let headers = llm.extra_headers.iter().flatten().map(|(_, value)| value.as_str());
        let mask = Mask::new(llm.api_key.iter().map(longshore_protocol::Secret::expose).chain(headers));
        Ok(Self { model, path: files::locate(folder, file)?, mask })
    }
}

#[async_trait]
impl Model for Recorder {
    async fn complete(&self, request: &Request, deltas: Option<mpsc::Sender<Delta>>) -> Result<Response, Error> {
        let response = self.model.complete(request, deltas).await?;
        let line = Line {
            request: fingerprint(request, &self.mask),
            id: response.id.clone(),
            message: response.message.clone(),
            usage: response.call.usage.clone(),
            cost: response.call.cost,
        };
        let failed = |cause: &dyn std::fmt::Display| {
            Error::bad_request(format!("The answer cannot be recorded: {cause}. Check the folder for models."))
        };
        let line = serde_json::to_string(&line).map_err(|error| failed(&error))?;
        let line = format!("{}\n", self.mask.hide(&line));
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || append(&path, line.as_bytes())).await;
        written.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
        Ok(response)
    }

    fn estimate(&self, request: &Request) -> Estimate {
        self.model.estimate(request)
    }
}

/// Adds a line in one write, so that lines of several conversations and processes do not mix.
///
/// # Errors
/// Those of the file, and a recording that would be too long to be replayed.
fn append(path: &Path, line: &[u8]) -> std::io::Result<()> {
    static WRITING: Mutex<()> = Mutex::new(());
    let _guard = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    if file.metadata()?.len().saturating_add(line.len() as u64) > files::SIZE_LIMIT {
        return Err(std::io::Error::other("the recording is full; start another file"));
    }
    file.write_all(line)
}

/// A model that answers from a recording.
#[derive(Debug)]
pub(crate) struct Replayer {
    lines: Vec<Line>,
    /// Places of the lines with a fingerprint, in the order of the file.
    places: HashMap<Vec<String>, Vec<usize>>,
    file: String,
    model: String,
    usage_id: String,
    streams: bool,
    /// How often each conversation has asked the same, by the first place of what it asked.
    asked: Mutex<BTreeMap<ConversationId, HashMap<usize, usize>>>,
}

impl Replayer {
    /// Reads a recording of the folder.
    pub(crate) fn open(llm: &Llm, folder: &Path, file: &str) -> Result<Self, Error> {
        let mut lines: Vec<Line> = Vec::new();
        let mut places: HashMap<_, Vec<_>> = HashMap::new();
        for (index, text) in files::read(folder, file)?.lines().enumerate().filter(|(_, text)| !text.trim().is_empty())
        {
            let line: Line = serde_json::from_str(text).map_err(|error| {
                Error::bad_request(format!("The recording {file:?} has a mistake in line {}: {error}.", index + 1))
            })?;
            places.entry(line.request.clone()).or_default().push(lines.len());
            lines.push(line);
        }
        if lines.is_empty() {
            return Err(Error::bad_request(format!(
                "There is no recording {file:?}, or it is empty: make one with record/{file}+<model>."
            )));
        }
        Ok(Self {
            lines,
            places,
            file: file.to_owned(),
            model: llm.model.clone(),
            usage_id: llm.usage_id.clone(),
            streams: llm.stream,
            asked: Mutex::default(),
        })
    }

    fn find(&self, request: &Request) -> Result<&Line, Error> {
        let fingerprint = fingerprint(request, &Mask::default());
        let Some(places) = self.places.get(&fingerprint) else { return Err(self.unknown(request, &fingerprint)) };
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.len() >= MEMORY && !asked.contains_key(&request.conversation) {
            asked.pop_first();
        }
        let times = asked.entry(request.conversation).or_default().entry(places[0]).or_default();
        let place = places[(*times).min(places.len() - 1)];
        *times += 1;
        Ok(&self.lines[place])
    }

    /// Says where the request leaves the recording: beside the recorded request that is the same for the longest.
    fn unknown(&self, request: &Request, fingerprint: &[String]) -> Error {
        let same = |line: &Line| line.request.iter().zip(fingerprint).take_while(|(left, right)| left == right).count();
        let nearest = self.lines.iter().max_by_key(|line| same(line));
        let agreed = nearest.map_or(0, same);
        let difference = match agreed.checked_sub(1) {
            None => "its tools differ from those of all recorded requests".to_owned(),
            Some(index) => match (request.messages.get(index), nearest.and_then(|line| line.request.get(agreed))) {
                (Some(message), Some(recorded)) => {
                    let recorded = recorded.split(':').next().unwrap_or_default();
                    format!(
                        "message {} differs from the recorded {recorded} message; it is {}",
                        index + 1,
                        shown(message)
                    )
                }
                (Some(message), None) => format!("message {} is not in the recording: {}", index + 1, shown(message)),
                (None, _) => format!("all its {index} messages are recorded, but only in longer requests"),
            },
        };
        Error::new(
            ErrorKind::BadRequest,
            format!("The recording {:?} has no answer to this request: {difference}. Record it again.", self.file),
        )
    }
}

/// The role and the beginning of a message.
fn shown(message: &Message) -> String {
    let text = message.text();
    let calls = message.tool_calls.iter().flatten().map(|call| format!("{}({})", call.name, call.arguments));
    let text = std::iter::once(text).chain(calls).collect::<Vec<_>>().join(" ");
    let beginning: String = text.chars().take(120).collect();
    let role = match message.role {
        Role::User => "user",
        Role::System => "system",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    };
    format!("{role}: {:?}", Mask::default().hide(&beginning))
}

#[async_trait]
impl Model for Replayer {
    async fn complete(&self, request: &Request, deltas: Option<mpsc::Sender<Delta>>) -> Result<Response, Error> {
        let start = Instant::now();
        let Line { id, message, usage, cost, .. } = self.find(request)?;
        if let Some(deltas) = deltas.filter(|_| self.streams) {
            send_pieces(message, &deltas).await;
        }
        let usage = TokenUsage { model: self.model.clone(), ..usage.clone() };
        Ok(Response {
            id: id.clone(),
            message: message.clone(),
            call: call(&self.usage_id, usage, *cost, start.elapsed()),
        })
    }

    /// What the dearest line of the recording counts and costs.
    fn estimate(&self, _request: &Request) -> Estimate {
        let most = |count: fn(&TokenUsage) -> u64| self.lines.iter().map(|line| count(&line.usage)).max().unwrap_or(0);
        let cost = self.lines.iter().map(|line| line.cost).fold(0.0, f64::max);
        Estimate {
            input_tokens: most(|usage| usage.prompt_tokens),
            output_tokens: most(|usage| usage.completion_tokens),
            input_cost: Some(0.0),
            cost: Some(cost),
        }
    }
}
