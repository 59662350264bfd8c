//! Questions to the user.

use anyhow::Result;
use longshore_protocol::{confirmation::Risk, event::ActionEvent};

use super::input::{Input, is_terminal};
use crate::{
    render::{Line, Screen, Style, described},
    signals::{Signals, Wish},
};

/// What the agent hears when the user gave no reason.
const NO_REASON: &str = "The user rejected the action.";

/// What the user says about actions that wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Yes,
    /// Yes to these and to all that come.
    Always,
    /// No, and why.
    No(String),
    /// The input ended.
    Nothing,
    Signal(Wish),
}

/// Asks whether actions may be carried out.
pub(crate) async fn confirm(
    actions: impl Iterator<Item = &ActionEvent>,
    signals: &mut Signals,
    input: &mut Input,
    screen: &mut Screen,
) -> Verdict {
    Input::discard();
    show(actions, screen);
    loop {
        screen.ask("Go on? [y]es / [n]o (with a reason) / [a]lways:");
        let line = match line(signals, input).await {
            Ok(Some(line)) => line,
            Ok(None) => return Verdict::Nothing,
            Err(wish) => return Verdict::Signal(wish),
        };
        if let Some(verdict) = verdict(&line) {
            return verdict;
        }
    }
}

/// Shows actions that wait on standard error, where the question is asked.
pub(crate) fn show<'a>(actions: impl Iterator<Item = &'a ActionEvent>, screen: &mut Screen) {
    let mut lines = vec![Line::blank()];
    for action in actions {
        let (risk, style) = match action.security_risk {
            Risk::Unknown => ("of unknown risk", Style::Warning),
            Risk::Low => ("of low risk", Style::Plain),
            Risk::Medium => ("of medium risk", Style::Warning),
            Risk::High => ("of high risk", Style::Failure),
        };
        lines.push(Line::new(style, format!("The agent wants to do something {risk}:")));
        lines.extend(described(action));
    }
    screen.tell(&lines);
}

/// Asks for something more to do; nothing if the user has nothing to say.
pub(crate) async fn next_message(
    signals: &mut Signals,
    input: &mut Input,
    screen: &mut Screen,
) -> Result<Option<String>> {
    Input::discard();
    screen.ask("\nNext message (empty to end):");
    // Whoever sends a signal here wants to leave.
    Ok(line(signals, input).await.ok().flatten().filter(|line| !line.is_empty()))
}

/// Asks what a finished agent is to do, if there is somebody to ask.
pub(crate) async fn message_for_finished(
    signals: &mut Signals,
    input: &mut Input,
    screen: &mut Screen,
) -> Result<Option<String>> {
    if is_terminal() { next_message(signals, input, screen).await } else { Ok(None) }
}

/// A line, or the signal that came instead.
async fn line(signals: &mut Signals, input: &mut Input) -> Result<Option<String>, Wish> {
    tokio::select! {
        line = input.line() => Ok(line),
        wish = signals.next() => Err(wish),
    }
}

/// What a line means; nothing if that is not clear.
fn verdict(line: &str) -> Option<Verdict> {
    let (word, rest) =
        line.split_once(|character: char| character.is_whitespace() || character == ',').unwrap_or((line, ""));
    match word.to_lowercase().as_str() {
        "y" | "yes" if rest.trim().is_empty() => Some(Verdict::Yes),
        "a" | "always" if rest.trim().is_empty() => Some(Verdict::Always),
        "n" | "no" => {
            let reason = rest.trim();
            Some(Verdict::No(if reason.is_empty() { NO_REASON.to_owned() } else { reason.to_owned() }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clear_answers_count() {
        assert_eq!(verdict("Y"), Some(Verdict::Yes));
        assert_eq!(verdict("always"), Some(Verdict::Always));
        assert_eq!(verdict("no, use the other file"), Some(Verdict::No("use the other file".to_owned())));
        assert_eq!(verdict("n"), Some(Verdict::No(NO_REASON.to_owned())));
        for unclear in ["", "yes but not the second", "ok", "yn"] {
            assert_eq!(verdict(unclear), None, "{unclear}");
        }
    }
}
