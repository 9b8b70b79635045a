//! System calls that no safe crate offers: the one place of the user side where `unsafe` stands.
//!
//! Each function is a call and nothing more; what its bytes mean is the caller's business.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use libc::{c_int, socklen_t};
use nix::unistd::{ForkResult, Pid, fork};

/// Allocates as the system does, and ends the process with one line where there is no more memory: the standard library would
/// abort it, with a core dump.
#[derive(Clone, Copy, Debug)]
pub struct EndsWithoutMemory;

impl EndsWithoutMemory {
    fn checked(pointer: *mut u8) -> *mut u8 {
        if pointer.is_null() {
            let said = b"error: out of memory\r\nhint: allow it more memory (`ulimit -v`, memory of the container), or ask for fewer flows\r\n";
            // SAFETY: both are system calls on bytes that live for ever; nothing is allocated, and the second does not return.
            unsafe {
                libc::write(2, said.as_ptr().cast(), said.len());
                libc::_exit(1);
            }
        }
        pointer
    }
}

// SAFETY: every call goes to the system's allocator as it came, which keeps the contract; no null pointer comes back.
unsafe impl GlobalAlloc for EndsWithoutMemory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        Self::checked(unsafe { System.alloc(layout) })
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        Self::checked(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        Self::checked(unsafe { System.realloc(pointer, layout, size) })
    }
}

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

