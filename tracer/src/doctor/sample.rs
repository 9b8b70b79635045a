//! A few datagrams of our own, in a network namespace that nobody else has: what tracer says of them shows whether it works.

use std::io;
use std::net::UdpSocket;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};

use crate::sys::raise_loopback;

/// Where they go: nobody else has a reason to use this address.
pub const ADDRESS: &str = "127.84.82.67";
/// The port.
pub const PORT: u16 = 4884;
/// How many are sent.
pub const DATAGRAMS: usize = 3;

/// A thread in a namespace of its own, which sends when it is told to.
pub struct Sample {
    go: Sender<()>,
    /// Why there is none, or how many came.
    done: Receiver<io::Result<usize>>,
}

impl Sample {
    /// Makes the namespace.
    ///
    /// # Errors
    /// When there can be no thread, or no namespace.
    pub fn begin() -> io::Result<Self> {
        let (go, told) = channel();
        let (tell, done) = channel();
        let (ready, began) = channel();
        thread::Builder::new()
            .name("tracer-sample".to_owned())
            .spawn(move || {
                let sockets = prepare();
                let failed = sockets
                    .as_ref()
                    .err()
                    .map(|e| io::Error::new(e.kind(), e.to_string()));
                let _ = ready.send(failed.map_or(Ok(()), Err));
                // The namespace lives as long as this thread.
                if let (Ok((client, server)), Ok(())) = (sockets, told.recv()) {
                    let _ = tell.send(exchange(&client, &server));
                    let _ = told.recv();
                }
            })?;
        began.recv().map_err(io::Error::other)??;
        Ok(Self { go, done })
    }

    /// Sends, and says how many came. The namespace stays until this is dropped.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn send(&self) -> io::Result<usize> {
        self.go.send(()).map_err(io::Error::other)?;
        self.done.recv().map_err(io::Error::other)?
    }
}

fn prepare() -> io::Result<(UdpSocket, UdpSocket)> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    raise_loopback()?;
    let server = UdpSocket::bind((ADDRESS, PORT))?;
    server.set_read_timeout(Some(Duration::from_secs(1)))?;
    let client = UdpSocket::bind(("127.0.0.1", 0))?;
    Ok((client, server))
}

fn exchange(client: &UdpSocket, server: &UdpSocket) -> io::Result<usize> {
    let mut came = 0;
    for _ in 0..DATAGRAMS {
        client.send_to(b"tracer doctor", (ADDRESS, PORT))?;
        let mut room = [0; 64];
        came += usize::from(server.recv(&mut room).is_ok());
    }
    Ok(came)
}
