//! SOCKS5 (RFC 1928) without authentication, for connections alone.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::{
    client::Client,
    dial::Dialer,
    host::{Host, Target},
    tunnel,
};

/// The first byte of everything that a program says.
pub(super) const VERSION: u8 = 5;

const NO_AUTHENTICATION: u8 = 0;
const NO_ACCEPTABLE_METHOD: u8 = 0xff;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

const SUCCEEDED: u8 = 0;
const GENERAL_FAILURE: u8 = 1;
const COMMAND_NOT_SUPPORTED: u8 = 7;
const ADDRESS_TYPE_NOT_SUPPORTED: u8 = 8;

/// Why there is no target.
enum Failure {
    /// The program is told with this reply.
    Reply(u8),
    /// There is nobody to tell, or nothing in the protocol to tell it with.
    Broken(io::Error),
}

impl From<io::Error> for Failure {
    fn from(cause: io::Error) -> Self {
        Self::Broken(cause)
    }
}

/// Serves a program whose first byte is [`VERSION`].
pub(super) async fn converse(dialer: &Dialer, mut client: Client) {
    let reply = match timeout(dialer.limits().header, read_target(&mut client)).await {
        Ok(Ok(target)) => match dialer.dial(&target).await {
            Ok(upstream) => {
                if reply(&mut client, SUCCEEDED).await.is_ok() {
                    tunnel::carry(client, upstream).await;
                }
                return;
            }
            Err(refusal) => refusal.socks_reply(),
        },
        Ok(Err(Failure::Reply(code))) => code,
        Ok(Err(Failure::Broken(cause))) => {
            tracing::debug!(%cause, "a box's program does not speak SOCKS5 as it should");
            return;
        }
        Err(_) => return,
    };
    // A program that is gone needs no reply.
    let _ = self::reply(&mut client, reply).await;
    let _ = client.shutdown().await;
}

async fn read_target(client: &mut Client) -> Result<Target, Failure> {
    agree_on_method(client).await?;
    let [version, command, _reserved, kind] = read(client).await?;
    if version != VERSION {
        return Err(io::Error::other("the request has another version than the greeting").into());
    }
    let host = match kind {
        IPV4 => Ok(Host::from(IpAddr::from(Ipv4Addr::from(read::<4>(client).await?)))),
        IPV6 => Ok(Host::from(IpAddr::from(Ipv6Addr::from(read::<16>(client).await?)))),
        NAME => {
            let mut name = vec![0; usize::from(client.read_u8().await?)];
            client.read_exact(&mut name).await?;
            str::from_utf8(&name).ok().and_then(|name| Host::parse(name).ok()).ok_or(GENERAL_FAILURE)
        }
        _ => return Err(Failure::Reply(ADDRESS_TYPE_NOT_SUPPORTED)),
    };
    let port = client.read_u16().await?;
    match (command, host, port) {
        (CONNECT, Ok(host), 1..) => Ok(Target { host, port }),
        (CONNECT, Err(code), _) => Err(Failure::Reply(code)),
        (CONNECT, Ok(_), 0) => Err(Failure::Reply(GENERAL_FAILURE)),
        _ => Err(Failure::Reply(COMMAND_NOT_SUPPORTED)),
    }
}

async fn agree_on_method(client: &mut Client) -> Result<(), Failure> {
    let [_version, count] = read(client).await?;
    let mut methods = vec![0; usize::from(count)];
    client.read_exact(&mut methods).await?;
    if methods.contains(&NO_AUTHENTICATION) {
        client.write_all(&[VERSION, NO_AUTHENTICATION]).await?;
        return Ok(());
    }
    client.write_all(&[VERSION, NO_ACCEPTABLE_METHOD]).await?;
    Err(io::Error::other("the program wants to authenticate itself, and there is nothing to do so with").into())
}

async fn read<const N: usize>(client: &mut Client) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    client.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// Sends a reply. The address in it, which is the server's own, is nothing for a box to know.
async fn reply(client: &mut Client, code: u8) -> io::Result<()> {
    client.write_all(&[VERSION, code, 0, IPV4, 0, 0, 0, 0, 0, 0]).await?;
    client.flush().await
}
