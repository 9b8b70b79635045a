//! What one end of a TCP connection sent, and how much of it the other end has acknowledged.

use super::{Device, KtimeNs};

/// One direction of a TCP connection, by all segments that were seen of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sending {
    /// SYNs and data that are not acknowledged to their end, bounded, in order of first sight.
    pub unacked: Vec<Segment>,
    /// The highest number that the other end acknowledged: it has all before this.
    pub acked: Option<u32>,
    /// Since when it has said so.
    pub acked_since: KtimeNs,
    /// When it said so last: it repeats itself when something newer arrives.
    pub acked_at: KtimeNs,
    /// Bytes of the largest IP packet of which all was acknowledged.
    pub largest_acked: u32,
    /// What was sent again although it had been acknowledged, since the last new acknowledgement.
    pub again: Option<Segment>,
    /// The last segment with data.
    pub last_data: Option<KtimeNs>,
    /// When the other end reset the connection.
    pub reset: Option<KtimeNs>,
    /// The number that acknowledges its end, where a FIN was seen.
    pub fin: Option<u32>,
}

/// Copies of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its first sequence number.
    pub seq: u32,
    /// The number after its last.
    pub end: u32,
    /// Bytes of its IP packet on the wire; of several in one buffer, of each.
    pub size: u32,
    /// It opens the connection.
    pub syn: bool,
    /// How often it was sent.
    pub copies: u32,
    /// How many of the copies left through a device behind which nothing is seen.
    pub left: u32,
    /// The first copy.
    pub first: KtimeNs,
    /// The last copy.
    pub last: KtimeNs,
    /// Where the last copy was seen last.
    pub device: Option<Device>,
}

/// What was sent again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeated {
    /// Copies of the first byte that is not acknowledged.
    pub copies: u32,
    /// How many of them left.
    pub left: u32,
    /// The smallest packet that carried it.
    pub size: u32,
    /// It opens the connection.
    pub syn: bool,
    /// The first copy.
    pub first: KtimeNs,
    /// The last copy.
    pub last: KtimeNs,
    /// Where the last copy was seen last.
    pub device: Option<Device>,
}

impl Segment {
    /// Another copy.
    fn add(&mut self, copy: &Self) {
        self.copies += copy.copies;
        self.left += copy.left;
        self.size = self.size.min(copy.size);
        self.first = self.first.min(copy.first);
        if copy.last > self.last {
            (self.last, self.device) = (copy.last, copy.device);
        }
    }
}

/// Whether a sequence number is before another (RFC 793 arithmetic).
const fn before(one: u32, other: u32) -> bool {
    one != other && other.wrapping_sub(one) < 1 << 31
}

impl Sending {
    /// Segments that wait for an acknowledgement at the same time, at most.
    const MANY: usize = 64;

    /// Takes a segment in that carries data or a SYN.
    pub fn sent(&mut self, segment: Segment) {
        if segment.syn && self.is_another_connection(&segment) {
            *self = Self::default();
        }
        if !segment.syn {
            self.last_data = self.last_data.max(Some(segment.last));
        }
        if self.acked.is_some_and(|acked| !before(acked, segment.end)) {
            self.sent_again(segment);
            return;
        }
        let same =
            |s: &&mut Segment| (s.seq, s.end, s.syn) == (segment.seq, segment.end, segment.syn);
        if let Some(known) = self.unacked.iter_mut().find(same) {
            known.add(&segment);
        } else if self.unacked.len() < Self::MANY {
            self.unacked.push(segment);
        }
    }

    /// A copy of what was acknowledged. A keepalive probe has one byte at most, and is meant to be answered again.
    fn sent_again(&mut self, segment: Segment) {
        let probe = segment.end.wrapping_sub(segment.seq) <= 1;
        if probe || segment.first <= self.acked_since {
            return;
        }
        match &mut self.again {
            Some(known) if known.seq == segment.seq => known.add(&segment),
            other => *other = Some(segment),
        }
    }

    /// The other end has all before this number.
    pub fn acknowledged(&mut self, number: u32, at: KtimeNs) {
        match self.acked {
            Some(known) if before(number, known) => return,
            Some(known) if known == number => self.acked_at = self.acked_at.max(at),
            _ => {
                (self.acked_since, self.acked_at) = (at, at);
                self.again = None;
            }
        }
        self.acked = Some(number);
        let (done, open): (Vec<Segment>, Vec<Segment>) =
            self.unacked.drain(..).partition(|s| !before(number, s.end));
        let largest = done.iter().map(|s| s.size).max().unwrap_or(0);
        self.largest_acked = self.largest_acked.max(largest);
        self.unacked = open;
    }

    /// Takes in what was seen of the same connection under another tuple.
    pub fn absorb(&mut self, other: Self) {
        for segment in other.unacked {
            self.sent(segment);
        }
        if let Some(number) = other.acked {
            self.acknowledged(number, other.acked_at);
        }
        self.largest_acked = self.largest_acked.max(other.largest_acked);
        self.last_data = self.last_data.max(other.last_data);
        self.reset = self.reset.max(other.reset);
        self.fin = self.fin.or(other.fin);
    }

