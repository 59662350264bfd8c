//! Conversations played without a server: what goes in, what comes out.

mod calls;
mod play;
mod runs;
mod safety;
