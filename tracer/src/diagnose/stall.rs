//! TCP connections in which one direction does not get through: the same is sent again and never acknowledged, or is
//! acknowledged and sent again nevertheless, or has a hole that is not filled. From sequence numbers alone: what of it
//! becomes a verdict is decided in [`super::silent`].

use crate::host::facts::{OpenSocket, Question};
use crate::model::{Device, Direction, Hop, KtimeNs, NetNs, Proto, Repeated, Side, Tuple};

use super::mtu;
use super::ports;
use super::source_address;
use super::view::{GRACE_NS, View};
use super::words;

/// How it shows that one direction does not get through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// This end sends the same again, and nobody acknowledges it.
    Unacked,
    /// This end acknowledges, and the other one sends the same again.
    Unanswered,
    /// So many bytes did not come, and what follows them did.
    Missing(u32),
}

/// A connection in which one direction does not get through.
#[derive(Clone, Copy)]
pub struct Stall {
    /// The direction that does not.
    pub direction: Direction,
    /// What was sent again, with what became of its copies.
    pub repeated: Repeated,
    /// Through which interface this end's packets leave.
    pub device: Device,
    /// What they are there.
    pub tuple: Tuple,
    /// How it shows.
    pub sign: Sign,
    /// The other end was heard of after it was sent first: it repeats what it has, as it does when newer data comes.
    pub heard: bool,
    /// Bytes of the largest packet that was acknowledged.
    pub largest_acked: u32,
}

impl Stall {
    /// The one that began first, of both directions.
    #[must_use]
    pub fn of(view: &View<'_>) -> Option<Self> {
        let run = view.host.run.as_ref();
        // where not all acknowledgements were seen, none that is missing means anything
        let blind = run.is_some_and(|r| r.one_way || !r.only_interfaces.is_empty())
            || view.lost_observations() > 0;
        if blind || view.tuple()?.proto != Proto::Tcp {
            return None;
        }
        let both = [Direction::Forward, Direction::Reply];
        both.into_iter()
            .flat_map(|direction| {
                [
                    Self::unacked(view, direction),
                    Self::missing(view, direction),
                    Self::unanswered(view, direction),
                ]
            })
            .flatten()
            .min_by_key(|stall| stall.repeated.first)
    }

    fn unacked(view: &View<'_>, direction: Direction) -> Option<Self> {
        let sending = view.flow.sending.get(&direction)?;
        let repeated = sending.first_unacked()?;
        let opened = direction == Direction::Reply || !repeated.syn;
        if !opened || repeated.copies < 2 || !lasts(view, &repeated, sending.reset) {
            return None;
        }
        let device = repeated.device?;
        let hops = &view.flow.path(direction).hops;
        let last = hops.iter().rev().find(|hop| hop.device == device);
        Some(Self {
            direction,
            repeated,
            device,
            tuple: last.map(|hop| hop.tuple).or(view.tuple())?,
            sign: Sign::Unacked,
            heard: sending.acked_at > repeated.first,
            largest_acked: sending.largest_acked,
        })
    }

    /// Data of the other end, who is elsewhere, with a hole that is not filled.
    fn missing(view: &View<'_>, direction: Direction) -> Option<Self> {
        let sending = view.flow.sending.get(&direction)?;
        let (bytes, since) = sending.gap()?;
        let hop = answers_through(view, direction)?;
        let last = sending.unacked.iter().map(|s| s.last).max()?;
        let repeated = Repeated {
            copies: 1,
            left: 0,
            size: bytes,
            syn: false,
            first: since,
            last,
            device: Some(hop.device),
        };
        // what is on its way again fills it within one timeout
        let long = view.trace.now.since(since) >= 2 * GRACE_NS;
        (long && lasts(view, &repeated, sending.reset)).then_some(Self {
            direction,
            repeated,
            device: hop.device,
            tuple: hop.tuple,
            sign: Sign::Missing(bytes),
            heard: true,
            largest_acked: sending.largest_acked,
        })
    }

