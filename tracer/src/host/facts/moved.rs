//! Facts of one node among those of others: namespaces get numbers of their own.

use super::{Fact, Link};
use crate::model::NetNs;

impl Fact {
    /// The namespace that it is about; `None` for what is of the whole machine.
    pub fn netns_mut(&mut self) -> Option<&mut NetNs> {
        match self {
            Self::Link(Link { device, .. })
            | Self::LinkGone(device)
            | Self::Addresses(device, _)
            | Self::WireGuard(device, _)
            | Self::DeviceState(device, _) => Some(&mut device.netns),
            Self::Neighbor(entry) => Some(&mut entry.device.netns),
            Self::Forwarding(answer) => Some(&mut answer.device.netns),
            Self::PortVlans(found) => Some(&mut found.bridge.netns),
            Self::MulticastPorts(found) => Some(&mut found.bridge.netns),
            Self::ProxyNeighbors(found) => Some(&mut found.netns),
            Self::Namespace(namespace) => Some(&mut namespace.netns),
            Self::Route(answer) => Some(&mut answer.netns),
            Self::Sockets(found) => Some(&mut found.netns),
            Self::LocalPorts(found) => Some(&mut found.netns),
            Self::RuleTrace(trace) => Some(&mut trace.netns),
            Self::Routing(change) => Some(&mut change.netns),
            Self::Ovs(answer) => Some(&mut answer.device.netns),
            Self::Ipvs(answer) => Some(&mut answer.netns),
            Self::Conntrack(answer) => Some(&mut answer.netns),
            Self::ProcessOwner(owner) => Some(&mut owner.netns),
            Self::NamespaceGone(netns)
            | Self::Sysctl { netns, .. }
            | Self::Rules(netns, ..)
            | Self::XfrmPolicies(netns, _)
            | Self::RoutesTowards(netns, ..)
            | Self::Chains(netns, _)
            | Self::Ruleset(netns, _)
            | Self::ConntrackCounters(netns, _)
            | Self::Advertisements(netns, _)
            | Self::PacketQueues(netns, _) => Some(netns),
            Self::Run(_)
            | Self::Node(_)
            | Self::DropReasons(_)
            | Self::ResetReasons(_)
            | Self::Symbols(_)
            | Self::Probe(_)
            | Self::Coverage { .. }
            | Self::Cost(_)
            | Self::Cgroups(_)
            | Self::Cgroup(..)
            | Self::Owners(_)
            | Self::Unread { .. } => None,
        }
    }

    /// Gives its namespaces other numbers: the one that it is about, and that of a link's other end.
    pub fn renumber(&mut self, mut number: impl FnMut(NetNs) -> NetNs) {
        if let Some(netns) = self.netns_mut() {
            *netns = number(*netns);
        }
        if let Self::Link(Link {
            peer: Some(peer), ..
        }) = self
        {
            peer.netns = number(peer.netns);
        }
    }
}
