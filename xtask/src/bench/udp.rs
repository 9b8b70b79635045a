//! UDP packets: many with each system call, as many as asked for and no longer than asked for.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::Pid;

use super::network::{RECEIVER, inside};

/// The receiver's port.
pub(super) const PORT: u16 = 9000;
/// Bytes of data: with the headers of UDP, IPv4 and Ethernet, a packet of 64 bytes.
const DATA: usize = 22;
/// Most packets of one system call.
pub(super) const BATCH: usize = 50;
/// Bytes that the receiver's socket has room for: of the kernel's count, which is some 800 for a small packet.
const ROOM: usize = 64 << 20;

/// Of a reader that has read all there was: it neither waits for each packet nor takes a whole processor.
const LULL: Duration = Duration::from_micros(500);

/// Priority of threads that move packets.
const NICE: libc::c_int = -15;

/// When to end, and how fast to be.
#[derive(Clone, Copy)]
pub(super) struct Flood {
    /// Packets at most.
    pub(super) packets: u64,
    /// Time at most.
    pub(super) time: Duration,
    /// Packets of one system call, 50 at most.
    pub(super) batch: usize,
    /// Between two system calls.
    pub(super) pause: Duration,
}

/// What was sent.
pub(super) struct Sent {
    /// Packets that the kernel took.
    pub(super) packets: u64,
    /// Time that it took.
    pub(super) time: Duration,
}

impl Flood {
    /// Sends from the sender to these addresses in turn.
    pub(super) fn to(self, addresses: &[Ipv4Addr]) -> Result<Sent> {
        let socket = inside("sender", || UdpSocket::bind("0.0.0.0:0"))??;
        self.send(&socket, Batch::new(addresses.iter().copied().map(Some)))
    }

    /// Sends to the receiver, over a connected socket: the sender looks for no route.
    pub(super) fn to_receiver(self) -> Result<Sent> {
        let socket = inside("sender", || {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect((RECEIVER, PORT)).map(|()| socket)
        })??;
        self.send(&socket, Batch::new([None; BATCH]))
    }

    /// From a thread of its own, which stays on one processor.
    fn send(self, socket: &UdpSocket, mut batch: Batch) -> Result<Sent> {
        thread::scope(|scope| {
            let sender = scope.spawn(move || self.work(socket.as_raw_fd(), &mut batch));
            sender.join().map_err(|_| anyhow!("the sender panicked"))?
        })
    }

    fn work(self, socket: RawFd, batch: &mut Batch) -> Result<Sent> {
        pin(0);
        let start = Instant::now();
        let (mut packets, mut place) = (0, 0);
        while packets < self.packets && start.elapsed() < self.time {
            let most = self.batch.min(usize::try_from(self.packets - packets)?);
            let sent = batch.send(socket, place, most).context("cannot send")?;
            packets += u64::try_from(sent)?;
            place = (place + sent) % batch.headers.len();
            if !self.pause.is_zero() {
                thread::sleep(self.pause);
            }
        }
        let time = start.elapsed();
        Ok(Sent { packets, time })
    }
}

/// A socket of the receiver.
pub(super) struct Sink {
    stop: Arc<AtomicBool>,
    packets: Arc<AtomicU64>,
    reader: Option<JoinHandle<()>>,
}

