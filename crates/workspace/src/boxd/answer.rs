//! What each call does.

use std::{collections::HashSet, sync::Arc};

use futures::{StreamExt as _, stream};
use hyper::{Request, body};
use serde::Serialize;
use tokio::{io::AsyncWriteExt as _, sync::OwnedSemaphorePermit};
use tokio_util::io::ReaderStream;

use super::{
    connection::{Connection, MAX_OPEN, Served},
    input::Input,
    process::Entry,
};
use crate::{
    FileWriter, Reader, Workspace as _, Writer,
    wire::{
        Call, Content, Ending, Failure, Found, Incoming, Listed, Listing, MAX_CALL, Message, Os, Output, Piece,
        progress::Progress,
    },
};

/// How much of a file or a connection is sent at once.
const CHUNK: usize = 256 << 10;

/// Does what a request asks for. An error is an answer as well.
pub(super) async fn answer(connection: &Arc<Connection>, request: Request<body::Incoming>) -> Message {
    let (call, content) = match Incoming::read(request.into_body(), MAX_CALL).await {
        Ok(read) => read,
        Err(cause) => return failed(Failure::io("understand a call", &cause)),
    };
    carry_out(connection, call, content).await.unwrap_or_else(failed)
}

fn failed(failure: Failure) -> Message {
    Message::short(&Err::<(), _>(failure))
}

fn done(answer: impl Serialize) -> Message {
    Message::short(&Ok::<_, Failure>(answer))
}

fn followed(answer: impl Serialize, content: Content) -> Message {
    Message::long(&Ok::<_, Failure>(answer), content)
}

async fn carry_out(connection: &Arc<Connection>, call: Call, content: Incoming) -> Result<Message, Failure> {
    let Served { local, clients, egress, room, .. } = &connection.served;
    let attachment = || connection.client.get().ok_or_else(|| Failure::refused("answer", "there was no hello"));
    let process = |id| attachment()?.client.process(id);
    let room = || {
        let full = |_| Failure::refused("open another file or connection", format!("{MAX_OPEN} are open already"));
        room.clone().try_acquire_owned().map_err(full)
    };
    Ok(match call {
        Call::Hello { client, alive } => {
            let alive: HashSet<_> = alive.into_iter().collect();
            connection.client.get_or_init(|| clients.attach(client, &alive, connection.end.clone()));
            done(())
        }
        Call::Ping => done(()),
        Call::Start { id, command, size } => {
            let attachment = attachment()?;
            let local = local.clone();
            let start = |circumstances, room| Entry::start(local, command.into(), size, circumstances, room);
            let started = attachment.place(id, start)?.started().await;
            if started.is_err() {
                attachment.client.end(id);
            }
            let running = started?;
            // Somebody may have ended it meanwhile.
            attachment.client.process(id)?;
            followed((), running.output(Output::Stdout)?.read(0, Progress::new(content))?)
        }
        Call::Output { id, output, offset } => {
            let progress = Progress::new(content);
            followed((), process(id)?.running()?.output(output)?.read(offset, progress)?)
        }
        Call::CloseOutput { id, output } => {
            process(id)?.running()?.output(output)?.close();
            done(())
        }
        Call::Input { id, offset, close } => {
            let (input, over) = process(id)?.running()?.input();
            tokio::select! {
                given = give(&input, offset, content, close) => done(given?),
                () = over.cancelled() => return Err(Failure::UnknownProcess),
            }
        }
        Call::Signal { id, signal, foreground } => {
            let signalled = process(id)?.running()?.signal(signal, foreground);
            done(signalled.await?)
        }
        Call::Resize { id, size } => {
            let resized = process(id)?.running()?.resize(size);
            done(resized.await?)
        }
        Call::Wait { id } => {
            let ended = process(id)?.running()?.ended();
            done(ended.await?)
        }
        Call::End { id } => {
            attachment()?.client.end(id);
            done(())
        }
        Call::Read { path, offset } => {
            let room = room()?;
            let (metadata, reader) = local.read(path.path(), offset).await?;
            followed(Found::from(metadata), holding(room, bytes_of(reader, "read a file")))
        }
        Call::Write { path, parents } => {
            let room = room()?;
            let writer = local.write(path.path(), parents).await?;
            followed((), holding(room, write(writer, content)))
        }
        Call::Metadata { path } => done(Found::from(local.metadata(path.path()).await?)),
        Call::List { path } => {
            let listed = local.list(path.path()).await?;
            done(Listing(listed.into_iter().map(Listed::from).collect()))
        }
        Call::CreateDir { path } => done(local.create_dir(path.path()).await?),
        Call::Remove { path } => done(local.remove(path.path()).await?),
        Call::Rename { from, to } => done(local.rename(from.path(), to.path()).await?),
        Call::Canonicalize { path } => done(Os::from(local.canonicalize(path.path()).await?)),
        Call::Search(search) => done(local.search(search).await?),
        Call::Dial { port } => {
            let room = room()?;
            let (reader, writer) = local.dial(port).await?;
            connected(reader, writer, content, room)
        }
        Call::Accept => {
            let egress = egress.as_ref().ok_or_else(|| Failure::refused("accept", "there is no port for a proxy"))?;
            let (stream, room) = egress.next().await;
            let (reader, writer) = stream.into_split();
            connected(Box::pin(reader), Box::pin(writer), content, room)
        }
    })
}

