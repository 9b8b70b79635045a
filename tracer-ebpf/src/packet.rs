//! The two places where a packet's bytes are read: a classifier's packet pointers, and kernel memory.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::bpf_skb_load_bytes;
use tracer_common::barrier::Barrier;
use tracer_common::packet::Bytes;

use crate::kernel::{
    Ptr, at_least_one, checkpoint, copy, load_u16, load_u32, load_u64, opaque, pin,
};
use crate::maps::{forget, merge};

/// Headers are not looked for behind this offset: the verifier wants a bound.
const FARTHEST: u64 = 2048;

/// The bytes of a classifier's packet: direct loads, by helper where the packet is not linear there.
///
/// The context's pointers are loaded anew for each read: what the verifier learned of one that is kept would hold
/// apart paths which are the same otherwise.
pub(crate) struct Linear {
    ctx: *mut __sk_buff,
}

impl Linear {
    #[inline(always)]
    pub(crate) fn new(ctx: *mut __sk_buff) -> Self {
        Self { ctx }
    }

    /// `data` and `data_end` of struct __sk_buff: the verifier makes pointers of them.
    #[inline(always)]
    fn linear(&self) -> (u64, u64) {
        (u64::from_ptr::<76>(self.ctx), u64::from_ptr::<80>(self.ctx))
    }

    /// The pointer to `len` bytes at `at`, when they are linear.
    #[inline(always)]
    fn pointer(&self, at: u64, len: u64) -> Option<u64> {
        let (data, end) = self.linear();
        let pointer = opaque(data.wrapping_add(at));
        if pointer.wrapping_add(len) <= end {
            Some(pointer)
        } else {
            None
        }
    }

    #[inline(always)]
    fn by_helper(&self, at: u64, to: *mut u8, len: u32) -> bool {
        // SAFETY: `ctx` is the program's context and `to` has `len` bytes.
        unsafe { bpf_skb_load_bytes(self.ctx.cast(), at as u32, to.cast(), len) == 0 }
    }
}

trait FromContext {
    fn from_ptr<const OFFSET: i16>(ctx: *mut __sk_buff) -> Self;
}

impl FromContext for u64 {
    /// A pointer field of the context: a 32-bit load in the source, a pointer after the verifier. The value must
    /// not be cut to 32 bits by the compiler, hence no plain load.
    #[expect(
        clippy::pointers_in_nomem_asm_block,
        reason = "these fields of the context stay as they are, so the load may be moved"
    )]
    #[inline(always)]
    fn from_ptr<const OFFSET: i16>(ctx: *mut __sk_buff) -> Self {
        let value: Self;
        // SAFETY: a load from the context at a field's offset.
        unsafe {
            core::arch::asm!(
                "{v} = *(u32 *)({b} + {o})",
                v = lateout(reg) value, b = in(reg) ctx, o = const OFFSET,
                options(nomem, nostack),
            );
        }
        value
    }
}

#[inline(always)]
fn load_word(pointer: u64, index: usize) -> u32 {
    match index {
        0 => load_u32::<0>(pointer),
        1 => load_u32::<4>(pointer),
        2 => load_u32::<8>(pointer),
        3 => load_u32::<12>(pointer),
        4 => load_u32::<16>(pointer),
        5 => load_u32::<20>(pointer),
        _ => load_u32::<24>(pointer),
    }
}

impl Barrier for Linear {
    #[inline(always)]
    fn opaque(value: u64) -> u64 {
        opaque(value)
    }

    #[inline(always)]
    fn forget(value: u64) -> u64 {
        forget(value)
    }

    #[inline(always)]
    fn merge<T>(value: &mut T) {
        merge(value);
    }

    #[inline(always)]
    fn meet() {
        checkpoint();
    }

    #[inline(always)]
    fn pin<T>(value: &mut T) {
        pin(value);
    }
}

impl Bytes for Linear {
    #[inline(always)]
    fn half(&self, at: u32) -> Option<u16> {
        let at = opaque(u64::from(at));
        if at > FARTHEST {
            return None;
        }
        if let Some(pointer) = self.pointer(at, 2) {
            return Some(load_u16::<0>(pointer));
        }
        let mut half = 0u16;
        self.by_helper(at, (&raw mut half).cast(), 2)
            .then_some(half)
    }

    #[inline(always)]
    fn words<const N: usize>(&self, at: u32) -> Option<[u32; N]> {
        let at = opaque(u64::from(at));
        if at > FARTHEST {
            return None;
        }
        if let Some(pointer) = self.pointer(at, 4 * N as u64) {
            return Some(core::array::from_fn(|index| load_word(pointer, index)));
        }
        let mut words = MaybeUninit::<[u32; N]>::uninit();
        if !self.by_helper(at, words.as_mut_ptr().cast(), 4 * N as u32) {
            return None;
        }
        // SAFETY: the helper wrote all of it.
        Some(unsafe { words.assume_init() })
    }

    #[inline(always)]
    fn head(&self, at: u32, len: u32) -> u64 {
        let mut head = 0u64;
        let Some(len) = at_least_one(u64::from(len)) else {
            return 0;
        };
        let at = opaque(u64::from(at)) as u32;
        if len == 8
            && u64::from(at) <= FARTHEST
            && let Some(pointer) = self.pointer(u64::from(at), 8)
        {
            return forget(load_u64::<0>(pointer));
        }
        // the pointers are compared as numbers: their difference is all that counts
        let (data, end) = self.linear();
        if len > 8 || u64::from(at) + len > end.wrapping_sub(data) {
            return 0;
        }
        self.by_helper(u64::from(at), (&raw mut head).cast(), len as u32);
        head
    }
}

/// Bytes in kernel memory: `limit` of them from `base` on.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) base: Ptr,
    pub(crate) limit: u32,
}

impl Memory {
    #[inline(always)]
    fn read(&self, at: u32, to: *mut u8, len: u32) -> bool {
        u64::from(at) + u64::from(len) <= u64::from(self.limit)
            && copy(to, len, Ptr(self.base.0.wrapping_add(u64::from(at))))
    }
}

impl Barrier for Memory {
    #[inline(always)]
    fn opaque(value: u64) -> u64 {
        opaque(value)
    }

    #[inline(always)]
    fn forget(value: u64) -> u64 {
        forget(value)
    }

    #[inline(always)]
    fn merge<T>(value: &mut T) {
        merge(value);
    }

    #[inline(always)]
    fn meet() {
        checkpoint();
    }

    #[inline(always)]
    fn pin<T>(value: &mut T) {
        pin(value);
    }
}

impl Bytes for Memory {
    #[inline(always)]
    fn half(&self, at: u32) -> Option<u16> {
        let mut half = 0u16;
        self.read(at, (&raw mut half).cast(), 2).then_some(half)
    }

    #[inline(always)]
    fn words<const N: usize>(&self, at: u32) -> Option<[u32; N]> {
        let mut words = MaybeUninit::<[u32; N]>::uninit();
        if !self.read(at, words.as_mut_ptr().cast(), 4 * N as u32) {
            return None;
        }
        // SAFETY: the helper wrote all of it.
        Some(unsafe { words.assume_init() })
    }

    #[inline(always)]
    fn head(&self, at: u32, len: u32) -> u64 {
        let mut head = 0u64;
        let len = opaque(u64::from(len));
        if len == 0 || len > 8 {
            return 0;
        }
        self.read(at, (&raw mut head).cast(), len as u32);
        head
    }
}
