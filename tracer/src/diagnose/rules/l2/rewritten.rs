//! A frame that was given another destination MAC on its way, without being routed: by a rule of a bridge's or an
//! interface's filter, by a tc action or a program.

use crate::host::Host;
use crate::host::facts::{Side, Statement};
use crate::model::{Device, Event, Mac, NetNs};

use super::super::super::loss::Loss;
use super::super::super::rewriter;
use super::super::super::words;
use super::misled::Misled;
use super::{frame, next_hop, sender, translated_within_bridge};

/// Where the destination MAC of a frame changed.
#[derive(Clone, Copy, Debug)]
pub(in super::super::super) struct Rewritten {
    /// Seen with the old one; where an interface sent it with another MAC than its neighbour entry has, the same.
    from: Device,
    /// Seen with the new one.
    to: Device,
    before: Mac,
    after: Mac,
}

impl Rewritten {
    /// The last change before the frame was lost.
    pub(in super::super::super) fn of(loss: &Loss<'_>) -> Option<Self> {
        let after = frame(loss)?.dst;
        if translated_within_bridge(loss).is_some_and(|(_, mac)| mac == after) {
            return Self::at_sender(loss, after);
        }
        Self::between_hops(loss, after).or_else(|| Self::at_sender(loss, after))
    }

    /// Between two observations in one namespace. Routing puts another source on the frame too.
    fn between_hops(loss: &Loss<'_>, after: Mac) -> Option<Self> {
        let seen = |event: &Event| {
            let packet = event.packet.as_ref().filter(|p| p.tunnel.is_none())?;
            Some((event.device?, packet.ethernet?))
        };
        let events = || loss.steps().iter().map(|step| &step.event).filter_map(seen);
        let pairs = events().zip(events().skip(1));
        let changed = pairs.filter(|((from, was), (to, is))| {
            let rewritten = was.src == is.src && was.dst != is.dst && is.dst == after;
            from.netns == to.netns && rewritten
        });
        changed.last().map(|((from, was), (to, is))| Self {
            from,
            to,
            before: was.dst,
            after: is.dst,
        })
    }

    /// By the sender, behind its neighbour entry, which has the MAC of who should have got it.
    fn at_sender(loss: &Loss<'_>, after: Mac) -> Option<Self> {
        let host = loss.host;
        let sender = sender(loss)?;
        let hop = next_hop(loss, sender)?;
        let before = host.neighbor(sender, hop)?.mac?;
        let meant = host
            .by_mac(before)
            .any(|link| host.is_local(link.device.netns, hop));
        (meant && before != after).then_some(Self {
            from: sender,
            to: sender,
            before,
            after,
        })
    }

    /// The namespace whose rules and programs may have done it.
    pub(in super::super::super) const fn netns(&self) -> NetNs {
        self.from.netns
    }

    /// The interfaces on which programs may have done it.
    pub(in super::super::super) fn devices(&self) -> impl Iterator<Item = Device> {
        let other = (self.to != self.from).then_some(self.to);
        std::iter::once(self.from).chain(other)
    }

    /// `between b1 and b2 of sw`.
    fn place(&self, host: &Host) -> String {
        let at = host.namespace(self.netns());
        let (from, to) = (host.interface(self.from), host.interface(self.to));
        if from == to {
            format!("on {at} at {from}")
        } else {
            format!("on {at} between {from} and {to}")
        }
    }
}

/// What the story is where a frame was rewritten.
pub(super) fn told(loss: &Loss<'_>) -> Option<Misled> {
    let host = loss.host;
    let found = Rewritten::of(loss)?;
    let place = found.place(host);
    let devices: Vec<_> = found.devices().collect();
    let mac =
        |s: &Statement| matches!(s, Statement::SetMac(Side::Destination, to) if *to == found.after);
    let (words, advice) = rewriter::find(host, (found.netns(), &devices), mac);
    Some(Misled {
        words: format!(
            "its destination was changed from {} to {} {place}{words}",
            found.before, found.after
        ),
        evidence: (
            "frame",
            format!(
                "it was for {} when it came to {}, and for {} behind",
                found.before,
                words::interface(host, found.from),
                found.after
            ),
        ),
        advice,
    })
}
