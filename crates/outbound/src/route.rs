//! What the kernel does with packets to an address.
//!
//! Services of this machine listen on its addresses, and often on all of them, so users and boxes must not reach one even
//! if it is public. The question goes to the kernel's routes and not to a list of interfaces: they also know addresses that are
//! local without being on an interface, addresses added a moment ago, and the broadcast addresses of every network.

use std::{io, net::IpAddr};

use rustix::{
    io::Errno,
    net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType},
};

// From `linux/netlink.h`, in the size that they have in a message.
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;

/// The protocol that a netlink socket has by default.
const NETLINK_ROUTE: Option<Protocol> = None;

/// The bytes of a `nlmsghdr`, a `rtmsg` and a `rtattr`.
const HEADER: usize = 16;
const ROUTE: usize = 12;
const ATTRIBUTE: usize = 4;

/// Where in a `rtmsg` its `rtm_type` is.
const ROUTE_TYPE: usize = 7;

/// Whether packets to `address` leave this machine for one other host. They do not if the address is this machine's own,
/// or one of many hosts. For an address without a route it is true: connecting to it fails by itself.
///
/// # Errors
/// The kernel cannot be asked.
pub(crate) fn leaves(address: IpAddr) -> io::Result<bool> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, NETLINK_ROUTE)?;
    rustix::net::send(&socket, &question(address), SendFlags::empty())?;
    // The kernel has answered when the question is sent.
    let mut answer = [0; 4096];
    let (length, _) = rustix::net::recv(&socket, &mut answer, RecvFlags::empty())?;
    let answer = &answer[..length];
    match answer.get(4..6).map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]])) {
        Some(libc::RTM_NEWROUTE) => Ok(answer.get(HEADER + ROUTE_TYPE) == Some(&libc::RTN_UNICAST)),
        Some(NLMSG_ERROR) => no_route(answer).map(|()| true),
        _ => Err(io::Error::other("the kernel's answer about a route is not one")),
    }
}

/// Tells the errors of an address without a route from those of the question.
fn no_route(answer: &[u8]) -> io::Result<()> {
    let code = answer.get(HEADER..HEADER + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, i32::from_ne_bytes);
    match Errno::from_raw_os_error(-code) {
        Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::ACCESS => Ok(()),
        other => Err(other.into()),
    }
}

fn question(address: IpAddr) -> Vec<u8> {
    let (family, address) = match address {
        IpAddr::V4(address) => (AddressFamily::INET, address.octets().to_vec()),
        IpAddr::V6(address) => (AddressFamily::INET6, address.octets().to_vec()),
    };
    let [family, _] = family.as_raw().to_le_bytes();
    let prefix = u8::try_from(address.len() * 8).unwrap_or(u8::MAX);
    let length = |bytes: usize| u16::try_from(bytes).unwrap_or(u16::MAX);

    let mut message = Vec::with_capacity(HEADER + ROUTE + ATTRIBUTE + address.len());
    message.extend(u32::from(length(HEADER + ROUTE + ATTRIBUTE + address.len())).to_ne_bytes());
    message.extend(libc::RTM_GETROUTE.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    // Sequence number and sender: there is one question and one answer.
    message.extend([0; 8]);
    message.extend([family, prefix]);
    message.extend([0; ROUTE - 2]);
    message.extend(length(ATTRIBUTE + address.len()).to_ne_bytes());
    message.extend(libc::RTA_DST.to_ne_bytes());
    message.extend(address);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_every_address() {
        for own in ["127.0.0.1", "127.9.9.9", "0.0.0.0", "::1"] {
            assert!(!leaves(own.parse().unwrap()).unwrap(), "{own}");
        }
    }
}
