//! What one node learns and the others must know: a packet that was asked for goes on to another node with the tuple that a
//! translation gave it, which that node's expression does not name.
//!
//! Learned from the records as they come, before they are merged: what waits for the merge is late for the next packet.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tracer_common::event::{
    FLAG_BY_SOCKET, FLAG_MATCH_FORWARD, FLAG_MATCH_LEARNED, FLAG_MATCH_ORIGINAL, FLAG_MATCH_QUOTED,
    FLAG_MATCH_REPLY, FLAG_NEIGHBOR_AUX, FLAG_TAGGED, RawEvent,
};
use zerocopy::FromBytes;

use crate::decode;
use crate::filter::destination;
use crate::host::facts::NodeId;
use crate::model::Tuple;

/// Most packets remembered that may be translated later.
const PACKETS: usize = 4096;

/// What was learned so far.
#[derive(Debug, Default)]
pub(super) struct Lessons {
    /// Packets by node and buffer, as they were when they were seen first.
    packets: BTreeMap<(NodeId, u64), Asked>,
    oldest: VecDeque<(NodeId, u64)>,
    known: BTreeSet<String>,
}

/// A packet that was asked for.
#[derive(Clone, Copy, Debug)]
struct Asked {
    fingerprint: u64,
    tuple: Tuple,
}

impl Lessons {
    /// Takes in a node's record. Gives the expression that others have to follow too, once.
    pub(super) fn note(&mut self, node: NodeId, record: &[u8]) -> Option<String> {
        let (raw, _) = RawEvent::read_from_prefix(record).ok()?;
        let other = FLAG_BY_SOCKET | FLAG_MATCH_QUOTED | FLAG_NEIGHBOR_AUX;
        if raw.flags & other != 0 || raw.skb == 0 {
            return None;
        }
        let now = decode::tuple(&raw.tuple)?;
        let before = if raw.flags & FLAG_MATCH_ORIGINAL != 0 {
            decode::tuple(&raw.sk_tuple)?
        } else if raw.flags & (FLAG_MATCH_FORWARD | FLAG_MATCH_REPLY) != 0 {
            self.remember((node, raw.skb), raw.fingerprint, now);
            return None;
        } else if raw.flags & (FLAG_TAGGED | FLAG_MATCH_LEARNED) != 0 {
            let asked = self.packets.get(&(node, raw.skb))?;
            if asked.fingerprint != raw.fingerprint {
                return None;
            }
            asked.tuple
        } else {
            return None;
        };
        let lesson = lesson(&before, &now)?;
        self.known.insert(lesson.clone()).then_some(lesson)
    }

    fn remember(&mut self, key: (NodeId, u64), fingerprint: u64, tuple: Tuple) {
        match self.packets.get_mut(&key) {
            Some(known) if known.fingerprint == fingerprint => {}
            Some(known) => *known = Asked { fingerprint, tuple },
            None => {
                self.packets.insert(key, Asked { fingerprint, tuple });
                self.oldest.push_back(key);
                if self.oldest.len() > PACKETS
                    && let Some(old) = self.oldest.pop_front()
                {
                    self.packets.remove(&old);
                }
            }
        }
    }
}

