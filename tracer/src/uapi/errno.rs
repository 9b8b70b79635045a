//! asm-generic/errno.h: error numbers, positive, and their names.

use nix::errno::Errno;

/// Nothing in this IPv4 table matched (fib_table_lookup, net/ipv4/fib_trie.c).
pub const EAGAIN: u32 = libc::EAGAIN.cast_unsigned();
/// A route or rule of the type `prohibit`.
pub const EACCES: u32 = libc::EACCES.cast_unsigned();
/// A route or rule of the type `blackhole`.
pub const EINVAL: u32 = libc::EINVAL.cast_unsigned();
/// No route.
pub const ENETUNREACH: u32 = libc::ENETUNREACH.cast_unsigned();
/// A route or rule of the type `unreachable`, and IPv6's null entry.
pub const EHOSTUNREACH: u32 = libc::EHOSTUNREACH.cast_unsigned();

/// The name of a positive or negative error number: `EHOSTUNREACH`; `None` where there is no such error.
#[must_use]
pub fn name(code: i64) -> Option<String> {
    let number = i32::try_from(code.unsigned_abs()).ok()?;
    match Errno::from_raw(number) {
        Errno::UnknownErrno => None,
        errno => Some(format!("{errno:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_their_names() {
        assert_eq!(name(113).as_deref(), Some("EHOSTUNREACH"));
        assert_eq!(name(-11).as_deref(), Some("EAGAIN"));
        assert_eq!(name(4095), None);
        assert_eq!(name(i64::MIN), None);
    }
}