    /// The other end, who is elsewhere, does not know what was acknowledged.
    fn unanswered(view: &View<'_>, direction: Direction) -> Option<Self> {
        let sending = view.flow.sending.get(&direction)?;
        let again = sending.again?;
        let hop = answers_through(view, direction)?;
        let repeated = Repeated {
            copies: again.copies,
            left: again.left,
            size: again.size,
            syn: false,
            first: again.first,
            last: again.last,
            device: again.device,
        };
        let often = again.copies > 2 && again.last.since(again.first) >= GRACE_NS;
        (often && lasts(view, &repeated, sending.reset)).then_some(Self {
            direction: direction.opposite()?,
            repeated,
            device: hop.device,
            tuple: hop.tuple,
            sign: Sign::Unanswered,
            heard: true,
            largest_acked: 0,
        })
    }

    /// The first hop of what this end sends.
    fn begin<'a>(&self, view: &View<'a>) -> Option<&'a Hop> {
        let direction = match self.sign {
            Sign::Missing(_) => self.direction.opposite()?,
            Sign::Unacked | Sign::Unanswered => self.direction,
        };
        view.flow.path(direction).hops.first()
    }

    /// The namespace of this end, where its socket is on this host.
    #[must_use]
    pub fn sender(&self, view: &View<'_>) -> Option<NetNs> {
        let first = self.begin(view)?;
        (first.side == Side::Egress).then_some(first.device.netns)
    }

    /// Larger than all that was acknowledged, and than what every network takes.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        let always = mtu::smallest(self.tuple.dst.is_ipv6());
        !self.repeated.syn && self.repeated.size > always && self.repeated.size > self.largest_acked
    }

    /// The sender's socket.
    #[must_use]
    pub fn socket<'a>(&self, view: &View<'a>) -> Option<&'a OpenSocket> {
        let first = self.begin(view)?;
        let back = first.tuple.reversed();
        ports::connection(view.host, self.sender(view)?, &back)
    }

    /// `the SYN-ACK was sent again and again (4 times in 3.0 s) and never acknowledged`.
    #[must_use]
    pub fn repeated_words(&self) -> String {
        let Repeated {
            copies,
            first,
            last,
            ..
        } = self.repeated;
        let often = format!("{copies} times in {}", words::duration(last.since(first)));
        match (self.sign, self.repeated.syn) {
            (Sign::Unacked, true) => {
                format!("the SYN-ACK was sent again and again ({often}) and never acknowledged")
            }
            (Sign::Unacked, false) => {
                format!("the same data was sent again and again ({often}) and never acknowledged")
            }
            (Sign::Unanswered, _) => format!(
                "{} sends the same data again and again ({often}), though it was acknowledged each time",
                self.tuple.dst
            ),
            (Sign::Missing(bytes), _) => format!(
                "{bytes} bytes from {} never came, what follows them did, and they are asked for again and again",
                self.tuple.dst
            ),
        }
    }

    /// What to read while it lasts.
    #[must_use]
    pub fn questions(&self, view: &View<'_>) -> Vec<Question> {
        let netns = self.device.netns;
        let mut list = vec![
            source_address::own_route(netns, self.tuple.dst, &self.tuple),
            Question::RoutesTowards {
                netns,
                dst: self.tuple.dst,
            },
        ];
        let first = view.flow.path(self.direction).hops.first();
        list.extend(
            self.sender(view)
                .zip(first)
                .and_then(|(netns, hop)| ports::question(netns, &hop.tuple.reversed())),
        );
        list
    }
}

/// For long enough, and nobody has reset the connection meanwhile.
fn lasts(view: &View<'_>, repeated: &Repeated, reset: Option<KtimeNs>) -> bool {
    let quiet = view.trace.now.since(repeated.last) >= GRACE_NS;
    let long = repeated.last.since(repeated.first) >= GRACE_NS && repeated.copies > 2;
    let refused = reset.is_some_and(|at| at > repeated.first);
    !refused && (quiet || long)
}

/// The hop by which the receiver of a direction, who is on this host, answers its sender, who is not.
fn answers_through<'a>(view: &View<'a>, direction: Direction) -> Option<&'a Hop> {
    let from_outside = view.flow.path(direction).hops.first()?.side == Side::Ingress;
    let back = &view.flow.path(direction.opposite()?).hops;
    let from_here = back.first()?.side == Side::Egress;
    let mut out = back.iter().rev().filter(|hop| hop.side == Side::Egress);
    out.next().filter(|_| from_outside && from_here)
}