impl Sink {
    /// Reads all that comes, until it is asked for the number or dropped.
    pub(super) fn reading() -> Result<Self> {
        let socket = receiver()?;
        setsockopt(&socket, sockopt::RcvBufForce, &ROOM)?;
        let (stop, packets) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&packets));
        let reader = thread::spawn(move || {
            pin(1);
            let mut batch = Batch::new([None; BATCH]);
            while !stopped.load(Ordering::Relaxed) {
                let read = batch.receive(socket.as_raw_fd()).unwrap_or_default();
                counted.fetch_add(read, Ordering::Relaxed);
                if read < BATCH as u64 {
                    thread::sleep(LULL);
                }
            }
        });
        Ok(Self {
            stop,
            packets,
            reader: Some(reader),
        })
    }

    /// Packets that were read, once this many are, or after a second.
    pub(super) fn read(&self, expected: u64) -> u64 {
        let end = Instant::now() + Duration::from_secs(1);
        loop {
            let packets = self.packets.load(Ordering::Relaxed);
            if packets >= expected || Instant::now() > end {
                return packets;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.reader.take().map(JoinHandle::join);
    }
}

/// A socket at the receiver that is not read: what finds its buffer full is dropped.
pub(super) fn receiver() -> Result<UdpSocket> {
    Ok(inside("receiver", || UdpSocket::bind(("0.0.0.0", PORT)))??)
}

/// Reads what lies in a socket's buffer.
pub(super) fn waiting(socket: &UdpSocket) -> Result<u64> {
    let mut batch = Batch::new([None; BATCH]);
    let mut packets = 0;
    loop {
        match batch.receive(socket.as_raw_fd()) {
            Ok(read) => packets += read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(packets),
            Err(error) => return Err(error).context("cannot read a socket"),
        }
    }
}

/// Keeps this thread on one processor, where there is one of that number, and lets it run [`first`].
pub(super) fn pin(processor: usize) {
    let mut set = CpuSet::new();
    let _ = set
        .set(processor)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
    first();
}

/// Lets this thread run before other processes, as the kernel does with packets that come from a wire.
pub(super) fn first() {
    // SAFETY: no memory is involved. The kernel takes the 0 for the calling thread.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
}

/// An address for the kernel.
fn name(address: Ipv4Addr) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: PORT.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(address).to_be(),
        },
        sin_zero: [0; 8],
    }
}

/// Headers for sendmmsg(2) and recvmmsg(2), filled once. Their pointers lead into the other fields, which are neither
/// changed nor moved.
struct Batch {
    headers: Vec<libc::mmsghdr>,
    #[expect(dead_code, reason = "`headers` points here")]
    memory: (Vec<Option<libc::sockaddr_in>>, Vec<libc::iovec>, Vec<u8>),
}

// SAFETY: the pointers lead to memory on the heap that is this value's own.
unsafe impl Send for Batch {}

impl Batch {
    /// Headers to these addresses, or to where a socket is connected to.
    fn new(addresses: impl IntoIterator<Item = Option<Ipv4Addr>>) -> Self {
        let mut names: Vec<_> = addresses.into_iter().map(|to| to.map(name)).collect();
        let mut data = vec![b'x'; DATA];
        let part = libc::iovec {
            iov_base: data.as_mut_ptr().cast(),
            iov_len: data.len(),
        };
        let mut parts = vec![part; names.len()];
        let headers = names
            .iter_mut()
            .zip(&mut parts)
            .map(|(name, part)| {
                // SAFETY: zeros are a valid mmsghdr.
                let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
                if let Some(name) = name {
                    header.msg_hdr.msg_name = (&raw mut *name).cast();
                    header.msg_hdr.msg_namelen = size_of_val(name) as libc::socklen_t;
                }
                header.msg_hdr.msg_iov = &raw mut *part;
                header.msg_hdr.msg_iovlen = 1;
                header
            })
            .collect();
        Self {
            headers,
            memory: (names, parts, data),
        }
    }

    /// Sends some from a place on; gives how many the kernel took, none where it has no room now.
    fn send(&mut self, socket: RawFd, place: usize, most: usize) -> io::Result<usize> {
        let rest = self.headers.get_mut(place..).unwrap_or_default();
        let count = u32::try_from(rest.len().min(most)).unwrap_or(u32::MAX);
        // SAFETY: so many headers are there, with the memory that they point to.
        let sent = unsafe { libc::sendmmsg(socket, rest.as_mut_ptr(), count, 0) };
        match usize::try_from(sent) {
            Ok(sent) => Ok(sent),
            Err(_) => match io::Error::last_os_error() {
                full if full.raw_os_error() == Some(libc::ENOBUFS) => Ok(0),
                error => Err(error),
            },
        }
    }

    /// Reads what is there.
    fn receive(&mut self, socket: RawFd) -> io::Result<u64> {
        let count = u32::try_from(self.headers.len()).unwrap_or(u32::MAX);
        // SAFETY: so many headers are there; all packets are written to the same bytes, which nobody reads.
        let read = unsafe {
            libc::recvmmsg(
                socket,
                self.headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        u64::try_from(read).map_err(|_| io::Error::last_os_error())
    }
}
