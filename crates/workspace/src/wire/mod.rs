//! What a server and the `boxd` in a box say to each other.
//!
//! Each exchange is one HTTP/2 stream: a request that begins with a [`Call`] and an answer that begins with a result, both
//! as JSON behind its length, and then raw bytes in one direction, in both or in none. Where there are bytes, a trailer
//! says how they ended; bytes without one were cut off.

mod failure;
mod list;
mod message;
mod os;
pub(crate) mod path;
pub(crate) mod progress;
pub(crate) mod time;

use std::time::SystemTime;

pub(crate) use failure::Failure;
pub(crate) use list::at_most;
pub(crate) use message::{Content, Ending, Incoming, Message, Piece};
pub(crate) use os::Os;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Command, Entry, FileKind, MAX_ENTRIES, Metadata, Parents, Search, Signal, TerminalSize};

/// How much of one stream may be under way to an end that does not read it.
pub(crate) const STREAM_WINDOW: u32 = 1 << 20;

/// How much of all streams may be: so much that streams which nobody reads do not hold up others. The library bounds by it
/// what small parts cost, too.
pub(crate) const CONNECTION_WINDOW: u32 = 128 << 20;

/// The longest part of a stream that is sent as one.
pub(crate) const FRAME: u32 = 256 << 10;

/// The largest head of a request: a command's arguments and variables are the longest, and the system takes no more than
/// 2 MiB of them.
pub(crate) const MAX_CALL: usize = 4 << 20;

/// What a server asks for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Call {
    /// The first call of a connection: who speaks, and which of its processes it still wants.
    Hello { client: Uuid, alive: Vec<Uuid> },
    /// Nothing but an answer.
    Ping,
    /// Starts a process, unless one with this id was started. Its standard output follows as after [`Call::Output`], from
    /// the beginning.
    Start { id: Uuid, command: Program, size: Option<TerminalSize> },
    /// A process's output from `offset` follows, and is followed by how far it was read: see [`progress`].
    Output { id: Uuid, output: Output, offset: u64 },
    /// No more of an output is wanted.
    CloseOutput { id: Uuid, output: Output },
    /// Input for a process follows. What is before the point that earlier calls reached is skipped.
    Input { id: Uuid, offset: u64, close: bool },
    /// A signal to a process's group, or to the group in the foreground of its terminal.
    Signal { id: Uuid, signal: Signal, foreground: bool },
    /// Another size for a terminal.
    Resize { id: Uuid, size: TerminalSize },
    /// How a process ended, as soon as it has.
    Wait { id: Uuid },
    /// Ends a process with all that goes with it, and forgets it.
    End { id: Uuid },
    /// A file's content from `offset`.
    Read { path: Os, offset: u64 },
    /// A file's content follows and takes its place when it is complete.
    Write { path: Os, parents: Parents },
    /// See [`crate::Workspace::metadata`].
    Metadata { path: Os },
    /// See [`crate::Workspace::list`].
    List { path: Os },
    /// See [`crate::Workspace::create_dir`].
    CreateDir { path: Os },
    /// See [`crate::Workspace::remove`].
    Remove { path: Os },
    /// See [`crate::Workspace::rename`].
    Rename { from: Os, to: Os },
    /// See [`crate::Workspace::canonicalize`].
    Canonicalize { path: Os },
    /// See [`crate::Workspace::search`].
    Search(Search),
    /// A connection to a port; bytes in both directions follow.
    Dial { port: u16 },
    /// A connection that a program made to the proxy's port, as soon as there is one; bytes in both directions follow.
    Accept,
}

/// One of a process's outputs. A terminal has only the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Output {
    Stdout,
    Stderr,
}

/// A [`Command`].
#[derive(Serialize, Deserialize)]
pub(crate) struct Program {
    name: Os,
    args: Vec<Os>,
    cwd: Option<Os>,
    env: Vec<(Os, Os)>,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The rest may hold secrets.
        f.debug_struct("Program").field("name", &self.name).finish_non_exhaustive()
    }
}

impl From<Command> for Program {
    fn from(Command { program, args, cwd, env }: Command) -> Self {
        Self {
            name: program.into(),
            args: args.into_iter().map(Os::from).collect(),
            cwd: cwd.map(Os::from),
            env: env.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
        }
    }
}

impl From<Program> for Command {
    fn from(Program { name, args, cwd, env }: Program) -> Self {
        Self {
            program: name.into(),
            args: args.into_iter().map(Into::into).collect(),
            cwd: cwd.map(Into::into),
            env: env.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
        }
    }
}

/// What is at a path: [`Metadata`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Found {
    kind: FileKind,
    len: u64,
    #[serde(with = "time")]
    modified: Option<SystemTime>,
}

impl From<Metadata> for Found {
    fn from(Metadata { kind, len, modified }: Metadata) -> Self {
        Self { kind, len, modified }
    }
}

impl From<Found> for Metadata {
    fn from(Found { kind, len, modified }: Found) -> Self {
        Self { kind, len, modified }
    }
}

/// What is in a folder.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Listing(#[serde(deserialize_with = "at_most::<_, _, { MAX_ENTRIES }>")] pub(crate) Vec<Listed>);

/// Something in a folder: [`Entry`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Listed(Os, FileKind);

impl From<Entry> for Listed {
    fn from(Entry { name, kind }: Entry) -> Self {
        Self(name.into(), kind)
    }
}

impl From<Listed> for Entry {
    fn from(Listed(name, kind): Listed) -> Self {
        Self { name: name.into(), kind }
    }
}
