//! A packet socket on one interface: frames as they are on the wire.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// A socket that sends and gets whole frames at one interface.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl PacketSocket {
    /// A socket at an interface of the calling thread's namespace.
    ///
    /// # Errors
    /// No rights, or there is no such interface.
    pub fn open(ifindex: u32) -> io::Result<Self> {
        let all = (libc::ETH_P_ALL as u16).to_be();
        // SAFETY: no pointers.
        let number = unsafe {
            libc::socket(
                libc::AF_PACKET,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC,
                i32::from(all),
            )
        };
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made it for us.
        let socket = unsafe { OwnedFd::from_raw_fd(number) };
        // SAFETY: all zeros is a valid address.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = all;
        address.sll_ifindex = i32::try_from(ifindex).map_err(io::Error::other)?;
        let length = u32::try_from(size_of::<libc::sockaddr_ll>()).map_err(io::Error::other)?;
        // SAFETY: the address lives through the call and has the length that is told.
        let bound = unsafe {
            libc::bind(
                number,
                (&raw const address).cast::<libc::sockaddr>(),
                length,
            )
        };
        if bound < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            socket,
            buffer: vec![0; 2048],
        })
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// The interface is down.
    pub fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        nix::unistd::write(&self.socket, frame)?;
        Ok(())
    }

    /// The next frame, one's own too; `None` when none comes in time.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn receive(&mut self, patience: Duration) -> io::Result<Option<Vec<u8>>> {
        let wait = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
        let mut poll = libc::pollfd {
            fd: self.socket.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one entry, which lives through the call.
        let ready = unsafe { libc::poll(&raw mut poll, 1, wait) };
        match ready {
            0 => Ok(None),
            1 => {
                let length = nix::unistd::read(&self.socket, &mut self.buffer)?;
                Ok(self.buffer.get(..length).map(<[u8]>::to_vec))
            }
            _ => Err(io::Error::last_os_error()),
        }
    }
}
