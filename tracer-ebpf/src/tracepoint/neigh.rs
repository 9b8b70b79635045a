//! Neighbour entries: made, answered, unanswered.

use tracer_common::filter::RawFilter;
use tracer_common::hook::{NEIGH_CREATE, NEIGH_EVENT_SEND_DONE, NEIGH_TIMER_HANDLER, NEIGH_UPDATE};
use tracer_common::tuple::{FAMILY_V4, FAMILY_V6, RawTuple};

use crate::budget::Class;
use crate::emit::Record;
use crate::kernel::{Access, Args, Probe, Ptr, copy, field, offset};
use crate::maps;
use crate::packet::Memory;
use crate::skb::Device;
use crate::tracepoint::{now, signed};

const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
/// NUD_INCOMPLETE and NUD_FAILED: told of every address.
const TROUBLE: u8 = 0x01 | 0x20;

/// The address `key` of a table, as a tuple's destination.
#[inline(always)]
fn address(table: Ptr, key: Ptr) -> Option<RawTuple> {
    let mut tuple = RawTuple::default();
    match field!(Probe, u32, table, neigh_table_family) {
        AF_INET => {
            tuple.family = FAMILY_V4;
            tuple.dst[0] = Probe::u32(key, 0);
        }
        AF_INET6 => {
            tuple.family = FAMILY_V6;
            tuple.dst = Probe::address(key, 0);
        }
        _ => return None,
    }
    Some(tuple)
}

/// A record of an entry with this address on this device, if someone wants it.
#[inline(always)]
fn record(
    hook: u8,
    tuple: &RawTuple,
    dev: Ptr,
    wanted: bool,
    filter: &RawFilter,
) -> Option<Record> {
    if !wanted && !filter.is_neighbor::<Memory>(&tuple.dst, &tuple.dst) {
        return None;
    }
    let device = Device::at(dev);
    if !filter.admits_netns::<Memory>(device.netns) {
        return None;
    }
    let mut record = Record::paid(hook, now(), Class::Rare)?;
    record.identify(tuple, 0, 0);
    device.describe(record.event(), dev);
    Some(record)
}

/// A record of the entry at `neigh`, which moves to `new` where that is told, with its link address.
#[inline(always)]
fn entry(hook: u8, neigh: Ptr, new: Option<u8>, filter: &RawFilter) -> Option<Record> {
    let key = Ptr(neigh.0.wrapping_add(u64::from(offset!(neigh_primary_key)?)));
    let tuple = address(field!(Probe, ptr, neigh, neigh_tbl), key)?;
    let state = field!(Probe, u8, neigh, neigh_nud_state);
    let wanted = new.unwrap_or(state) & TROUBLE != 0;
    let dev = field!(Probe, ptr, neigh, neigh_dev);
    let mut record = record(hook, &tuple, dev, wanted, filter)?;
    record.event().arg0 = u64::from(state);
    if let Some(offset) = offset!(neigh_ha) {
        copy(
            record.bytes(),
            8,
            Ptr(neigh.0.wrapping_add(u64::from(offset))),
        );
    }
    record.event().caplen = 8;
    Some(record)
}

/// `neigh_create(table, dev, key, neigh, exempt)`
#[inline(always)]
pub(crate) fn create<A: Access>(args: Args<A>) {
    let Some(filter) = maps::filter() else { return };
    let table = args.ptr(0).plain();
    let Some(tuple) = address(table, args.untyped(2)) else {
        return;
    };
    let dev = args.ptr(1).plain();
    if let Some(record) = record(NEIGH_CREATE, &tuple, dev, false, filter) {
        record.send();
    }
}

/// `neigh_update(neigh, lladdr, new, flags, pid)`
#[inline(always)]
pub(crate) fn update<A: Access>(args: Args<A>) {
    let Some(filter) = maps::filter() else { return };
    let new = args.value(2) as u8;
    let neigh = args.ptr(0).plain();
    if let Some(mut record) = entry(NEIGH_UPDATE, neigh, Some(new), filter) {
        record.event().arg1 = u64::from(new);
        let address = args.untyped(1);
        if !address.is_null() {
            // SAFETY: `SNAPLEN` bytes are reserved; the verifier checks that they are 16 at least.
            let to = unsafe { record.bytes().add(8) };
            copy(to, 8, address);
            record.event().caplen = 16;
        }
        record.send();
    }
}

/// `neigh_timer_handler(neigh, err)`
#[inline(always)]
pub(crate) fn timer_handler<A: Access>(args: Args<A>) {
    with_error(NEIGH_TIMER_HANDLER, args);
}

/// `neigh_event_send_done(neigh, rc)`
#[inline(always)]
pub(crate) fn event_send_done<A: Access>(args: Args<A>) {
    with_error(NEIGH_EVENT_SEND_DONE, args);
}

#[inline(always)]
fn with_error<A: Access>(hook: u8, args: Args<A>) {
    let Some(filter) = maps::filter() else { return };
    let neigh = args.ptr(0).plain();
    if let Some(mut record) = entry(hook, neigh, None, filter) {
        record.event().arg1 = signed(args.value(1));
        record.send();
    }
}
