//! TCP between sender and receiver for a time: bytes of one connection, or connections.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::sys::socket;

use super::network::{RECEIVER, inside};
use super::udp::{first, pin};

/// Bytes of one write.
const CHUNK: usize = 128 << 10;
/// Clients that connect at the same time: enough that no processor waits.
const CLIENTS: usize = 4;
/// A client that waits longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes a second that the receiver gets over one connection.
pub(super) fn bulk(time: Duration) -> Result<f64> {
    let (listener, address) = listen()?;
    let mut client = inside("sender", || TcpStream::connect_timeout(&address, PATIENCE))??;
    client.set_write_timeout(Some(PATIENCE))?;
    let (mut server, _) = listener.accept()?;
    server.set_read_timeout(Some(PATIENCE))?;
    thread::scope(|scope| {
        let reader = scope.spawn(move || -> Result<f64> {
            pin(1);
            let mut buffer = vec![0; CHUNK];
            let (start, mut bytes) = (Instant::now(), 0);
            loop {
                match server.read(&mut buffer)? {
                    0 => return Ok(bytes as f64 / start.elapsed().as_secs_f64()),
                    read => bytes += read,
                }
            }
        });
        let writer = scope.spawn(move || -> Result<()> {
            pin(0);
            let (start, data) = (Instant::now(), vec![7; CHUNK]);
            while start.elapsed() < time {
                client.write_all(&data)?;
            }
            Ok(client.shutdown(Shutdown::Write)?)
        });
        writer
            .join()
            .map_err(|_| anyhow!("the writer panicked"))??;
        reader.join().map_err(|_| anyhow!("the reader panicked"))?
    })
}

/// Connections a second that are made, accepted and closed by both.
pub(super) fn connections(time: Duration) -> Result<f64> {
    let pairs = (0..CLIENTS).map(|_| thread::spawn(move || pair(time)));
    let pairs: Vec<_> = pairs.collect();
    let made = pairs
        .into_iter()
        .map(|pair| pair.join().map_err(|_| anyhow!("a client panicked"))?);
    made.sum()
}

/// A server and its client. Each has a port of its own: no connection has the addresses and ports of one that is in
/// TIME_WAIT.
fn pair(time: Duration) -> Result<f64> {
    let (listener, address) = listen()?;
    thread::scope(|scope| {
        // The server closes first.
        scope.spawn(|| {
            first();
            listener.incoming().map_while(Result::ok).for_each(drop);
        });
        let made = inside("sender", || connect(address, time));
        // accept(2) fails from here on.
        socket::shutdown(listener.as_raw_fd(), socket::Shutdown::Both)?;
        made?
    })
}

/// One client's connections a second.
fn connect(address: SocketAddr, time: Duration) -> Result<f64> {
    first();
    let (start, mut made) = (Instant::now(), 0);
    while start.elapsed() < time {
        let mut connection =
            TcpStream::connect_timeout(&address, PATIENCE).context("cannot connect")?;
        connection.set_read_timeout(Some(PATIENCE))?;
        connection.read_to_end(&mut Vec::new())?;
        made += 1;
    }
    Ok(f64::from(made) / start.elapsed().as_secs_f64())
}

/// A port that no earlier measurement had: what that left in TIME_WAIT is in nobody's way.
fn listen() -> Result<(TcpListener, SocketAddr)> {
    let listener = inside("receiver", || TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
    let port = listener.local_addr()?.port();
    Ok((listener, SocketAddr::from((RECEIVER, port))))
}
