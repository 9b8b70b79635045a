//! Facts of one node among those of others: namespaces get numbers of their own.

use super::{Fact, Link};
use crate::model::{Device, NetNs};

impl Fact {
    /// The same fact with other numbers for its namespaces.
    #[must_use]
    pub fn renumbered(mut self, mut number: impl FnMut(NetNs) -> NetNs) -> Self {
        let mut device = |device: &mut Device| device.netns = number(device.netns);
        match &mut self {
            Self::Link(Link {
                device: own, peer, ..
            }) => {
                device(own);
                peer.iter_mut().for_each(device);
            }
            Self::LinkGone(at) | Self::Addresses(at, _) | Self::Standing(at, _) => device(at),
            Self::Neighbor(entry) => device(&mut entry.device),
            Self::Forwarding(answer) => device(&mut answer.device),
            Self::Namespace(namespace) => namespace.netns = number(namespace.netns),
            Self::Route(answer) => answer.netns = number(answer.netns),
            Self::Sockets(found) => found.netns = number(found.netns),
            Self::Conntrack(answer) => answer.netns = number(answer.netns),
            Self::NamespaceGone(netns)
            | Self::Sysctl { netns, .. }
            | Self::Rules(netns, ..)
            | Self::XfrmPolicies(netns, _)
            | Self::RoutesTowards(netns, ..)
            | Self::Chains(netns, _)
            | Self::ConntrackCounters(netns, _) => *netns = number(*netns),
            Self::Run(_)
            | Self::Node(_)
            | Self::DropReasons(_)
            | Self::ResetReasons(_)
            | Self::Symbols(_)
            | Self::Probe(_)
            | Self::Coverage { .. }
            | Self::Cgroups(_)
            | Self::Cgroup(..)
            | Self::Unread { .. } => {}
        }
        self
    }

    /// The namespace that it is about; `None` for what is of the whole machine.
    #[must_use]
    pub fn netns(&self) -> Option<NetNs> {
        match self {
            Self::Link(Link { device, .. })
            | Self::LinkGone(device)
            | Self::Addresses(device, _)
            | Self::Standing(device, _) => Some(device.netns),
            Self::Neighbor(entry) => Some(entry.device.netns),
            Self::Forwarding(answer) => Some(answer.device.netns),
            Self::Namespace(namespace) => Some(namespace.netns),
            Self::Route(answer) => Some(answer.netns),
            Self::Sockets(found) => Some(found.netns),
            Self::Conntrack(answer) => Some(answer.netns),
            Self::NamespaceGone(netns)
            | Self::Sysctl { netns, .. }
            | Self::Rules(netns, ..)
            | Self::XfrmPolicies(netns, _)
            | Self::RoutesTowards(netns, ..)
            | Self::Chains(netns, _)
            | Self::ConntrackCounters(netns, _) => Some(*netns),
            Self::Run(_)
            | Self::Node(_)
            | Self::DropReasons(_)
            | Self::ResetReasons(_)
            | Self::Symbols(_)
            | Self::Probe(_)
            | Self::Coverage { .. }
            | Self::Cgroups(_)
            | Self::Cgroup(..)
            | Self::Unread { .. } => None,
        }
    }
}
