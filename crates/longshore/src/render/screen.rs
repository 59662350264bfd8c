//! Where lines go: standard output, with a status line on standard error while something takes its time.

use std::{
    io::{self, Write as _},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use longshore_protocol::{Event, EventBody};

use super::{
    events::Renderer,
    figures::duration,
    line::{Line, Style},
};
use crate::progress::Progress;

/// What takes longer than this gets a status line.
const QUIET: Duration = Duration::from_secs(1);

/// What a reader of standard output gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// All that happens, for people.
    Full,
    /// The agent's answer and nothing else.
    Answer,
    /// Stored events, one a line.
    Json,
}

/// Standard output and standard error.
#[derive(Debug)]
pub(crate) struct Screen {
    form: Form,
    renderer: Renderer,
    colours: bool,
    bar: Option<ProgressBar>,
    /// When something was last seen.
    seen: Instant,
}

impl Screen {
    /// Shows things in this form; paths as seen from `folder`.
    pub(crate) fn new(form: Form, folder: &str) -> Self {
        let renderer = Renderer::new(folder);
        Self { form, renderer, colours: has_colours(&io::stdout()), bar: None, seen: Instant::now() }
    }

    /// Shows an event. `json` is the text that it came as.
    pub(crate) fn event(&mut self, event: &Event, json: &str) -> Result<()> {
        match self.form {
            Form::Full => {
                let lines = self.renderer.lines(event);
                self.lines(&lines)
            }
            Form::Json if is_stored(event) => self.out(|output, _| writeln!(output, "{json}")),
            Form::Json | Form::Answer => Ok(()),
        }
    }

    /// Shows lines to people.
    pub(crate) fn lines(&mut self, lines: &[Line]) -> Result<()> {
        if self.form != Form::Full || lines.is_empty() {
            return Ok(());
        }
        self.out(|output, colours| lines.iter().try_for_each(|line| line.write(output, colours)))
    }

    /// Shows a note between the lines of the agent.
    pub(crate) fn note(&mut self, text: impl AsRef<str>) -> Result<()> {
        self.lines(&[Line::blank(), Line::new(Style::Dim, text)])
    }

    /// Shows the agent's answer to those who get nothing else.
    pub(crate) fn answer(&mut self, text: &str) -> Result<()> {
        if self.form != Form::Answer {
            return Ok(());
        }
        let lines: Vec<_> = text.trim().lines().map(Line::plain).collect();
        self.out(|output, colours| lines.iter().try_for_each(|line| line.write(output, colours)))
    }

    /// Tells people something on standard error, whatever the form.
    pub(crate) fn tell(&mut self, lines: &[Line]) {
        self.clear();
        let mut output = io::stderr().lock();
        let colours = has_colours(&io::stderr());
        // Where nobody can be told, there is nobody to tell about it.
        let _ = lines.iter().try_for_each(|line| line.write(&mut output, colours));
    }

    /// Asks for a line on standard error.
    pub(crate) fn ask(&mut self, question: &str) {
        self.clear();
        let mut output = io::stderr().lock();
        let _ = write!(output, "{question} ").and_then(|()| output.flush());
    }

    /// Shows what is going on if it has been for a while. To be called several times a second.
    pub(crate) fn tick(&mut self, progress: &Progress) {
        if self.seen.elapsed() < QUIET || self.form == Form::Json {
            return;
        }
        let bar = self.bar.get_or_insert_with(status_line);
        let time = duration(self.seen.elapsed());
        let text = format!("{} · {time} · {}", progress.doing(), progress.usage().short());
        bar.set_message(Line::plain(text).text());
        bar.tick();
    }

    /// Takes the status line away.
    pub(crate) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.seen = Instant::now();
    }

    fn out(
        &mut self,
        write: impl FnOnce(&mut io::BufWriter<io::StdoutLock<'static>>, bool) -> io::Result<()>,
    ) -> Result<()> {
        self.clear();
        let mut output = io::BufWriter::new(io::stdout().lock());
        let written = write(&mut output, self.colours).and_then(|()| output.flush());
        written.context("standard output cannot be written to")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.clear();
    }
}

fn status_line() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
        bar.set_style(style);
    }
    bar
}

/// Whether an event is in the log: the others tell what it says already.
fn is_stored(event: &Event) -> bool {
    match &event.body {
        EventBody::ConversationStateUpdateEvent(update) => update.key != "full_state",
        EventBody::StreamingDeltaEvent(_) | EventBody::ServerErrorEvent(_) | EventBody::CondensationSummaryEvent(_) => {
            false
        }
        _ => true,
    }
}

/// Colours are for terminals that have them, and for people who want them (no-color.org).
fn has_colours(stream: &impl io::IsTerminal) -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}
