//! What is known about models by name: prices, context windows and abilities.
//!
//! The table holds list prices in US dollars per million tokens as the providers published them by November 2026. It is
//! small on purpose: a model that is missing costs nothing until its configuration names a price, or its proxy reports one.

/// What is known about a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Entry {
    name: &'static str,
    /// US dollars per million tokens.
    pub(crate) prices: Prices,
    /// The most tokens it reads.
    pub(crate) context_window: u64,
    abilities: u8,
}

/// US dollars per million tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Prices {
    pub(crate) input: f64,
    pub(crate) output: f64,
    pub(crate) cache_read: f64,
    pub(crate) cache_write: f64,
}

impl Entry {
    /// Whether it accepts a reasoning effort.
    pub(crate) const fn reasons(&self) -> bool {
        self.abilities & REASONS != 0
    }

    /// Whether it accepts images.
    pub(crate) const fn sees(&self) -> bool {
        self.abilities & SEES != 0
    }
}

/// Finds a model by its name, with or without providers before it, a date or `-latest` after it, and a variant behind a
/// colon. Dots and dashes count as equal, because providers differ in them.
pub(crate) fn find(name: &str) -> Option<&'static Entry> {
    let name = name.rsplit('/').next().unwrap_or(name);
    let name = name.split(':').next().unwrap_or(name).to_ascii_lowercase().replace('.', "-");
    let name = name.strip_suffix("-latest").unwrap_or(&name);
    exactly(name).or_else(|| {
        let cuts = name.match_indices('-').rev().filter(|(dash, _)| is_date(&name[dash + 1..]));
        cuts.map(|(dash, _)| &name[..dash]).find_map(exactly)
    })
}

fn exactly(name: &str) -> Option<&'static Entry> {
    TABLE.binary_search_by(|entry| entry.name.cmp(name)).ok().map(|index| &TABLE[index])
}

/// Whether a name's end looks like `20250929`, `2025-08-07` or `0905`.
fn is_date(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    (4..=8).contains(&digits) && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
}

const REASONS: u8 = 1;
const SEES: u8 = 2;

/// Prices are those of input, output, reading from the cache and writing to it.
const fn row(name: &'static str, prices: [f64; 4], context_window: u64, abilities: u8) -> Entry {
    let [input, output, cache_read, cache_write] = prices;
    Entry { name, prices: Prices { input, output, cache_read, cache_write }, context_window, abilities }
}

