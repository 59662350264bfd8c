//! What stands between a server and a `boxd` whose socket only processes of the box can reach: a program that passes bytes.

use std::{
    fs::File,
    io::{self, Read, Write},
    net::Shutdown,
    os::{fd::AsFd as _, unix::net::UnixStream},
    thread,
    time::{Duration, Instant},
};

use super::Address;

/// How long to wait between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(5);
/// How many bytes are passed at once.
const CHUNK: usize = 256 << 10;

/// Connects to the `boxd` at `address`, which may be only just starting and has `patience` to appear, and passes standard
/// input to it and what comes from it to standard output, until it closes the connection. The end of standard input is
/// passed on, and what still comes from it too.
///
/// # Errors
/// What the system says; the message names the address if there is nobody.
pub fn relay(address: &Address, patience: Duration) -> io::Result<()> {
    let stream = connect(address, patience)?;
    let (mut to, mut from) = (stream.try_clone()?, stream);
    // Not the buffered ones of the library: what has come must go on at once.
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    // Ends with the process: it may wait for input when everything is over.
    thread::Builder::new().name("relay".into()).spawn(move || {
        let _ = pass(&mut input, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    })?;
    pass(&mut from, &mut output)
}

/// Passes bytes until there are no more.
///
/// Not [`io::copy`], which lets the system move them: it holds the lock of the pipe while it waits for the socket, so nobody
/// could read what came before.
fn pass(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(&buffer[..count])?,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
}

fn connect(address: &Address, patience: Duration) -> io::Result<UnixStream> {
    let deadline = Instant::now() + patience;
    let socket = address.socket_address()?;
    loop {
        match UnixStream::connect_addr(&socket) {
            Ok(stream) => return Ok(stream),
            Err(_) if Instant::now() < deadline => thread::sleep(PAUSE),
            Err(cause) => return Err(io::Error::new(cause.kind(), format!("nobody answers at {address}: {cause}"))),
        }
    }
}
