//! Conversations played without a server: what goes in, what comes out.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod calls;
mod play;
mod runs;
mod safety;
