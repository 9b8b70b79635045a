//! Netlink requests and answers as bytes: one small layer below every reader of `host`.
//!
//! Messages are walked attribute by attribute and only what is wanted is taken out: an attribute that a newer
//! kernel adds or lays out in another way must never hide an interface. What the values mean is not here.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_ECHO, NLM_F_EXCL,
    NLM_F_REQUEST,
};
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt};

/// One receive takes as much as the kernel puts into one dump buffer (NLMSG_GOODSIZE is at most 32 KiB).
const RECEIVE_BYTES: usize = 64 * 1024;
/// The kernel's queue for notifications: a burst of a few hundred new interfaces fits.
const NOTIFICATION_BYTES: usize = 2 * 1024 * 1024;
/// How often a dump is begun again when the listed objects changed meanwhile.
const DUMP_ATTEMPTS: u32 = 4;

const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
// linux/netfilter/nfnetlink.h
pub(crate) const NFNL_SUBSYS_IPSET: u16 = 6;
pub(crate) const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 16;
const NFNL_MSG_BATCH_END: u16 = 17;

/// A message from the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    flags: u16,
    sequence: u32,
    /// Its type (RTM_*; for nfnetlink the subsystem in the upper byte).
    pub(crate) kind: u16,
    /// What follows the netlink header: the family's own header, then attributes.
    pub(crate) payload: &'a [u8],
}

/// A request under construction.
#[derive(Clone, Debug)]
pub(crate) struct Request(Vec<u8>);

impl Request {
    /// Asks for one object. `header` is the family's own header (`struct rtmsg` …).
    pub(crate) fn one(kind: u16, header: &[u8]) -> Self {
        // The acknowledgement marks the end also where the answer is no dump.
        Self::new(kind, NLM_F_REQUEST | NLM_F_ACK, header)
    }

    /// Asks for all objects of a kind.
    pub(crate) fn all(kind: u16, header: &[u8]) -> Self {
        Self::new(kind, NLM_F_REQUEST | NLM_F_DUMP, header)
    }

    /// Makes an object that must not exist yet; the answer tells what was made.
    pub(crate) fn create(kind: u16, header: &[u8]) -> Self {
        let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_ECHO | NLM_F_CREATE | NLM_F_EXCL;
        Self::new(kind, flags, header)
    }

    /// Adds an object behind others.
    pub(crate) fn append(kind: u16, header: &[u8]) -> Self {
        let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_APPEND;
        Self::new(kind, flags, header)
    }