/// Sorted by name, in lower case, dots written as dashes.
static TABLE: &[Entry] = &[
    row("claude-fable-5", [10.0, 50.0, 1.0, 12.5], 1_000_000, REASONS | SEES),
    row("claude-fable-5-1", [10.0, 50.0, 0.25, 12.5], 1_000_000, REASONS | SEES),
    row("claude-haiku-4-5", [1.0, 5.0, 0.1, 1.25], 200_000, REASONS | SEES),
    row("claude-haiku-5-5", [0.1, 0.5, 0.01, 0.125], 1_000_000, REASONS | SEES),
    row("claude-mythos-5", [10.0, 50.0, 1.0, 12.5], 1_000_000, REASONS | SEES),
    row("claude-mythos-5-1", [10.0, 50.0, 0.25, 12.5], 1_000_000, REASONS | SEES),
    row("claude-opus-4-5", [5.0, 25.0, 0.5, 6.25], 200_000, REASONS | SEES),
    row("claude-opus-4-6", [5.0, 25.0, 0.5, 6.25], 1_000_000, REASONS | SEES),
    row("claude-opus-4-7", [5.0, 25.0, 0.5, 6.25], 1_000_000, REASONS | SEES),
    row("claude-opus-4-8", [5.0, 25.0, 0.5, 6.25], 1_000_000, REASONS | SEES),
    row("claude-opus-5", [5.0, 25.0, 0.5, 6.25], 1_000_000, REASONS | SEES),
    row("claude-opus-5-5", [4.0, 20.0, 0.2, 5.0], 1_000_000, REASONS | SEES),
    row("claude-sonnet-4-5", [3.0, 15.0, 0.3, 3.75], 200_000, REASONS | SEES),
    row("claude-sonnet-4-6", [3.0, 15.0, 0.3, 3.75], 1_000_000, REASONS | SEES),
    row("claude-sonnet-5", [2.0, 10.0, 0.2, 2.5], 1_000_000, REASONS | SEES),
    row("claude-sonnet-5-5", [2.0, 10.0, 0.1, 2.5], 1_000_000, REASONS | SEES),
    row("codestral", [0.3, 0.9, 0.03, 0.3], 128_000, 0),
    row("deepseek-chat", [0.28, 0.42, 0.028, 0.28], 131_072, 0),
    row("deepseek-reasoner", [0.28, 0.42, 0.028, 0.28], 131_072, REASONS),
    row("deepseek-v4-flash", [0.3, 1.2, 0.006, 0.3], 1_000_000, REASONS | SEES),
    row("deepseek-v4-pro", [1.32, 3.96, 0.044, 1.32], 1_000_000, REASONS),
    row("devstral", [0.4, 2.0, 0.04, 0.4], 256_000, 0),
    row("devstral-medium", [0.4, 2.0, 0.04, 0.4], 256_000, 0),
    row("devstral-small", [0.1, 0.3, 0.01, 0.1], 256_000, 0),
    row("gemini-2-5-flash", [0.3, 2.5, 0.03, 0.3], 1_048_576, REASONS | SEES),
    row("gemini-2-5-flash-lite", [0.1, 0.4, 0.01, 0.1], 1_048_576, REASONS | SEES),
    row("gemini-2-5-pro", [1.25, 10.0, 0.125, 1.25], 1_048_576, REASONS | SEES),
    row("gemini-3-1-flash-lite", [0.25, 1.5, 0.025, 0.25], 1_048_576, REASONS | SEES),
    row("gemini-3-1-pro-preview", [2.0, 12.0, 0.2, 2.0], 1_048_576, REASONS | SEES),
    row("gemini-3-5-flash", [1.5, 9.0, 0.15, 1.5], 1_048_576, REASONS | SEES),
    row("gemini-3-5-flash-lite", [0.3, 2.5, 0.03, 0.3], 1_048_576, REASONS | SEES),
    row("gemini-3-6-flash", [0.75, 3.75, 0.075, 0.75], 1_048_576, REASONS | SEES),
    row("gemini-3-7-flash", [0.75, 3.75, 0.075, 0.75], 1_048_576, REASONS | SEES),
    row("gemini-3-8-flash", [0.75, 3.75, 0.075, 0.75], 1_048_576, REASONS | SEES),
    row("gemini-3-flash-preview", [0.5, 3.0, 0.05, 0.5], 1_048_576, REASONS | SEES),
    row("glm-4-5", [0.6, 2.2, 0.6, 0.6], 128_000, 0),
    row("glm-4-5-air", [0.2, 1.1, 0.2, 0.2], 128_000, 0),
    row("glm-4-6", [0.6, 2.2, 0.11, 0.6], 200_000, REASONS),
    row("glm-4-7", [0.6, 2.2, 0.11, 0.6], 200_000, REASONS),
    row("glm-5", [1.0, 3.2, 0.2, 1.0], 200_000, REASONS),
    row("glm-5-1", [1.4, 4.4, 0.26, 1.4], 200_000, REASONS),
    row("glm-5-2", [1.4, 4.4, 0.26, 1.4], 1_000_000, REASONS),
    row("glm-5-3", [1.4, 4.4, 0.26, 1.4], 1_000_000, REASONS),
    row("glm-5-3-flash", [0.15, 0.5, 0.03, 0.15], 1_048_576, REASONS | SEES),
    row("gpt-3-5-turbo", [0.5, 1.5, 0.5, 0.5], 16_385, 0),
    row("gpt-4", [30.0, 60.0, 30.0, 30.0], 8_192, 0),
    row("gpt-4-1", [2.0, 8.0, 0.5, 2.0], 1_047_576, SEES),
    row("gpt-4-1-mini", [0.4, 1.6, 0.1, 0.4], 1_047_576, SEES),
    row("gpt-4-1-nano", [0.1, 0.4, 0.025, 0.1], 1_047_576, SEES),
    row("gpt-4-turbo", [10.0, 30.0, 10.0, 10.0], 128_000, SEES),
    row("gpt-4o", [2.5, 10.0, 1.25, 2.5], 128_000, SEES),
    row("gpt-4o-mini", [0.15, 0.6, 0.075, 0.15], 128_000, SEES),
    row("gpt-5", [1.25, 10.0, 0.125, 1.25], 272_000, REASONS | SEES),
    row("gpt-5-1", [1.25, 10.0, 0.125, 1.25], 272_000, REASONS | SEES),
    row("gpt-5-1-codex", [1.25, 10.0, 0.125, 1.25], 400_000, REASONS | SEES),
    row("gpt-5-1-codex-max", [1.25, 10.0, 0.125, 1.25], 400_000, REASONS | SEES),
    row("gpt-5-1-codex-mini", [0.25, 2.0, 0.025, 0.25], 400_000, REASONS | SEES),
    row("gpt-5-2", [1.75, 14.0, 0.175, 1.75], 272_000, REASONS | SEES),
    row("gpt-5-2-codex", [1.75, 14.0, 0.175, 1.75], 272_000, REASONS | SEES),
    row("gpt-5-2-pro", [21.0, 168.0, 21.0, 21.0], 272_000, REASONS | SEES),
    row("gpt-5-3-codex", [1.75, 14.0, 0.175, 1.75], 272_000, REASONS | SEES),
    row("gpt-5-4", [2.5, 15.0, 0.25, 2.5], 1_050_000, REASONS | SEES),
    row("gpt-5-4-mini", [0.75, 4.5, 0.075, 0.75], 272_000, REASONS | SEES),
    row("gpt-5-4-nano", [0.2, 1.25, 0.02, 0.2], 272_000, REASONS | SEES),
    row("gpt-5-4-pro", [30.0, 180.0, 30.0, 30.0], 1_050_000, REASONS | SEES),
    row("gpt-5-5", [5.0, 30.0, 0.5, 5.0], 1_050_000, REASONS | SEES),
    row("gpt-5-5-pro", [30.0, 180.0, 30.0, 30.0], 1_050_000, REASONS | SEES),
    row("gpt-5-6", [4.0, 20.0, 0.4, 5.0], 922_000, REASONS | SEES),
    row("gpt-5-6-luna", [0.2, 1.2, 0.02, 0.25], 922_000, REASONS | SEES),
    row("gpt-5-6-sol", [4.0, 20.0, 0.4, 5.0], 922_000, REASONS | SEES),
    row("gpt-5-6-terra", [2.0, 12.0, 0.2, 2.5], 922_000, REASONS | SEES),
    row("gpt-5-codex", [1.25, 10.0, 0.125, 1.25], 272_000, REASONS | SEES),
    row("gpt-5-mini", [0.25, 2.0, 0.025, 0.25], 272_000, REASONS | SEES),
    row("gpt-5-nano", [0.05, 0.4, 0.005, 0.05], 272_000, REASONS | SEES),
    row("gpt-5-pro", [15.0, 120.0, 15.0, 15.0], 400_000, REASONS | SEES),
    row("gpt-6-1-sol", [2.0, 10.0, 0.1, 2.5], 922_000, REASONS | SEES),
    row("gpt-6-astra", [10.0, 50.0, 1.0, 12.5], 922_000, REASONS | SEES),
    row("gpt-6-luna", [0.1, 0.5, 0.01, 0.125], 922_000, REASONS | SEES),
    row("gpt-6-sol", [2.0, 10.0, 0.2, 2.5], 922_000, REASONS | SEES),
    row("grok-4-3", [1.25, 2.5, 0.2, 1.25], 1_000_000, REASONS | SEES),
    row("grok-4-5", [2.0, 6.0, 0.3, 2.0], 500_000, REASONS | SEES),
    row("grok-4-6", [2.0, 6.0, 0.5, 2.0], 500_000, REASONS | SEES),
    row("grok-4-7", [2.0, 6.0, 0.5, 2.0], 500_000, REASONS | SEES),
    row("grok-code-fast-1", [1.0, 2.0, 0.2, 1.0], 256_000, REASONS | SEES),
    row("kimi-k2-5", [0.6, 3.0, 0.1, 0.6], 262_144, REASONS | SEES),
    row("kimi-k2-6", [0.95, 4.0, 0.16, 0.95], 262_144, REASONS | SEES),
    row("kimi-k2-7-code", [0.95, 4.0, 0.19, 0.95], 262_144, REASONS | SEES),
    row("kimi-k3", [3.0, 15.0, 0.3, 3.0], 1_048_576, REASONS | SEES),
    row("magistral-medium", [1.5, 7.5, 0.15, 1.5], 262_144, REASONS | SEES),
    row("minimax-m2", [0.3, 1.2, 0.03, 0.375], 200_000, REASONS),
    row("minimax-m2-1", [0.3, 1.2, 0.03, 0.375], 1_000_000, REASONS),
    row("minimax-m2-5", [0.3, 1.2, 0.03, 0.375], 1_000_000, REASONS),
    row("minimax-m3", [0.3, 1.2, 0.06, 0.3], 1_000_000, REASONS | SEES),
    row("mistral-large", [0.5, 1.5, 0.05, 0.5], 262_144, SEES),
    row("mistral-medium", [1.5, 7.5, 0.15, 1.5], 262_144, REASONS | SEES),
    row("mistral-small", [0.15, 0.6, 0.015, 0.15], 262_144, REASONS | SEES),
    row("o1", [15.0, 60.0, 7.5, 15.0], 200_000, REASONS | SEES),
    row("o3", [2.0, 8.0, 0.5, 2.0], 200_000, REASONS | SEES),
    row("o3-mini", [1.1, 4.4, 0.55, 1.1], 200_000, REASONS),
    row("o3-pro", [20.0, 80.0, 20.0, 20.0], 200_000, REASONS | SEES),
    row("o4-mini", [1.1, 4.4, 0.275, 1.1], 200_000, REASONS | SEES),
    row("qwen-plus", [0.4, 1.2, 0.4, 0.4], 129_024, REASONS),
    row("qwen3-7-max", [2.5, 7.5, 0.5, 3.125], 991_808, REASONS),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(TABLE.windows(2).all(|pair| pair[0].name < pair[1].name));
    }

    #[test]
    fn names_are_found_as_providers_write_them() {
        for (written, name) in [
            ("gpt-4o", "gpt-4o"),
            ("gpt-4.1", "gpt-4-1"),
            ("openai/gpt-5-2025-08-07", "gpt-5"),
            ("gpt-4o-2024-11-20", "gpt-4o"),
            ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
            ("openrouter/anthropic/claude-sonnet-4.5:beta", "claude-sonnet-4-5"),
            ("mistral/mistral-large-latest", "mistral-large"),
            ("minimax/MiniMax-M2.1", "minimax-m2-1"),
            ("moonshotai/kimi-k2.5", "kimi-k2-5"),
        ] {
            assert_eq!(find(written).map(|entry| entry.name), Some(name), "{written}");
        }
        for unknown in ["m-hello", "gpt-4o-something", "", "-", "2025-08-07", "gpt"] {
            assert_eq!(find(unknown), None, "{unknown}");
        }
    }
}
