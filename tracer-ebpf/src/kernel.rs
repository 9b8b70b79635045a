//! Reading kernel memory at the offsets that user space found in BTF, and the arguments of tracepoints.
//!
//! The loads are written in assembly where the verifier follows the pointer's type or range: the compiler must
//! neither split, merge, move nor invent them. All of them are safe in the kernel whatever the pointer is: the
//! verifier makes a typed load fault-safe, and the helper returns an error.

use core::arch::asm;
use core::ffi::c_void;
use core::marker::PhantomData;
use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use tracer_common::layout::ABSENT;

/// An address in the kernel. Zero: none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ptr(pub(crate) u64);

impl Ptr {
    #[inline(always)]
    pub(crate) fn is_null(self) -> bool {
        self.0 == 0
    }

    /// The address as a plain number: the verifier forgets that it was a pointer, so that it can be hashed
    /// (no arithmetic is allowed on pointers) and read by helper.
    #[inline(always)]
    pub(crate) fn plain(self) -> Self {
        let mut address = self.0;
        // SAFETY: two negations leave the value alone and touch one register.
        unsafe {
            asm!("{a} = -{a}", "{a} = -{a}", a = inout(reg) address, options(nomem, nostack))
        };
        Self(address)
    }
}

/// A field's offset as a constant of the verifier. `None` where the kernel lacks the field.
macro_rules! offset {
    ($field:ident) => {{
        // SAFETY: reads one word of a static; volatile because user space sets it before load.
        let offset = unsafe { (&raw const (*crate::maps::LAYOUT.as_ptr()).$field).read_volatile() };
        $crate::kernel::present(offset)
    }};
}
pub(crate) use offset;

/// The field's value, or the type's zero where the kernel lacks it.
macro_rules! field {
    ($access:ty, $read:ident, $base:expr, $field:ident) => {
        match $crate::kernel::offset!($field) {
            Some(offset) => <$access as $crate::kernel::Access>::$read($base, offset),
            None => Default::default(),
        }
    };
}
pub(crate) use field;

impl Default for Ptr {
    #[inline(always)]
    fn default() -> Self {
        Self(0)
    }
}

#[inline(always)]
pub(crate) fn present(offset: u32) -> Option<u32> {
    if offset == ABSENT { None } else { Some(offset) }
}

/// How kernel memory is read.
pub(crate) trait Access {
    fn u8(base: Ptr, offset: u32) -> u8;
    fn u16(base: Ptr, offset: u32) -> u16;
    fn u32(base: Ptr, offset: u32) -> u32;
    fn u64(base: Ptr, offset: u32) -> u64;

    #[inline(always)]
    fn ptr(base: Ptr, offset: u32) -> Ptr {
        Ptr(Self::u64(base, offset))
    }

    /// An IPv6 address as in a tuple.
    #[inline(always)]
    fn address(base: Ptr, offset: u32) -> [u32; 4] {
        [
            Self::u32(base, offset),
            Self::u32(base, offset + 4),
            Self::u32(base, offset + 8),
            Self::u32(base, offset + 12),
        ]
    }
}

/// By helper: any address, at the cost of a call.
pub(crate) struct Probe;

/// By load through a pointer whose type the verifier knows.
pub(crate) struct Direct;

#[inline(always)]
fn probe<const N: usize>(base: Ptr, offset: u32) -> [u8; N] {
    let mut bytes = MaybeUninit::<[u8; N]>::uninit();
    copy(
        bytes.as_mut_ptr().cast(),
        N as u32,
        Ptr(base.0.wrapping_add(u64::from(offset))),
    );
    // SAFETY: the helper writes all of it, zeros when it fails.
    unsafe { bytes.assume_init() }
}

/// Copies kernel memory; zeros where it cannot be read. The verifier must know that `to` has `len` bytes.
#[inline(always)]
pub(crate) fn copy(to: *mut u8, len: u32, from: Ptr) -> bool {
    // SAFETY: the verifier checks `to` and `len`; the helper checks `from`.
    unsafe { bpf_probe_read_kernel(to.cast(), len, from.0 as *const c_void) == 0 }
}

impl Access for Probe {
    #[inline(always)]
    fn u8(base: Ptr, offset: u32) -> u8 {
        u8::from_ne_bytes(probe(base, offset))
    }
    #[inline(always)]
    fn u16(base: Ptr, offset: u32) -> u16 {
        u16::from_ne_bytes(probe(base, offset))
    }
    #[inline(always)]
    fn u32(base: Ptr, offset: u32) -> u32 {
        u32::from_ne_bytes(probe(base, offset))
    }
    #[inline(always)]
    fn u64(base: Ptr, offset: u32) -> u64 {
        u64::from_ne_bytes(probe(base, offset))
    }
}

