//! What runs in the pods of the cluster and busybox has not: a client that says what became of its question, and a
//! server of datagrams. Static and without dependencies, so that an image is this file and busybox.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::str::FromStr;
use std::thread::sleep;
use std::time::Duration;

const USAGE: &str = "\
pod ask tcp|udp ADDRESS PORT [SECONDS [TIMES [EVERY-MS [SOURCE-PORT]]]]   asks, and prints each answer or why there is none
pod serve PORT                                                            answers each datagram with the host's name";
/// Unless SECONDS says otherwise.
const PATIENCE: u64 = 2;

type Told<T> = Result<T, String>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["ask", kind @ ("tcp" | "udp"), address, port, more @ ..] => {
            Question::of(kind, address, port, more).map(|question| question.ask())
        }
        ["serve", port] => serve(port).map(|()| true),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

/// What to ask, and how often.
struct Question {
    udp: bool,
    server: SocketAddrV4,
    patience: Duration,
    times: u64,
    every: Duration,
    source: u16,
}

impl Question {
    fn of(kind: &str, address: &str, port: &str, more: &[&str]) -> Told<Self> {
        let number =
            |at: usize, otherwise: u64| more.get(at).map_or(Ok(otherwise), |word| parse(word));
        Ok(Self {
            udp: kind == "udp",
            server: SocketAddrV4::new(parse(address)?, parse(port)?),
            patience: Duration::from_secs(number(0, PATIENCE)?),
            times: number(1, 1)?,
            every: Duration::from_millis(number(2, 0)?),
            source: more.get(3).map_or(Ok(0), |word| parse(word))?,
        })
    }

    /// Whether all were answered.
    fn ask(&self) -> bool {
        let mut all = true;
        for time in 0..self.times {
            if time > 0 {
                sleep(self.every);
            }
            let answer = if self.udp {
                self.datagram()
            } else {
                self.request()
            };
            all &= answer.is_ok();
            println!(
                "{}",
                answer
                    .unwrap_or_else(|error| format!("no answer: {error}"))
                    .trim_end()
            );
        }
        all
    }

    fn request(&self) -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.server.into(), self.patience)?;
        stream.set_read_timeout(Some(self.patience))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        Ok(answer
            .split_once("\r\n\r\n")
            .map_or(&*answer, |(_, body)| body)
            .to_owned())
    }

    fn datagram(&self) -> std::io::Result<String> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, self.source))?;
        socket.connect(self.server)?;
        socket.set_read_timeout(Some(self.patience))?;
        socket.send(b"who?")?;
        let mut answer = [0; 512];
        let length = socket.recv(&mut answer)?;
        Ok(String::from_utf8_lossy(answer.get(..length).unwrap_or_default()).into_owned())
    }
}

fn serve(port: &str) -> Told<()> {
    let port: u16 = parse(port)?;
    let told = |error: std::io::Error| format!("port {port}: {error}");
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").map_err(told)?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).map_err(told)?;
    let mut question = [0; 512];
    loop {
        let (_, client) = socket.recv_from(&mut question).map_err(told)?;
        socket
            .send_to(name.trim_end().as_bytes(), client)
            .map_err(told)?;
    }
}

fn parse<T: FromStr>(word: &str) -> Told<T> {
    word.parse()
        .map_err(|_| format!("`{word}` is not understood; usage:\n{USAGE}"))
}