/// What a translated packet is known by elsewhere: its new destination, whoever sends there, so that the next connection is
/// known from its first packet on; where the source alone changed, that source.
fn lesson(before: &Tuple, now: &Tuple) -> Option<String> {
    if (before.dst, before.dport) != (now.dst, now.dport) {
        return Some(destination(now));
    }
    (before.src != now.src).then(|| format!("src host {} and {}", now.src, destination(now)))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests {
    use tracer_common::event::{
        FLAG_MATCH_FORWARD, FLAG_MATCH_LEARNED, FLAG_MATCH_ORIGINAL, FLAG_MATCH_REPLY, FLAG_TAGGED,
        RawEvent,
    };
    use zerocopy::{FromZeros, IntoBytes};

    use super::Lessons;
    use crate::host::facts::NodeId;
    use crate::model::{Proto, Tuple};

    const CLIENT: (&str, u16) = ("10.1.0.2", 4000);
    const SERVICE: (&str, u16) = ("10.96.0.1", 80);
    const BACKEND: (&str, u16) = ("10.2.0.9", 8080);
    const NODE: (&str, u16) = ("192.0.2.1", 1024);

    fn tuple(src: (&str, u16), dst: (&str, u16)) -> Option<Tuple> {
        Some(Tuple {
            proto: Proto::Tcp,
            src: src.0.parse().ok()?,
            sport: src.1,
            dst: dst.0.parse().ok()?,
            dport: dst.1,
            icmp_id: 0,
        })
    }

    fn event(skb: u64, flags: u32, now: Option<Tuple>, before: Option<Tuple>) -> Vec<u8> {
        let mut raw = RawEvent::new_zeroed();
        raw.skb = skb;
        raw.fingerprint = skb;
        raw.flags = flags;
        raw.tuple = now.unwrap().raw();
        if let Some(before) = before {
            raw.sk_tuple = before.raw();
        }
        raw.as_bytes().to_vec()
    }

    #[test]
    fn a_translated_destination_is_told_once_for_all_that_send_there() {
        let mut lessons = Lessons::default();
        for (skb, port) in [(1, 4000), (2, 4001)] {
            let client = (CLIENT.0, port);
            let asked = event(skb, FLAG_MATCH_FORWARD, tuple(client, SERVICE), None);
            assert_eq!(lessons.note(NodeId(0), &asked), None);
            let now = event(skb, FLAG_TAGGED, tuple(client, BACKEND), None);
            // the same buffer of another node is another packet
            assert_eq!(lessons.note(NodeId(1), &now), None);
            let told = lessons.note(NodeId(0), &now);
            let expected = "tcp and dst host 10.2.0.9 and dst port 8080";
            assert_eq!(told.as_deref(), (skb == 1).then_some(expected));
        }
    }

    #[test]
    fn a_source_that_was_translated_alone_is_told_with_it() {
        let mut lessons = Lessons::default();
        let asked = event(1, FLAG_MATCH_FORWARD, tuple(CLIENT, BACKEND), None);
        assert_eq!(lessons.note(NodeId(0), &asked), None);
        let now = event(
            1,
            FLAG_TAGGED | FLAG_MATCH_LEARNED,
            tuple(NODE, BACKEND),
            None,
        );
        assert_eq!(
            lessons.note(NodeId(0), &now).as_deref(),
            Some("src host 192.0.2.1 and tcp and dst host 10.2.0.9 and dst port 8080")
        );
    }

    #[test]
    fn what_conntrack_says_is_as_good_as_a_packet_seen_before() {
        let flags = FLAG_MATCH_FORWARD | FLAG_MATCH_ORIGINAL;
        let own = event(1, flags, tuple(CLIENT, BACKEND), tuple(CLIENT, SERVICE));
        assert_eq!(
            Lessons::default().note(NodeId(0), &own).as_deref(),
            Some("tcp and dst host 10.2.0.9 and dst port 8080")
        );
    }

    #[test]
    fn answers_and_packets_under_one_name_teach_nothing() {
        let mut lessons = Lessons::default();
        for record in [
            event(1, FLAG_MATCH_LEARNED, tuple(BACKEND, CLIENT), None),
            event(
                1,
                FLAG_TAGGED | FLAG_MATCH_REPLY,
                tuple(SERVICE, CLIENT),
                None,
            ),
            event(2, FLAG_MATCH_FORWARD, tuple(CLIENT, SERVICE), None),
            event(2, FLAG_TAGGED, tuple(CLIENT, SERVICE), None),
        ] {
            assert_eq!(lessons.note(NodeId(0), &record), None);
        }
        assert_eq!(lessons.note(NodeId(0), b"short"), None);
    }
}
