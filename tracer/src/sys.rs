//! System calls that no safe crate offers: the one place of the user side where `unsafe` stands.
//!
//! Each function is a call and nothing more; what its bytes mean is the caller's business.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use libc::{c_int, socklen_t};

/// Which kind of namespace a descriptor refers to, as its `CLONE_NEW…` flag (`NS_GET_NSTYPE` of linux/nsfs.h).
///
/// # Errors
/// `ENOTTY` when it is no namespace.
pub(crate) fn namespace_type(fd: impl AsFd) -> io::Result<c_int> {
    // SAFETY: this request has no argument and touches no memory of ours; the descriptor is open while borrowed.
    let kind = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::NS_GET_NSTYPE) };
    if kind < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(kind)
}

/// A socket option of any length, read into `value`, whose first bytes may be an argument. How many bytes the
/// kernel wrote.
///
/// # Errors
/// What the kernel says.
pub(crate) fn socket_option(
    fd: impl AsFd,
    level: c_int,
    name: c_int,
    value: &mut [u8],
) -> io::Result<usize> {
    let mut length =
        socklen_t::try_from(value.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: `value` is writable for `length` bytes, which is all that the kernel may write, and it says in
    // `length` how many it wrote; any byte is a valid u8.
    let result = unsafe {
        libc::getsockopt(
            fd.as_fd().as_raw_fd(),
            level,
            name,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(length).unwrap_or(0).min(value.len()))
}
