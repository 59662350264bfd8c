//! Where a `boxd` is reached.

use std::{
    ffi::OsStr,
    fmt, io,
    os::{
        fd::{FromRawFd as _, OwnedFd, RawFd},
        linux::net::SocketAddrExt as _,
        unix::{ffi::OsStrExt as _, fs::FileTypeExt as _, fs::PermissionsExt as _, net},
    },
    path::PathBuf,
};

use tokio::net::UnixListener;

/// The address of a unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A file.
    Path(PathBuf),
    /// A name in the network namespace, without a file.
    Abstract(Vec<u8>),
}

impl Address {
    /// Reads `/a/path` or `@name`.
    pub fn parse(text: &OsStr) -> Self {
        match text.as_bytes().strip_prefix(b"@") {
            Some(name) => Self::Abstract(name.to_owned()),
            None => Self::Path(text.into()),
        }
    }

    pub(super) fn socket_address(&self) -> io::Result<net::SocketAddr> {
        match self {
            Self::Path(path) => net::SocketAddr::from_pathname(path),
            Self::Abstract(name) => net::SocketAddr::from_abstract_name(name),
        }
    }

    fn bind(&self) -> io::Result<net::UnixListener> {
        let address = self.socket_address()?;
        match net::UnixListener::bind_addr(&address) {
            // A socket that nobody listens on is left from an earlier start.
            Err(cause) if cause.kind() == io::ErrorKind::AddrInUse => match self {
                Self::Path(path)
                    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
                        && net::UnixStream::connect_addr(&address).is_err() =>
                {
                    std::fs::remove_file(path)?;
                    net::UnixListener::bind_addr(&address)
                }
                _ => Err(cause),
            },
            bound => bound,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Abstract(name) => write!(f, "@{}", String::from_utf8_lossy(name)),
        }
    }
}

/// What a `boxd` listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A socket that it inherited: the number of a descriptor, which is its own from now on.
    Inherited(RawFd),
    /// A socket that it makes.
    At(Address),
}

impl Listen {
    /// The socket. Must be called in the runtime's context.
    pub(super) fn listener(&self) -> io::Result<UnixListener> {
        let named = |cause: io::Error, name: String| io::Error::new(cause.kind(), format!("{name}: {cause}"));
        let listener = match self {
            Self::Inherited(number) => {
                inherited(*number).map_err(|cause| named(cause, format!("descriptor {number}")))?
            }
            Self::At(address) => {
                let listener = address.bind().map_err(|cause| named(cause, address.to_string()))?;
                if let Address::Path(path) = address {
                    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
                }
                listener
            }
        };
        listener.set_nonblocking(true)?;
        UnixListener::from_std(listener)
    }

    /// Whether no file's mode keeps other users away.
    pub(super) fn is_open_to_all(&self) -> bool {
        matches!(self, Self::At(Address::Abstract(_)))
    }

    /// Removes what [`Self::listener`] made.
    pub(super) fn remove(&self) {
        if let Self::At(Address::Path(path)) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[expect(unsafe_code, reason = "an inherited descriptor is known by its number only")]
fn inherited(number: RawFd) -> io::Result<net::UnixListener> {
    if number < 3 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the first three descriptors are taken"));
    }
    // SAFETY: the call takes two numbers, and asks only whether the first is open.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and the caller says that it was handed over to this process for this purpose; nothing else here
    // knows its number.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    if rustix::net::sockopt::socket_acceptconn(&descriptor)? {
        Ok(descriptor.into())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "no socket that listens"))
    }
}
