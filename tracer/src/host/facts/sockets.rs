//! Facts of sockets: which stand on a port, whose they are, and how full their queues.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::{NetNs, Process, Proto};

/// All sockets of a transport with one local port in a namespace; an empty list says there are none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortSockets {
    /// Where.
    pub netns: NetNs,
    /// TCP or UDP.
    pub proto: Proto,
    /// Local port; zero: all that wait for anybody, on whichever port.
    pub port: u16,
    /// Listening and unconnected ones first.
    pub sockets: Vec<OpenSocket>,
}

/// Local ports in use towards one remote end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalPorts {
    /// Where.
    pub netns: NetNs,
    /// TCP or UDP.
    pub proto: Proto,
    /// The remote end.
    pub dst: IpAddr,
    /// Its port.
    pub port: u16,
    /// By local address; an empty list says there are none.
    pub used: Vec<PortUse>,
}

/// Local ports of one address that are in use towards a remote end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortUse {
    /// The local address.
    pub source: IpAddr,
    /// How many.
    pub ports: u32,
    /// How many of them are in TIME_WAIT.
    pub time_wait: u32,
}

/// A socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenSocket {
    /// Address to which it is bound; unspecified: any.
    pub local: IpAddr,
    /// Its port, where sockets of several ports were read; else zero.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub port: u16,
    /// The other end, where it is connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<(IpAddr, u16)>,
    /// Interface to which it is bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<u32>,
    /// TCP state number (10 listens, 7 is an unconnected UDP socket).
    pub state: u8,
    /// A listener's connections that wait for accept(); else bytes that wait to be read.
    pub waiting: u32,
    /// How many connections may wait at a listener; else bytes that wait to be sent.
    pub limit: u32,
    /// Takes IPv6 alone.
    #[serde(default)]
    pub only_v6: bool,
    /// Processes that hold it.
    #[serde(default)]
    pub holders: Vec<Process>,
    /// Those of them that a signal has stopped (SIGSTOP, a debugger), by process id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stopped: Vec<u32>,
    /// What TCP knows of a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<Connection>,
}

fn is_zero(port: &u16) -> bool {
    *port == 0
}

/// What TCP knows of a connection (struct tcp_info of linux/tcp.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Bytes of data that it puts into a segment (`tcpi_snd_mss`).
    pub mss: u32,
    /// MTU of the path as far as it knows (`tcpi_pmtu`).
    pub path_mtu: u32,
    /// Segments that wait for an acknowledgement (`tcpi_unacked`).
    pub unacked: u32,
    /// Segments that it sent again since it was opened (`tcpi_total_retrans`).
    pub resent: u32,
}

impl OpenSocket {
    /// Whether it waits for anybody.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.peer.is_none()
    }

    /// Whether it is a listener of TCP (TCP_LISTEN).
    #[must_use]
    pub fn listens(&self) -> bool {
        self.state == 10
    }

    /// A listener that takes no further connection (sk_acceptq_is_full of include/net/sock.h).
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.listens() && self.waiting > self.limit
    }
}
