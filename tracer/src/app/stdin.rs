//! `--until-eof`: a trace that another program started ends when that one closes its standard input, or is gone. Until then
//! that program can say, in lines, what is to be followed too:
//!
//! ```text
//! also tcp and dst host 10.244.2.5 and dst port 8080
//! ```
//! Empty lines say nothing. A line that is not understood is refused with a message; the trace goes on as it was.

use std::future::pending;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::thread;

use tokio::sync::mpsc;

use super::say;
use crate::error::{Error, printable};
use crate::filter::{Compiled, Request, compile};

/// Longest line; more of it is no line.
const LINE: u64 = 4096;
/// Lines that wait for the loop.
const WAITING: usize = 64;

/// What the standard input says.
#[derive(Debug)]
pub(super) enum Told {
    /// Follow this too.
    Also(Box<Compiled>),
    /// It ended.
    End,
}

/// The standard input.
pub(super) struct Stdin(Option<mpsc::Receiver<Told>>);

impl Stdin {
    /// Reads it in a thread of its own.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub(super) fn listen(wanted: bool, one_way: bool) -> Result<Self, Error> {
        if !wanted {
            return Ok(Self(None));
        }
        let (send, receive) = mpsc::channel(WAITING);
        let listen = move || {
            // The trace may be over: then nobody wants to know.
            let tell = |told| send.blocking_send(told).is_ok();
            let refuse = |why: &str| {
                say!("tracer: standard input: {why}");
            };
            if read(io::stdin(), one_way, tell, refuse) {
                let _ = send.blocking_send(Told::End);
            } else {
                say!(
                    "tracer: the standard input is not connected: the trace will not end with it (kubectl exec and docker exec need -i)"
                );
            }
        };
        thread::Builder::new()
            .name("stdin".into())
            .spawn(listen)
            .map_err(Error::no_thread)?;
        Ok(Self(Some(receive)))
    }

    /// What it says next; never comes where it says nothing.
    pub(super) async fn next(&mut self) -> Told {
        if let Some(receiver) = &mut self.0 {
            if let Some(told) = receiver.recv().await {
                return told;
            }
            self.0 = None;
        }
        pending().await
    }
}

/// Reads lines to the end. Whether there was something before it: an input that is empty is nobody's.
fn read(
    input: impl Read,
    one_way: bool,
    mut tell: impl FnMut(Told) -> bool,
    mut refuse: impl FnMut(&str),
) -> bool {
    let mut lines = BufReader::new(input);
    let mut line = Vec::new();
    let mut connected = false;
    loop {
        line.clear();
        let got = lines.by_ref().take(LINE).read_until(b'\n', &mut line);
        if !got.is_ok_and(|got| got > 0) {
            return connected;
        }
        connected = true;
        if line.len() as u64 == LINE && !line.ends_with(b"\n") {
            // what follows up to the next line belongs to it
            let rest = lines.skip_until(b'\n');
            refuse(&format!(
                "a line of more than {LINE} bytes was refused: send `also EXPRESSION`"
            ));
            if rest.is_err() {
                return connected;
            }
            continue;
        }
        let text = String::from_utf8_lossy(&line);
        match parse(text.trim(), one_way) {
            Ok(Some(told)) => {
                if !tell(told) {
                    return connected;
                }
            }
            Ok(None) => {}
            Err(why) => refuse(&why),
        }
    }
}

/// One line; `None` for an empty one.
fn parse(line: &str, one_way: bool) -> Result<Option<Told>, String> {
    if line.is_empty() {
        return Ok(None);
    }
    let refused = |why: &str| format!("`{}` was refused: {why}", printable(line));
    let expr = line
        .strip_prefix("also ")
        .map(str::trim)
        .filter(|expr| !expr.is_empty())
        .ok_or_else(|| refused("this is not `also EXPRESSION`"))?;
    let request = Request {
        expr: expr.to_owned(),
        one_way,
        ..Request::default()
    };
    compile(&request)
        .map(|compiled| Some(Told::Also(Box::new(compiled))))
        .map_err(|error| refused(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::{LINE, Told, read};

    /// What was understood, what was refused, and whether somebody is there.
    fn told(input: &[u8]) -> (Vec<String>, Vec<String>, bool) {
        let (mut said, mut refused) = (Vec::new(), Vec::new());
        let connected = read(
            input,
            false,
            |told| {
                said.push(match told {
                    Told::Also(compiled) => compiled.expression,
                    Told::End => "end".to_owned(),
                });
                true
            },
            |why| refused.push(why.to_owned()),
        );
        (said, refused, connected)
    }

    #[test]
    fn an_input_without_anything_is_not_connected() {
        assert!(!told(b"").2);
        assert_eq!(told(b"\n"), (Vec::new(), Vec::new(), true));
    }

    #[test]
    fn lines_add_expressions_and_bad_ones_lose_nothing() {
        let long = format!("also {}", "x".repeat(2 * LINE as usize));
        let input = format!(
            "\nalso udp and dst host 10.0.0.1\nalso\nudp\nalso port\n\x1b[2J\n{long}\n\nalso  tcp \n"
        );
        let (said, refused, connected) = told(input.as_bytes());
        assert_eq!(said, ["udp and dst host 10.0.0.1", "tcp"]);
        insta::assert_snapshot!(refused.join("\n"));
        assert!(connected);
    }

    #[test]
    fn a_line_that_is_cut_off_counts_as_one() {
        assert_eq!(told(b"also udp").0, ["udp"]);
        assert_eq!(told(&[0xff, 0xfe, b'\n']).1.len(), 1);
    }
}
