//! Packets for Wireshark (pcapng): the captured bytes at each hop and at each loss, in order of time, with the path in
//! words beside them.
//!
//! What the comments say (numbers of hops, what a loss was) is known only when the trace is over. So the inputs go
//! through a second time: the first pass is the trace itself, the second finds the packets and writes them.

mod frame;
mod names;
mod words;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};
use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::{PcapNgBlock, PcapNgWriter};
use tracer_common::hook::{TC_EGRESS, TC_INGRESS};

use crate::correlate::Sighting;
use crate::host::Host;
use crate::model::{Detail, Device, KtimeNs, NetNs, Side};
use crate::report::Report;
use crate::session::Session;
use crate::source::Input;
use frame::{Frame, Link};
use words::Words;

/// Records of different processors come a little out of order: a packet is written when all that is older has surely
/// come.
const SETTLE: Duration = Duration::from_secs(1);
/// `epb_flags`: the packet came in, or went out.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// Writes the packets of a trace: `session` after all inputs, and the same inputs once more.
///
/// # Errors
/// Those of the writer and of the inputs.
pub fn write<E>(
    out: &mut impl Write,
    session: &Session,
    inputs: impl Iterator<Item = Result<Input, E>>,
) -> io::Result<()>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let report = session.report();
    let mut capture = Capture::begin(out, session, &report)?;
    let mut again = Session::default();
    for input in inputs {
        let input = input.map_err(io::Error::other)?;
        let seen = again.input(&input);
        if let Some(sighting) = again.sighting(&input, seen) {
            capture.take(&sighting)?;
        }
    }
    capture.finish()
}

/// Where a packet was captured, with what its bytes begin with: an interface of the file.
type Place = (Option<NetNs>, Option<Device>, Link);

struct Capture<'a, W: Write> {
    to: PcapNgWriter<&'a mut W>,
    words: Words<'a>,
    host: &'a Host,
    interfaces: HashMap<Place, u32>,
    waiting: BinaryHeap<Waiting>,
    newest: Duration,
    taken: u64,
}

/// A packet that waits for older ones.
struct Waiting {
    at: Duration,
    /// Of packets at the same time the first comes first.
    number: u64,
    interface: u32,
    original_len: u32,
    data: Bytes,
    flags: Option<u32>,
    comment: String,
}

impl<'a, W: Write> Capture<'a, W> {
    fn begin(out: &'a mut W, session: &'a Session, report: &'a Report) -> io::Result<Self> {
        let section = names::section(report);
        let mut to = PcapNgWriter::with_section_header(out, section).map_err(io::Error::other)?;
        if let Some(names) = names::resolution(session.host()) {
            to.write_block(&names.into_block())
                .map_err(io::Error::other)?;
        }
        Ok(Self {
            to,
            words: Words::new(session, report),
            host: session.host(),
            interfaces: HashMap::new(),
            waiting: BinaryHeap::new(),
            newest: Duration::ZERO,
            taken: 0,
        })
    }

    /// Keeps what was seen at a hop or lost, when its bytes were captured.
    fn take(&mut self, sighting: &Sighting<'_>) -> io::Result<()> {
        let event = &sighting.event;
        let (side, comment) = match event.detail {
            Detail::Ingress if event.hook.0 == TC_INGRESS => {
                (Some(Side::Ingress), self.words.hop(sighting, Side::Ingress))
            }
            Detail::Egress if event.hook.0 == TC_EGRESS => {
                (Some(Side::Egress), self.words.hop(sighting, Side::Egress))
            }
            Detail::Drop(ref info) if self.words.is_loss(sighting, info) => {
                (None, self.words.loss(sighting, info))
            }
            _ => return Ok(()),
        };
        let Some(frame) = Frame::of(event) else {
            return Ok(());
        };
        let at = self.unix_time(event.at);
        let interface = self.interface((event.netns, event.device, frame.link))?;
        self.taken += 1;
        self.waiting.push(Waiting {
            at,
            number: self.taken,
            interface,
            original_len: frame.original_len,
            data: event.bytes.clone(),
            flags: side.map(|side| match side {
                Side::Ingress => INBOUND,
                Side::Egress => OUTBOUND,
            }),
            comment,
        });
        self.newest = self.newest.max(at);
        self.write_older_than(self.newest.saturating_sub(SETTLE))
    }

    /// Since 1970, by the host's clock at the start of the trace.
    fn unix_time(&self, at: KtimeNs) -> Duration {
        let run = self.host.run.as_ref();
        let (unix, ktime) = run.map_or((0, 0), |run| (run.started_unix_ns, run.started_ktime.0));
        Duration::from_nanos(unix.saturating_add(at.0).saturating_sub(ktime))
    }

    /// The interface's number in the file; a new one is described there first.
    fn interface(&mut self, place: Place) -> io::Result<u32> {
        if let Some(number) = self.interfaces.get(&place) {
            return Ok(*number);
        }
        let block = names::interface(self.host, place);
        self.to
            .write_block(&block.into_block())
            .map_err(io::Error::other)?;
        let number = u32::try_from(self.interfaces.len()).map_err(io::Error::other)?;
        self.interfaces.insert(place, number);
        Ok(number)
    }

    fn write_older_than(&mut self, limit: Duration) -> io::Result<()> {
        while self.waiting.peek().is_some_and(|oldest| oldest.at < limit) {
            if let Some(packet) = self.waiting.pop() {
                self.packet(packet)?;
            }
        }
        Ok(())
    }

    fn packet(&mut self, packet: Waiting) -> io::Result<()> {
        let comment = names::option(packet.comment);
        let mut options = vec![EnhancedPacketOption::Comment(comment.into())];
        options.extend(packet.flags.map(EnhancedPacketOption::Flags));
        let block = EnhancedPacketBlock {
            interface_id: packet.interface,
            timestamp: packet.at,
            original_len: packet.original_len,
            data: Cow::Borrowed(&packet.data),
            options,
        };
        self.to
            .write_block(&block.into_block())
            .map_err(io::Error::other)?;
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        while let Some(packet) = self.waiting.pop() {
            self.packet(packet)?;
        }
        Ok(())
    }
}

impl Ord for Waiting {
    /// The oldest is the greatest: the heap gives it first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Waiting {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_written_first_and_equals_in_their_order() {
        let waiting = |(number, at): (u64, u64)| Waiting {
            at: Duration::from_nanos(at),
            number,
            interface: 0,
            original_len: 0,
            data: Bytes::new(),
            flags: None,
            comment: String::new(),
        };
        let mut heap: BinaryHeap<Waiting> = [(1, 30), (2, 10), (3, 20), (4, 10)]
            .into_iter()
            .map(waiting)
            .collect();
        let order = std::iter::from_fn(|| heap.pop());
        let order: Vec<u64> = order.map(|packet| packet.number).collect();
        assert_eq!(order, [2, 4, 3, 1]);
    }
}
