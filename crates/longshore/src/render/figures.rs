//! Tokens, money and time in the form that people read.

use std::time::Duration;

use longshore_protocol::metrics::Stats;

/// What model calls came to.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Usage {
    pub(crate) read: u64,
    pub(crate) written: u64,
    pub(crate) dollars: f64,
}

impl Usage {
    /// The sum over all uses of models.
    pub(crate) fn of(stats: &Stats) -> Self {
        let mut usage = Self { dollars: stats.total_cost(), ..Self::default() };
        for tokens in stats.usage_to_metrics.values().filter_map(|metrics| metrics.accumulated_token_usage.as_ref()) {
            usage.read += tokens.prompt_tokens;
            usage.written += tokens.completion_tokens;
        }
        usage
    }

    /// The usage in words. A model whose price nobody knows, or that is free, costs nothing that could be told.
    pub(crate) fn text(&self) -> String {
        if *self == Self::default() {
            return "no tokens".to_owned();
        }
        let tokens = format!("{} tokens read, {} written", count(self.read), count(self.written));
        if self.dollars > 0.0 {
            format!("{tokens}, {}", money(self.dollars))
        } else {
            format!("{tokens}, no known cost")
        }
    }

    /// The usage in fewer words.
    pub(crate) fn short(&self) -> String {
        if *self == Self::default() {
            return "no tokens yet".to_owned();
        }
        let tokens = format!("{} tokens", count(self.read + self.written));
        if self.dollars > 0.0 { format!("{tokens} · {}", money(self.dollars)) } else { tokens }
    }
}

#[expect(clippy::cast_precision_loss, reason = "only three digits are shown")]
fn count(number: u64) -> String {
    match number {
        0..1_000 => number.to_string(),
        1_000..1_000_000 => format!("{:.1}k", number as f64 / 1e3),
        _ => format!("{:.2}M", number as f64 / 1e6),
    }
}

fn money(dollars: f64) -> String {
    if dollars < 0.01 { format!("${dollars:.4}") } else { format!("${dollars:.2}") }
}

/// A time to the second.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!([0, 999, 1_250, 2_345_678].map(count), ["0", "999", "1.2k", "2.35M"]);
        assert_eq!([0.0012, 1.5].map(money), ["$0.0012", "$1.50"]);
        assert_eq!(
            [7, 61, 3_720].map(|seconds| duration(Duration::from_secs(seconds))),
            ["7 s", "1 min 1 s", "1 h 2 min"]
        );
        let usage = Usage { read: 1000, written: 5, dollars: 0.0 };
        assert_eq!(usage.text(), "1.0k tokens read, 5 written, no known cost");
    }
}