/// Gives a process what comes for it, as it comes: what arrived before a connection broke need not come again.
async fn give(input: &Input, mut offset: u64, mut content: Incoming, close: bool) -> Result<(), Failure> {
    loop {
        match content.next().await {
            Ok(Some(bytes)) => {
                input.give(offset, &bytes).await?;
                offset += bytes.len() as u64;
            }
            Ok(None) => break,
            Err(Ending::Failed(failure)) => return Err(failure),
            Err(Ending::Cut(cause)) => return Err(Failure::io("write to a process", &cause)),
        }
    }
    if close {
        input.close().await;
    }
    Ok(())
}

/// A connection between what `content` brings and what follows the answer.
fn connected(reader: Reader, writer: Writer, content: Incoming, room: OwnedSemaphorePermit) -> Message {
    // Given back by the direction that ends last.
    let room = Arc::new(room);
    tokio::spawn({
        let room = room.clone();
        async move {
            copy(content, writer).await;
            drop(room);
        }
    });
    followed((), holding(room, bytes_of(reader, "read from a connection")))
}

/// The same bytes, which hold something until their end.
fn holding(held: impl Send + 'static, content: Content) -> Content {
    Box::pin(content.map(move |piece| {
        let _ = &held;
        piece
    }))
}

/// The bytes of `reader`.
fn bytes_of(reader: Reader, what: &'static str) -> Content {
    let pieces = ReaderStream::with_capacity(reader, CHUNK);
    Box::pin(pieces.map(move |piece| piece.map_err(|cause| Ending::Failed(Failure::io(what, &cause)))))
}

/// Writes `content` to a file. There is nothing to tell but the end: either the file is in its place, or it is not.
fn write(writer: Box<dyn FileWriter>, content: Incoming) -> Content {
    let write = async move |mut writer: Box<dyn FileWriter>, mut content: Incoming| -> Result<(), Ending> {
        while let Some(bytes) = content.next().await? {
            writer.write(&bytes).await.map_err(|error| Ending::Failed(error.into()))?;
        }
        writer.finish().await.map_err(|error| Ending::Failed(error.into()))
    };
    Box::pin(stream::once(write(writer, content)).filter_map(async |written| written.err().map(Piece::Err)))
}

/// Gives a connection what comes for it. One that is cut off closes in both directions with the exchange.
async fn copy(mut content: Incoming, mut writer: Writer) {
    loop {
        match content.next().await {
            Ok(Some(bytes)) => {
                if writer.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Ok(None) => {
                let _ = writer.shutdown().await;
                return;
            }
            Err(_) => return,
        }
    }
}
