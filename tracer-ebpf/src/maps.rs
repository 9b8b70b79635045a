//! Maps and globals. Their names are a contract: `tracer_common::names`.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;

use aya_ebpf::macros::map;
use aya_ebpf::maps::{HashMap, PerCpuArray, RingBuf};
use tracer_common::filter::{RawFilter, RawFilterPair};
use tracer_common::layout::{ABSENT, Layout};
use tracer_common::prefilter::Kinds;
use tracer_common::stats::{HopCount, HopKey, KernelStats};

use crate::kernel::opaque;

/// A static that others write.
#[repr(transparent)]
pub(crate) struct Shared<T>(UnsafeCell<T>);

// SAFETY: only integers, read and written one by one; a torn pair costs a wrong match, never memory.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    #[inline(always)]
    pub(crate) const fn as_ptr(&self) -> *mut T {
        self.0.get()
    }
}

const LAYOUT_WORDS: usize = size_of::<Layout>() / 4;

/// A value that user space sets before load: never written afterwards.
#[repr(transparent)]
pub(crate) struct Constant<T>(T);

// SAFETY: read-only.
unsafe impl<T> Sync for Constant<T> {}

impl<T> Constant<T> {
    #[inline(always)]
    pub(crate) const fn as_ptr(&self) -> *const T {
        &raw const self.0
    }
}

impl Constant<u32> {
    #[inline(always)]
    pub(crate) fn get(&self) -> u32 {
        // SAFETY: a static word; volatile because user space sets it before load.
        unsafe { self.as_ptr().read_volatile() }
    }
}

#[unsafe(no_mangle)]
pub(crate) static LAYOUT: Constant<Layout> =
    // SAFETY: `Layout` is nothing but u32.
    Constant(unsafe {
        core::mem::transmute::<[u32; LAYOUT_WORDS], Layout>([ABSENT; LAYOUT_WORDS])
    });

#[unsafe(no_mangle)]
pub(crate) static SNAPLEN: Constant<u32> = Constant(128);

#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.filter")]
static FILTER: Shared<RawFilterPair> =
    // SAFETY: nothing but integers.
    Shared::new(unsafe {
        core::mem::transmute::<[u8; size_of::<RawFilterPair>()], RawFilterPair>(
            [0; size_of::<RawFilterPair>()],
        )
    });

#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(8 << 20, 0);

/// Not for each CPU: a flow is on few of them, and with a value for each there would be room for few flows.
#[map]
pub(crate) static HOPS: HashMap<HopKey, HopCount> = HashMap::with_max_entries(8192, 0);

#[map]
pub(crate) static HOPS_REST: HashMap<HopKey, HopCount> = HashMap::with_max_entries(4096, 0);

#[map]
pub(crate) static STATS: PerCpuArray<KernelStats> = PerCpuArray::with_max_entries(1, 0);

/// What is looked at for each packet, side by side.
#[repr(C, align(64))]
pub(crate) struct Hot {
    /// Whether any CPU ever cut a packet of ours into segments. See `tag::has_cut`.
    pub(crate) any_cut: u64,
    /// Generation of the filter under which something was learned, plus one.
    pub(crate) learned_for: u64,
    /// What was learned. Nothing is ever taken out: what is left of an earlier filter costs a look.
    pub(crate) learned: Kinds,
    /// Always zero, but the verifier cannot know.
    zero: u64,
}

pub(crate) static HOT: Shared<Hot> = Shared::new(Hot {
    any_cut: 0,
    learned_for: 0,
    learned: Kinds::NONE,
    zero: 0,
});

/// The same number, as one of which the verifier knows nothing: paths that differ in it become one.
#[inline(always)]
pub(crate) fn forget(value: u64) -> u64 {
    // SAFETY: a static.
    let zero = unsafe { (&raw const (*HOT.as_ptr()).zero).read_volatile() };
    // here, and not where the compiler needs it: behind a checkpoint it would come too late
    opaque(value ^ zero)
}

/// A value of zeros, of which the verifier does not know that they are: paths that fill it in and paths that do not
/// become one. Stored word by word: the compiler would call a function, and a program with functions of its own costs
/// old verifiers many times as much.
#[inline(always)]
pub(crate) fn clear<T>(value: &mut MaybeUninit<T>) -> &mut T {
    wipe(value);
    // SAFETY: all types here are integers, for which zero is a value.
    unsafe { value.assume_init_mut() }
}

/// The same for a value that there is.
#[inline(always)]
pub(crate) fn wipe<T>(value: &mut T) {
    const { assert!(size_of::<T>().is_multiple_of(4) && align_of::<T>() >= 4) };
    let words: *mut u32 = core::ptr::from_mut(value).cast();
    let zero = forget(0) as u32;
    for word in 0..size_of::<T>() / 4 {
        // SAFETY: inside `value`, whose words are integers.
        unsafe { words.add(word).write_volatile(zero) };
    }
}

/// [`forget`] for all words of `value`, which stays in memory.
#[inline(always)]
pub(crate) fn merge<T>(value: &mut T) {
    const { assert!(size_of::<T>().is_multiple_of(4) && align_of::<T>() >= 4) };
    let zero = forget(0) as u32;
    let words: *mut u32 = core::ptr::from_mut(value).cast();
    for word in 0..size_of::<T>() / 4 {
        // SAFETY: inside `value`, whose words are integers; they keep their values.
        unsafe {
            let word = words.add(word);
            word.write_volatile(word.read_volatile() ^ zero);
        }
    }
    crate::kernel::checkpoint();
}

/// The filter in force; `None` until user space has armed it.
#[inline(always)]
pub(crate) fn filter() -> Option<&'static RawFilter> {
    let pair = FILTER.as_ptr();
    // SAFETY: `pair` is a static of that type; user space writes only the slot that is not in force.
    unsafe {
        if (&raw const (*pair).armed).read_volatile() == 0 {
            return None;
        }
        let active = (&raw const (*pair).active).read_volatile() & 1;
        let slots = (&raw const (*pair).slots).cast::<RawFilter>();
        Some(&*slots.add(active as usize))
    }
}

/// Events that may be sent in a second.
#[inline(always)]
pub(crate) fn budget() -> u32 {
    // SAFETY: a word of a static, which user space may change at any time.
    unsafe { (&raw const (*FILTER.as_ptr()).budget).read_volatile() }
}

/// Adds to this CPU's statistics.
#[inline(always)]
pub(crate) fn stat(add: impl FnOnce(&mut KernelStats)) {
    if let Some(stats) = STATS.get_ptr_mut(0) {
        // SAFETY: this CPU's own entry; programs do not interrupt each other except in NMI, which none of our
        // tracepoints is.
        add(unsafe { &mut *stats });
    }
}

/// One of the per-hook counters of the statistics.
#[inline(always)]
pub(crate) fn count<const N: usize>(counters: &mut [u64; N], hook: u8) {
    if let Some(counter) = counters.get_mut(usize::from(hook)) {
        *counter += 1;
    }
}

/// Adds to a number that other CPUs add to.
///
/// # Safety
/// The number is in a map or a static, and aligned.
#[inline(always)]
pub(crate) unsafe fn atomic_add(number: *mut u64, value: u64) {
    // BPF has this instruction from its first version on; what `AtomicU64` needs beside it came later.
    // SAFETY: the caller's.
    unsafe {
        core::arch::asm!(
            "lock *(u64 *)({number} + 0) += {value}",
            number = in(reg) number,
            value = in(reg) value,
        );
    }
}
