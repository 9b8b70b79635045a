//! Interfaces of a namespace that hand each other all that comes in (`mirred` at tc ingress), as those of a virtual machine's pod
//! do: what comes in at one leaves by the other, before any stack sees it. What filters match is not read, so that only a pair
//! that leads both ways counts.

use crate::host::Host;
use crate::host::facts::{Attachment, Link};
use crate::model::{Device, IfIndex};

/// EtherType of IPv4, as the kernel keeps it: ARP is none.
const ETH_P_IP: u16 = 0x0800;
/// EtherType of IPv6.
const ETH_P_IPV6: u16 = 0x86dd;

/// Whether a filter looks at one of the two IP protocols alone.
const fn is_narrow(protocol: u16) -> bool {
    matches!(protocol, ETH_P_IP | ETH_P_IPV6)
}

/// The first filter that redirects what comes in at an interface, and where to.
fn first(host: &Host, from: Device) -> Option<(&Attachment, Device)> {
    let state = &host.device_states.get(&from)?.fact;
    let ingress = state.programs.iter().filter(|a| a.hook == "tc-ingress");
    let target = |a: &Attachment| {
        let mut actions = a.actions.iter();
        let to = actions.find(|action| action.verb == "redirect")?.to?;
        let ifindex = IfIndex(to);
        Some(Device { ifindex, ..from })
    };
    ingress
        .filter_map(|filter| Some((filter, target(filter)?)))
        .min_by_key(|(filter, _)| filter.priority)
}

/// The interface to which all that comes in at this one is handed, and that hands back what comes in there.
#[must_use]
pub fn other_end<'a>(host: &'a Host, link: &Link) -> Option<&'a Link> {
    let (there, to) = first(host, link.device)?;
    let (back, from) = first(host, to)?;
    let paired = from == link.device && to != link.device;
    let whole = !is_narrow(there.protocol) && !is_narrow(back.protocol);
    let other = host.link(to).filter(|_| paired && whole)?;
    (other.up && link.up).then_some(other)
}
