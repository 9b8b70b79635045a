//! What keeps the compiler from optimisations that the kernel's verifier or its 512 bytes of stack do not bear.
//!
//! On the host nothing of it is needed: the default methods do nothing.

/// Fences for the compiler, free at run time.
pub trait Barrier {
    /// The same number, of which the compiler knows nothing: loops over it are not unrolled.
    #[inline(always)]
    #[must_use]
    fn opaque(value: u32) -> u32 {
        value
    }

    /// Keeps `value` in memory: its fields are not spread over registers, which spill to eight bytes each.
    #[inline(always)]
    fn pin<T>(value: &mut T) {
        let _ = value;
    }
}

/// The host.
impl Barrier for [u8] {}
