//! How the program tells that it could not do its work.

use std::{fmt, io::Write as _, process::ExitCode};

/// The exit code for a command line that makes no sense, as clap has it.
const USAGE: u8 = 2;

/// The command line, or what it names, makes no sense.
#[derive(Debug)]
struct Usage(String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// An error in how the program was called: what is wrong and what to do.
pub(crate) fn usage(text: impl Into<String>) -> anyhow::Error {
    Usage(text.into()).into()
}

/// Says why the program could not do its work: what failed, then each cause.
pub(crate) fn complain(error: &anyhow::Error) -> ExitCode {
    let mut text = format!("longshore: {error}");
    for cause in error.chain().skip(1) {
        text.push_str(&format!("\n  because: {cause}"));
    }
    let _ = writeln!(std::io::stderr(), "{text}");
    if error.is::<Usage>() { USAGE.into() } else { ExitCode::FAILURE }
}
