//! What keeps compiler and verifier apart: the kernel programs must be cheap to verify, and have 512 bytes of stack.
//!
//! On the host nothing of it is needed: the default methods do nothing.

/// Fences, free or nearly so at run time.
pub trait Barrier {
    /// The same number, of which the compiler knows nothing: arithmetic on it stays arithmetic (a comparison would
    /// be a branch, and each branch doubles the paths that the verifier walks), loops over it are not unrolled.
    #[inline(always)]
    #[must_use]
    fn opaque(value: u64) -> u64 {
        value
    }

    /// The same number, of which compiler and verifier know nothing: paths that differ in it become one.
    #[inline(always)]
    #[must_use]
    fn forget(value: u64) -> u64 {
        value
    }

    /// [`Barrier::forget`] for all words of `value`.
    #[inline(always)]
    fn merge<T>(value: &mut T) {
        let _ = value;
    }

    /// A place where paths become one that differ only in what was forgotten.
    #[inline(always)]
    fn meet() {}

    /// Keeps `value` in memory: its fields are not spread over registers, which spill to eight bytes each.
    #[inline(always)]
    fn pin<T>(value: &mut T) {
        let _ = value;
    }
}

/// The host.
impl Barrier for [u8] {}

/// The highest bit as 0 or 1. Opaque on both sides: a compiler that saw the shift would make a comparison of it.
#[inline(always)]
pub(crate) fn sign<B: Barrier + ?Sized>(value: u64) -> u64 {
    B::opaque(B::opaque(value) >> 63)
}

/// 1 for every number but zero, without a branch.
#[inline(always)]
pub(crate) fn is_some<B: Barrier + ?Sized>(value: u64) -> u64 {
    sign::<B>(value | value.wrapping_neg())
}

/// 1 for zero, without a branch.
#[inline(always)]
pub(crate) fn is_zero<B: Barrier + ?Sized>(value: u64) -> u64 {
    is_some::<B>(value) ^ 1
}