    fn new(kind: u16, flags: u16, header: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend([0; 4]); // length, see `finish`
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]); // sequence number, port
        bytes.extend(header);
        pad(&mut bytes);
        Self(bytes)
    }

    /// Adds an attribute.
    pub(crate) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        pad(&mut self.0);
        self
    }

    /// Adds an attribute that holds attributes.
    pub(crate) fn nested(self, kind: u16, attributes: &[(u16, Vec<u8>)]) -> Self {
        let inner = Self::attributes_only(attributes);
        self.attribute(kind, &inner)
    }

    /// Attributes one after the other, to be put into another one.
    pub(crate) fn attributes_only(attributes: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let none = Self(Vec::new());
        let all = attributes
            .iter()
            .fold(none, |nest, (kind, value)| nest.attribute(*kind, value));
        all.0
    }

    /// What follows the netlink header.
    #[cfg(test)]
    pub(crate) fn payload(&self) -> &[u8] {
        self.0.get(16..).unwrap_or_default()
    }

    /// The message as it would be sent first.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.finish(1)
    }

    fn finish(&self, sequence: u32) -> Vec<u8> {
        let mut bytes = self.0.clone();
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        if let Some(field) = bytes.get_mut(0..4) {
            field.copy_from_slice(&length.to_ne_bytes());
        }
        if let Some(field) = bytes.get_mut(8..12) {
            field.copy_from_slice(&sequence.to_ne_bytes());
        }
        bytes
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// A netlink socket. It stays in the namespace in which it was opened, and keeps that namespace alive.
pub(crate) struct Netlink {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
}

impl Netlink {
    /// A socket for requests, in the calling thread's namespace.
    pub(crate) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        // Makes the kernel heed the filters of dumps (4.20); without it more comes than was asked for.
        let _ = socket.set_netlink_get_strict_chk(true);
        Ok(Self {
            socket,
            buffer: Vec::with_capacity(RECEIVE_BYTES),
            sequence: 0,
        })
    }

    /// A socket that never waits and is told of changes, in the calling thread's namespace.
    pub(crate) fn subscribe(protocol: isize, groups: &[u32]) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.set_non_blocking(true)?;
        // More than the default 208 KiB wants CAP_NET_ADMIN, which the readers have; without it the default stays.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &NOTIFICATION_BYTES);
        for group in groups {
            socket.add_membership(*group)?;
        }
        Ok(Self {
            socket,
            // Notifications are single messages; hundreds of these sockets are open at once.
            buffer: Vec::new(),
            sequence: 0,
        })
    }

    /// Sends a request and gives what `take` makes of the answers. An errno of the kernel is an error.
    pub(crate) fn ask<T>(
        &mut self,
        request: &Request,
        take: impl Fn(Message<'_>) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        let mut attempt = 1;
        loop {
            let mut taken = Vec::new();
            let consistent = self.exchange(request, &take, &mut taken)?;
            // A list that keeps changing is better than none: notifications tell the rest.
            if consistent || attempt == DUMP_ATTEMPTS {
                return Ok(taken);
            }
            attempt += 1;
        }
    }

    /// Makes all changes of a list, or none (nf_tables). The first error of the kernel is given.
    pub(crate) fn commit(&mut self, changes: &[Request]) -> io::Result<()> {
        // struct nfgenmsg: AF_UNSPEC, version, the subsystem in network order
        let [high, low] = NFNL_SUBSYS_NFTABLES.to_be_bytes();
        let frame = |kind| Request::new(kind, NLM_F_REQUEST, &[0, 0, high, low]);
        let (begin, end) = (frame(NFNL_MSG_BATCH_BEGIN), frame(NFNL_MSG_BATCH_END));
        let first = self.sequence.wrapping_add(1);
        let all = [&begin].into_iter().chain(changes).chain([&end]);
        let mut bytes = Vec::new();
        for (request, sequence) in all.zip(first..) {
            bytes.extend(request.finish(sequence));
            self.sequence = sequence;
        }
        self.socket.send(&bytes, 0)?;
        let mut answered = 0;
        let mut failed = Ok(());
        while answered < changes.len() {
            self.receive()?;
            for message in messages(&self.buffer) {
                if message.kind != NLMSG_ERROR || message.sequence < first {
                    continue;
                }
                let result = end_of(message.payload);
                // The list itself is refused: nothing else is answered.
                if message.sequence == first && result.is_err() {
                    return result;
                }
                answered += 1;
                failed = failed.and(result);
            }
        }
        failed
    }

    /// One request and its answers; whether the list was consistent.
    fn exchange<T>(
        &mut self,
        request: &Request,
        take: &impl Fn(Message<'_>) -> Option<T>,
        taken: &mut Vec<T>,
    ) -> io::Result<bool> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(&request.finish(self.sequence), 0)?;
        let mut consistent = true;
        loop {
            self.receive()?;
            for message in messages(&self.buffer) {
                if message.sequence != self.sequence {
                    continue;
                }
                consistent &= message.flags & NLM_F_DUMP_INTR == 0;
                match message.kind {
                    NLMSG_NOOP => {}
                    NLMSG_DONE | NLMSG_ERROR => {
                        return end_of(message.payload).map(|()| consistent);
                    }
                    _ => taken.extend(take(message)),
                }
            }
        }
    }

    /// Gives every notification that waits to `each`, by way of a buffer that many sockets share. `ENOBUFS` is an
    /// error here: some were lost.
    pub(crate) fn drain(
        &mut self,
        buffer: &mut Vec<u8>,
        mut each: impl FnMut(Message<'_>),
    ) -> io::Result<()> {
        std::mem::swap(&mut self.buffer, buffer);
        let result = self.drain_own(&mut each);
        std::mem::swap(&mut self.buffer, buffer);
        result
    }

    fn drain_own(&mut self, each: &mut impl FnMut(Message<'_>)) -> io::Result<()> {
        loop {
            match self.receive() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            for message in messages(&self.buffer) {
                each(message);
            }
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        loop {
            self.buffer.clear();
            self.buffer.reserve(RECEIVE_BYTES);
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What NLMSG_ERROR and NLMSG_DONE begin with: zero or a negative errno.
fn end_of(payload: &[u8]) -> io::Result<()> {
    match i32_of(payload) {
        Some(code) if code < 0 => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        _ => Ok(()),
    }
}

/// The messages of one datagram; what is malformed ends the walk.
pub(crate) fn messages(bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (header, _) = rest.split_first_chunk::<16>()?;
        let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = *header;
        let length = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).ok()?;
        let payload = rest.get(16..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message {
            flags: u16::from_ne_bytes([f0, f1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
            kind: u16::from_ne_bytes([k0, k1]),
            payload,
        })
    })
}

/// The attributes after a family's header, or inside a nest: type and value. What is malformed ends the walk.
pub(crate) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    /// NLA_F_NESTED and NLA_F_NET_BYTEORDER are no part of the type.
    const TYPE_MASK: u16 = 0x3fff;
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let ([l0, l1, k0, k1], _) = rest.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([*l0, *l1]));
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([*k0, *k1]) & TYPE_MASK, value))
    })
}