/// Sets the loopback interface of the calling thread's network namespace up.
///
/// # Errors
/// What the kernel says.
pub(crate) fn raise_loopback() -> io::Result<()> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: a structure of integers and addresses, for which zeros are values.
    let mut request = unsafe { std::mem::zeroed::<libc::ifreq>() };
    for (to, from) in request.ifr_name.iter_mut().zip(*b"lo") {
        // unsigned on some processors
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request reads the structure and keeps no pointer to it; the descriptor is open.
    let result = unsafe {
        libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS as libc::Ioctl,
            &raw const request,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Most programs that one place is asked for.
const MOST_PROGRAMS: usize = 64;

/// `union bpf_attr` of BPF_PROG_QUERY (include/uapi/linux/bpf.h), up to the last field that a kernel writes: `revision`,
/// from 6.6 on, and whatever size it is told (bpf_mprog_query in kernel/bpf/mprog.c). Kernels that do not know the last
/// four take them as long as they are zero (CHECK_ATTR in kernel/bpf/syscall.c).
#[repr(C)]
#[derive(Default)]
struct QueryAttr {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

const _: () = assert!(size_of::<QueryAttr>() == 64);

/// Ids of the programs that are attached to a cgroup (its directory's descriptor) or an interface (its number, in the
/// calling thread's namespace) itself: BPF_PROG_QUERY.
///
/// # Errors
/// What the kernel says; `EINVAL` also where it does not know the attach type.
pub(crate) fn bpf_attached(target: u32, attach_type: u32) -> io::Result<Vec<u32>> {
    const BPF_PROG_QUERY: libc::c_long = 16;
    let mut ids = [0u32; MOST_PROGRAMS];
    let mut attr = QueryAttr {
        target,
        attach_type,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: MOST_PROGRAMS as u32,
        ..QueryAttr::default()
    };
    // SAFETY: `attr` has all fields that the kernel writes, and is as long as it is said to be; `ids` outlives the call
    // and has room for `prog_cnt` ids. The kernel writes nowhere else: the other pointers are null.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_QUERY,
            &raw mut attr,
            size_of::<QueryAttr>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let count = usize::try_from(attr.prog_cnt).unwrap_or(0);
    Ok(ids.into_iter().take(count).collect())
}

/// `union bpf_attr` of the batch commands (include/uapi/linux/bpf.h).
#[repr(C)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Reads the next entries of a BPF hash map from the place `from` on (`None`: its begin) into `keys` and `values`, whose
/// items are as long as those of the map (BPF_MAP_LOOKUP_BATCH, since 5.6). How many were read, and the place behind them;
/// `None` at the end.
///
/// # Errors
/// What the kernel says; `ENOSPC` where there is no room for the entries of one bucket.
pub(crate) fn bpf_read_batch<const K: usize, const V: usize>(
    map: impl AsFd,
    from: Option<u32>,
    keys: &mut [[u8; K]],
    values: &mut [[u8; V]],
) -> io::Result<(usize, Option<u32>)> {
    const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
    let (place, mut next) = (from.unwrap_or_default(), 0u32);
    let room = u32::try_from(keys.len().min(values.len())).unwrap_or(u32::MAX);
    let mut attr = BatchAttr {
        in_batch: from.map_or(0, |_| (&raw const place) as u64),
        out_batch: (&raw mut next) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: room,
        map_fd: u32::try_from(map.as_fd().as_raw_fd()).unwrap_or(u32::MAX),
        elem_flags: 0,
        flags: 0,
    };
    // SAFETY: `attr` is the command's own structure, as long as it is said to be. The kernel writes at most `count` keys and
    // values of the map's sizes, for which the caller's items have room, and one u32 that says where it stopped; all of
    // them outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_LOOKUP_BATCH,
            &raw mut attr,
            size_of::<BatchAttr>(),
        )
    };
    let count = usize::try_from(attr.count).unwrap_or(0);
    if result == 0 {
        return Ok((count, Some(next)));
    }
    match io::Error::last_os_error() {
        // the end; the last entries came with it
        error if error.raw_os_error() == Some(libc::ENOENT) => Ok((count, None)),
        error => Err(error),
    }
}

/// Takes an entry out of a BPF hash map (BPF_MAP_DELETE_ELEM).
///
/// # Errors
/// What the kernel says; `ENOENT` where there is none.
pub(crate) fn bpf_delete(map: impl AsFd, key: &[u8]) -> io::Result<()> {
    const BPF_MAP_DELETE_ELEM: libc::c_long = 3;
    #[repr(C)]
    struct ElementAttr {
        map_fd: u32,
        padding: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    let mut attr = ElementAttr {
        map_fd: u32::try_from(map.as_fd().as_raw_fd()).unwrap_or(u32::MAX),
        padding: 0,
        key: key.as_ptr() as u64,
        value: 0,
        flags: 0,
    };
    // SAFETY: `attr` is the command's own structure, as long as it is said to be. The kernel reads a key of the map's size: the
    // only caller's keys are those of its maps.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_DELETE_ELEM,
            &raw mut attr,
            size_of::<ElementAttr>(),
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Starts a child process that waits until the other end of the pipe `wait` is closed everywhere, writes `value` to the
/// begin of `file` and ends. It keeps no other descriptor and heeds no signal but SIGKILL.
///
/// # Errors
/// When there can be no further process.
pub(crate) fn write_when_closed(wait: impl AsFd, file: impl AsFd, value: &[u8]) -> io::Result<Pid> {
    let (wait, file) = (wait.as_fd().as_raw_fd(), file.as_fd().as_raw_fd());
    // SAFETY: other threads' locks may be held for ever in the child: it makes system calls only, on descriptors and
    // bytes that were made before, allocates nothing and never returns.
    unsafe {
        if let ForkResult::Parent { child } = fork()? {
            return Ok(child);
        }
        let mut all = std::mem::zeroed::<libc::sigset_t>();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
        // Both are moved up before they are put at 0 and 1, which one of them may be.
        let wait = libc::fcntl(wait, libc::F_DUPFD, 3);
        let file = libc::fcntl(file, libc::F_DUPFD, 3);
        libc::dup2(wait, 0);
        libc::dup2(file, 1);
        // Above all this process's own copy of the pipe's other end must go. Before 5.9 there is no close_range.
        if libc::syscall(libc::SYS_close_range, 2, u32::MAX, 0) != 0 {
            let limit = libc::sysconf(libc::_SC_OPEN_MAX);
            for fd in 2..c_int::try_from(limit).unwrap_or(1024) {
                libc::close(fd);
            }
        }
        let mut byte = 0u8;
        libc::read(0, (&raw mut byte).cast(), 1);
        libc::lseek(1, 0, libc::SEEK_SET);
        libc::write(1, value.as_ptr().cast(), value.len());
        libc::_exit(0)
    }
}
