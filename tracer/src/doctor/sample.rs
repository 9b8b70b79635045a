//! A few datagrams of our own, in a network namespace that nobody else has: what tracer says of them shows whether it works.
//!
//! They are sent by a process of their own. A trace finds namespaces by the processes in them, and leaves out those that
//! only a tracer's threads or descriptors have.

use std::io::{self, BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};

use crate::sys::raise_loopback;

/// Where they go: nobody else has a reason to use this address.
pub const ADDRESS: &str = "127.84.82.67";
/// The port.
pub const PORT: u16 = 4884;
/// How many are sent.
pub const DATAGRAMS: usize = 3;
/// The word by which this program becomes the sender.
pub const SENDER: &str = "doctor-sender";

/// A process in a namespace of its own, which sends when it is told to.
pub struct Sample {
    sender: Child,
    told: BufReader<ChildStdout>,
}

impl Sample {
    /// Starts it, and waits until its namespace is there.
    ///
    /// # Errors
    /// When it cannot be started, or says why it has no namespace.
    pub fn begin() -> io::Result<Self> {
        let mut sender = Command::new("/proc/self/exe")
            .arg(SENDER)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let output = sender.stdout.take();
        let output = output.ok_or_else(|| io::Error::other("it has no output"))?;
        let mut sample = Self {
            sender,
            told: BufReader::new(output),
        };
        match sample.line()?.as_str() {
            "ready" => Ok(sample),
            why => Err(io::Error::other(why.to_owned())),
        }
    }

    /// Sends, and says how many came. The namespace stays until this is dropped.
    ///
    /// # Errors
    /// What the sender says.
    pub fn send(&mut self) -> io::Result<usize> {
        let input = self.sender.stdin.as_mut();
        let input = input.ok_or_else(|| io::Error::other("it has no input"))?;
        input.write_all(b"send\n")?;
        let told = self.line()?;
        told.parse().map_err(|_| io::Error::other(told))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.told.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Sample {
    fn drop(&mut self) {
        // It ends with its input; it may have ended before.
        drop(self.sender.stdin.take());
        let _ = self.sender.wait();
    }
}

/// What the sender does: a line when its namespace is there, the datagrams when a line comes, a line with how many came,
/// and the end when its input ends.
///
/// # Errors
/// When its input or output breaks; what else goes wrong is a line of its output.
pub fn serve() -> io::Result<()> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout());
    let mut say = |result: io::Result<String>| {
        writeln!(
            output,
            "{}",
            result.unwrap_or_else(|error| error.to_string())
        )?;
        output.flush()
    };
    let (client, server) = match prepare() {
        Ok(sockets) => sockets,
        Err(error) => return say(Err(error)),
    };
    say(Ok("ready".to_owned()))?;
    let mut line = String::new();
    if input.read_line(&mut line)? > 0 {
        say(exchange(&client, &server).map(|came| came.to_string()))?;
        input.read_line(&mut line)?;
    }
    Ok(())
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