/// Integer in host order at the head of a value.
pub(crate) fn u16_of(value: &[u8]) -> Option<u16> {
    value.first_chunk().map(|b| u16::from_ne_bytes(*b))
}

/// Integer in host order at the head of a value.
pub(crate) fn u32_of(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|b| u32::from_ne_bytes(*b))
}

/// Integer in host order at the head of a value.
pub(crate) fn i32_of(value: &[u8]) -> Option<i32> {
    value.first_chunk().map(|b| i32::from_ne_bytes(*b))
}

/// Integer in network order at the head of a value.
pub(crate) fn be32_of(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|b| u32::from_be_bytes(*b))
}

/// A zero-terminated string, cleaned of what could disturb a terminal.
pub(crate) fn text_of(value: &[u8]) -> String {
    let text = value.split(|b| *b == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text)
        .chars()
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

/// An address by its length: 4 or 16 bytes.
pub(crate) fn address_of(value: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(value) {
        return Some(IpAddr::from(v4));
    }
    <[u8; 16]>::try_from(value).ok().map(IpAddr::from)
}

/// An address as an attribute's value.
pub(crate) fn address_bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// `AF_INET` or `AF_INET6` as the first byte of a family's header.
pub(crate) fn family_of(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => AF_INET,
        IpAddr::V6(_) => AF_INET6,
    }
}

const AF_INET: u8 = libc::AF_INET as u8;
const AF_INET6: u8 = libc::AF_INET6 as u8;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed setup fails the test")]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_laid_out_as_the_kernel_wants_it() {
        let request = Request::one(26, &[2, 32, 0])
            .attribute(1, &[10, 0, 0, 1])
            .attribute(27, &[6]);
        let bytes = request.finish(7);
        let message = messages(&bytes).next().unwrap();
        assert_eq!(bytes.len(), 16 + 4 + 8 + 8);
        assert_eq!((message.kind, message.flags, message.sequence), (26, 5, 7));
        assert_eq!(message.payload.first_chunk::<4>(), Some(&[2, 32, 0, 0]));
        let attributes: Vec<_> = attributes(message.payload.get(4..).unwrap()).collect();
        assert_eq!(attributes, [(1, &[10, 0, 0, 1][..]), (27, &[6][..])]);
    }

    #[test]
    fn malformed_bytes_end_the_walk() {
        let whole = Request::one(16, &[0; 4]).attribute(3, b"eth0\0").finish(1);
        for end in 0..whole.len() {
            assert_eq!(messages(whole.get(..end).unwrap()).count(), 0, "{end}");
        }
        let lies: [&[u8]; 4] = [
            &[0, 0, 1, 0],
            &[3, 0, 1, 0],
            &[9, 0, 1, 0, 1, 2],
            &[255, 255, 1, 0],
        ];
        for bytes in lies {
            assert_eq!(attributes(bytes).count(), 0, "{bytes:?}");
        }
        assert_eq!(
            messages(&[0; 64]).count(),
            0,
            "a length of zero must not loop"
        );
    }

    #[test]
    fn the_end_of_an_answer_carries_an_errno() {
        assert!(end_of(&[]).is_ok());
        assert!(end_of(&0i32.to_ne_bytes()).is_ok());
        let error = end_of(&(-101i32).to_ne_bytes()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(101));
    }

    #[test]
    fn names_cannot_disturb_a_terminal() {
        assert_eq!(text_of(b"eth0\0junk"), "eth0");
        assert_eq!(text_of(b"a\x1b[31mb"), "a\u{fffd}[31mb");
    }
}