macro_rules! load {
    ($name:ident, $type:ident, $instruction:literal) => {
        /// One load, exactly as written. `nomem`: what it reads is never what these programs write.
        #[inline(always)]
        pub(crate) fn $name<const OFFSET: i16>(base: u64) -> $type {
            let value: u64;
            // SAFETY: the verifier proves that the address may be read, or makes the load fault-safe.
            unsafe {
                asm!(
                    concat!("{v} = *(", $instruction, " *)({b} + {o})"),
                    v = lateout(reg) value, b = in(reg) base, o = const OFFSET,
                    options(nomem, nostack),
                );
            }
            value as $type
        }
    };
}
load!(load_u8, u8, "u8");
load!(load_u16, u16, "u16");
load!(load_u32, u32, "u32");
load!(load_u64, u64, "u64");

impl Access for Direct {
    #[inline(always)]
    fn u8(base: Ptr, offset: u32) -> u8 {
        load_u8::<0>(base.0 + u64::from(offset))
    }
    #[inline(always)]
    fn u16(base: Ptr, offset: u32) -> u16 {
        load_u16::<0>(base.0 + u64::from(offset))
    }
    #[inline(always)]
    fn u32(base: Ptr, offset: u32) -> u32 {
        load_u32::<0>(base.0 + u64::from(offset))
    }
    #[inline(always)]
    fn u64(base: Ptr, offset: u32) -> u64 {
        load_u64::<0>(base.0 + u64::from(offset))
    }
}

/// A number of which the compiler knows nothing (the verifier knows as much as before).
#[inline(always)]
pub(crate) fn opaque(value: u64) -> u64 {
    let mut value = value;
    // SAFETY: one move to itself; no instruction at all would leave a line number twice at one place, which the
    // kernel refuses.
    unsafe { asm!("{0} = {0}", inout(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// A length that is not zero, in a form that old verifiers understand: they learn a lower bound from an order, not
/// from an inequality, which the compiler would make of a comparison with a visible zero.
#[inline(always)]
pub(crate) fn at_least_one(len: u64) -> Option<u64> {
    let len = opaque(len);
    if len < opaque(1) { None } else { Some(len) }
}

/// Keeps a value in memory (see [`tracer_common::barrier::Barrier::pin`]).
#[inline(always)]
pub(crate) fn pin<T>(value: &mut T) {
    // SAFETY: one move to itself; the compiler takes it for a reader and writer of `value`.
    unsafe { asm!("{0} = {0}", in(reg) value, options(nostack, preserves_flags)) };
}

/// A place where the verifier keeps the state, so that later paths that come here in the same one end. It keeps
/// none before two jumps have passed since the last it kept (is_state_visited, kernel/bpf/verifier.c): these are two,
/// to the instruction behind them, which it takes out again.
#[inline(always)]
pub(crate) fn checkpoint() {
    // SAFETY: goes on with the next instruction.
    unsafe { asm!("goto +0", "goto +0", options(nostack, preserves_flags)) };
}

/// The arguments of a tracepoint program.
pub(crate) struct Args<A> {
    pub(crate) ctx: *mut c_void,
    access: PhantomData<A>,
}

impl<A: Access> Args<A> {
    #[inline(always)]
    pub(crate) fn new(ctx: *mut c_void) -> Self {
        Self {
            ctx,
            access: PhantomData,
        }
    }

    /// Argument number `OFFSET / 8`.
    #[inline(always)]
    fn at<const OFFSET: i16>(&self) -> u64 {
        load_u64::<OFFSET>(self.ctx as u64)
    }

    /// Argument number `number`, which the verifier must know as a constant: a modified context pointer cannot
    /// be read through, so each number has a load of its own.
    #[inline(always)]
    pub(crate) fn value(&self, number: u32) -> u64 {
        match number {
            0 => self.at::<0>(),
            1 => self.at::<8>(),
            2 => self.at::<16>(),
            3 => self.at::<24>(),
            4 => self.at::<32>(),
            _ => 0,
        }
    }

    /// As [`Args::value`], for a pointer.
    #[inline(always)]
    pub(crate) fn ptr(&self, number: u32) -> Ptr {
        Ptr(self.value(number))
    }

    /// A pointer argument to something other than a structure, which the verifier of old kernels refuses to
    /// load: read by helper instead.
    #[inline(always)]
    pub(crate) fn untyped(&self, number: u32) -> Ptr {
        Probe::ptr(Ptr(self.ctx as u64), number * 8)
    }
}
