//! Records: reserved in the ring buffer, filled in place, sent.

use aya_ebpf::helpers::generated::{
    bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_smp_processor_id, bpf_get_stack,
    bpf_ringbuf_reserve, bpf_ringbuf_submit,
};
use core::ffi::c_void;
use tracer_common::event::{MAX_STACK, RAW_EVENT_SIZE, RawEvent};
use tracer_common::tuple::RawTuple;

use crate::budget::Class;
use crate::kernel::{Ptr, copy};
use crate::maps::{EVENTS, SNAPLEN, count, stat};

/// Bytes that the stack takes.
const STACK_BYTES: u32 = MAX_STACK as u32 * 8;

/// A record that is being filled. It must be sent on every path: the verifier sees to it.
pub(crate) struct Record {
    event: *mut RawEvent,
}

impl Record {
    /// Reserves a record of this hook with all fields zero but the common ones. A full ring is counted.
    #[inline(always)]
    pub(crate) fn new(hook: u8, now: u64, stack: bool) -> Option<Self> {
        let stack_bytes = if stack { STACK_BYTES } else { 0 };
        let room = SNAPLEN.get();
        let size = RAW_EVENT_SIZE as u64 + u64::from(room) + u64::from(stack_bytes);
        // SAFETY: the map is a ring buffer; the verifier knows `size` as a constant.
        let event: *mut RawEvent =
            unsafe { bpf_ringbuf_reserve((&raw const EVENTS).cast_mut().cast(), size, 0) }.cast();
        if event.is_null() {
            stat(|stats| count(&mut stats.lost, hook));
            return None;
        }
        stat(|stats| count(&mut stats.events, hook));
        let words: *mut u64 = event.cast();
        for word in 0..RAW_EVENT_SIZE / 8 {
            // SAFETY: inside the header; volatile, or it would become a call of memset.
            unsafe { words.add(word).write_volatile(0) };
        }
        let mut record = Self { event };
        // reading from address zero fails and leaves zeros: the cheapest way to clear a length that only the
        // verifier knows
        copy(record.bytes(), room, Ptr(0));
        let event = record.event();
        event.ktime_ns = now;
        event.hook = hook;
        event.cap_reserved = room as u16;
        // SAFETY: a helper without arguments.
        event.cpu = unsafe { bpf_get_smp_processor_id() } as u16;
        Some(record)
    }

    /// As [`Record::new`], paid by `class`; what it cannot pay is counted as thinned.
    #[inline(always)]
    pub(crate) fn paid(hook: u8, now: u64, class: Class) -> Option<Self> {
        if !class.allows(now) {
            stat(|stats| count(&mut stats.thinned, hook));
            return None;
        }
        class.spend(now);
        let mut record = Self::new(hook, now, false)?;
        record.process();
        Some(record)
    }

    /// The header.
    #[inline(always)]
    pub(crate) fn event(&mut self) -> &mut RawEvent {
        // SAFETY: reserved for this record alone and initialised by `new`.
        unsafe { &mut *self.event }
    }

    /// Where captured bytes go.
    #[inline(always)]
    pub(crate) fn bytes(&mut self) -> *mut u8 {
        // SAFETY: `SNAPLEN` bytes were reserved behind the header.
        unsafe { self.event.cast::<u8>().add(RAW_EVENT_SIZE) }
    }

    /// Puts the kernel stack behind the bytes. Only for a record that was made with room for it.
    #[inline(always)]
    pub(crate) fn stack(&mut self, ctx: *mut c_void) {
        // SAFETY: `STACK_BYTES` were reserved there.
        let len = unsafe {
            let to = self.bytes().add(SNAPLEN.get() as usize);
            bpf_get_stack(ctx, to.cast(), STACK_BYTES, 0)
        };
        if len > 0 {
            self.event().stack_len = (len / 8) as u8;
        } else {
            self.event().stack_len = 0;
        }
    }

    /// Names the process that runs. Not in classifiers: they may not ask before 6.10 or so.
    #[inline(always)]
    pub(crate) fn process(&mut self) {
        let event = self.event();
        // SAFETY: helpers that touch nothing but their buffer.
        unsafe {
            event.pid = (bpf_get_current_pid_tgid() >> 32) as u32;
            bpf_get_current_comm(event.comm.as_mut_ptr().cast(), 16);
        }
    }

    /// Names the packet.
    #[inline(always)]
    pub(crate) fn identify(&mut self, tuple: &RawTuple, fingerprint: u64, flags: u32) {
        let event = self.event();
        event.tuple = *tuple;
        event.fingerprint = fingerprint;
        event.flags = flags;
    }

    /// Sends the record.
    #[inline(always)]
    pub(crate) fn send(self) {
        // SAFETY: reserved by `new`, submitted once.
        unsafe { bpf_ringbuf_submit(self.event.cast(), 0) }
    }
}