    /// A SYN with another number than the connection that was seen under these ports.
    fn is_another_connection(&self, syn: &Segment) -> bool {
        let known = self.unacked.iter().any(|s| s.syn && s.seq == syn.seq);
        let answered = self.acked.is_some_and(|acked| acked == syn.end);
        let later = self.unacked.iter().all(|s| s.last < syn.first) && self.acked_at < syn.first;
        !known && !answered && later
    }

    /// How many bytes are missing before the first segment that came after them, and since when: their receiver repeats
    /// what it has.
    #[must_use]
    pub fn gap(&self) -> Option<(u32, KtimeNs)> {
        let acked = self.acked?;
        let first = self.unacked.iter().reduce(|one, other| {
            if before(other.seq, one.seq) {
                other
            } else {
                one
            }
        })?;
        let missing = before(acked, first.seq) && self.acked_at > first.first;
        missing.then(|| (first.seq.wrapping_sub(acked), first.first))
    }

    /// The first byte that is not acknowledged, with what became of its copies.
    #[must_use]
    pub fn first_unacked(&self) -> Option<Repeated> {
        let lowest = self
            .unacked
            .iter()
            .map(|s| s.seq)
            .reduce(|one, other| if before(one, other) { one } else { other })?;
        let wanted = match self.acked {
            Some(acked) if before(lowest, acked) => acked,
            _ => lowest,
        };
        let carries = |s: &&Segment| !before(wanted, s.seq) && before(wanted, s.end);
        let mut copies = self.unacked.iter().filter(carries);
        let first = copies.next()?;
        let start = Repeated {
            copies: first.copies,
            left: first.left,
            size: first.size,
            syn: first.syn,
            first: first.first,
            last: first.last,
            device: first.device,
        };
        Some(copies.fold(start, |sum, s| Repeated {
            copies: sum.copies + s.copies,
            left: sum.left + s.left,
            size: sum.size.min(s.size),
            syn: sum.syn || s.syn,
            first: sum.first.min(s.first),
            last: sum.last.max(s.last),
            device: if s.last > sum.last {
                s.device
            } else {
                sum.device
            },
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(seq: u32, length: u32, at: u64) -> Segment {
        Segment {
            seq,
            end: seq.wrapping_add(length),
            size: length + 52,
            syn: false,
            copies: 1,
            left: 1,
            first: KtimeNs(at),
            last: KtimeNs(at),
            device: None,
        }
    }

    fn syn(seq: u32, at: u64) -> Segment {
        Segment {
            syn: true,
            ..segment(seq, 1, at)
        }
    }

    #[test]
    fn what_is_acknowledged_is_forgotten() {
        let mut sending = Sending::default();
        sending.sent(syn(u32::MAX, 1));
        sending.acknowledged(0, KtimeNs(2));
        sending.sent(segment(0, 100, 3));
        sending.sent(segment(100, 1000, 3));
        sending.acknowledged(100, KtimeNs(4));
        assert_eq!(sending.largest_acked, 152);
        sending.sent(segment(100, 1000, 5));
        sending.sent(segment(0, 100, 6));
        let left = sending.first_unacked().map(|r| (r.copies, r.size));
        assert_eq!(left, Some((2, 1052)));
        sending.acknowledged(1100, KtimeNs(7));
        assert_eq!(sending.first_unacked(), None);
    }

    #[test]
    fn what_did_not_come_is_known_by_what_came_after_it() {
        let mut sending = Sending::default();
        sending.acknowledged(500, KtimeNs(1));
        sending.sent(segment(6300, 200, 3));
        assert_eq!(sending.gap(), None);
        sending.acknowledged(500, KtimeNs(4));
        assert_eq!(sending.gap(), Some((5800, KtimeNs(3))));
    }

    #[test]
    fn copies_of_what_was_acknowledged_are_counted_until_it_goes_on() {
        let mut sending = Sending::default();
        sending.sent(segment(100, 50, 1));
        sending.acknowledged(150, KtimeNs(2));
        sending.sent(segment(100, 50, 3));
        sending.sent(segment(100, 50, 5));
        sending.sent(segment(149, 1, 6));
        assert_eq!(sending.again.map(|s| s.copies), Some(2));
        sending.acknowledged(200, KtimeNs(7));
        assert_eq!(sending.again, None);
    }

    #[test]
    fn a_part_of_a_large_buffer_sent_again_is_a_copy_of_the_part() {
        let mut sending = Sending::default();
        sending.sent(segment(0, 4000, 1));
        sending.acknowledged(1000, KtimeNs(2));
        sending.sent(segment(1000, 1000, 3));
        sending.sent(segment(1000, 1000, 4));
        let left = sending.first_unacked().map(|r| (r.copies, r.last));
        assert_eq!(left, Some((3, KtimeNs(4))));
    }

    #[test]
    fn the_ports_used_again_begin_anew() {
        let mut sending = Sending::default();
        sending.sent(syn(500, 1));
        sending.acknowledged(501, KtimeNs(2));
        sending.sent(segment(501, 10, 3));
        sending.sent(syn(90, 10));
        assert_eq!(sending.first_unacked().map(|r| r.syn), Some(true));
        assert_eq!(sending.acked, None);
    }
}
