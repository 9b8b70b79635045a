//! The full screen of the real binary, on a pseudo-terminal, following a live network of namespaces: driven by keys,
//! resized, ended by a key and by a signal. A terminal emulator reads what it draws.
//!
//! Needs root; without it each test says so and ends. Nothing is measured: every step waits for what the screen must
//! show, and fails with the screen when it never does.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a setup that fails is a test that fails"
)]

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;
use tests::alone::{Running, alone, tracer};
use tracer::tui::terminal::Screen;

/// Longest wait for something that the screen must show.
const PATIENCE: Duration = Duration::from_secs(60);
/// Set for a child process that is to panic.
const CHILD: &str = "TRACER_TEST_PANIC";
/// What takes the terminal over, and what gives it back (xterm's control sequences).
const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";
const SHOW_CURSOR: &str = "\x1b[?25h";
const MOUSE_OFF: &str = "\x1b[?1000l";

/// Runs a test in namespaces of its own, with a router that drops what it should forward.
fn isolated(test: fn()) {
    tracer().unwrap();
    alone(test).unwrap();
}

fn sh(script: &str) {
    let status = Command::new("sh").args(["-euc", script]).status().unwrap();
    assert!(status.success(), "{script}");
}

/// A client, a router that does not forward, a server: what the client sends is lost in the router.
fn network() {
    sh(
        "for ns in tuit-a tuit-r tuit-b; do ip netns add $ns; ip -n $ns link set lo up; done
        ip link add eth0 netns tuit-a type veth peer name left netns tuit-r
        ip link add eth0 netns tuit-b type veth peer name right netns tuit-r
        ip -n tuit-a addr add 10.199.1.2/24 dev eth0; ip -n tuit-a link set eth0 up
        ip -n tuit-b addr add 10.199.2.2/24 dev eth0; ip -n tuit-b link set eth0 up
        ip -n tuit-r addr add 10.199.1.1/24 dev left; ip -n tuit-r link set left up
        ip -n tuit-r addr add 10.199.2.1/24 dev right; ip -n tuit-r link set right up
        ip -n tuit-a route add default via 10.199.1.1
        ip -n tuit-b route add default via 10.199.2.1
        ip netns exec tuit-r sysctl -qw net.ipv4.ip_forward=0",
    );
}

fn cells(count: u16) -> NonZero<u16> {
    NonZero::new(count).unwrap()
}

/// A ping that goes on until it is dropped.
fn ping(to: &str) -> Running {
    let arguments = ["netns", "exec", "tuit-a", "ping", "-n", "-i", "0.1", to];
    let ping = Command::new("ip")
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Running(ping.unwrap())
}

/// tracer on a terminal, and what the terminal shows.
struct Terminal {
    child: Child,
    /// Kept open: its settings are looked at when tracer has ended.
    line: OwnedFd,
    keys: File,
    output: Receiver<Vec<u8>>,
    /// Everything that was written.
    raw: Vec<u8>,
    screen: vt100::Parser,
}

impl Terminal {
    fn start(arguments: &[&str], term: Option<&str>, size: (u16, u16)) -> Self {
        let mut command = Command::new(tracer().unwrap());
        command.current_dir("/run");
        command.args(arguments);
        Self::of(command, term, size)
    }

    /// Another program on a terminal.
    fn of(mut command: Command, term: Option<&str>, (rows, columns): (u16, u16)) -> Self {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let OpenptyResult { master, slave } = openpty(&size, None).unwrap();
        command
            .env_remove("TERM")
            .env_remove("NO_COLOR")
            .env("LANG", "C.UTF-8")
            .env("XDG_CONFIG_HOME", "/nonexistent")
            .stdin(slave.try_clone().unwrap())
            .stdout(slave.try_clone().unwrap())
            .stderr(slave.try_clone().unwrap());
        command.envs(term.map(|term| ("TERM", term)));
        let child = command.spawn().unwrap();
        let mut reader = File::from(master.try_clone().unwrap());
        let (send, output) = mpsc::channel();
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut chunk) {
                let read = chunk.get(..length).unwrap_or_default().to_vec();
                if send.send(read).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            line: slave,
            keys: File::from(master),
            output,
            raw: Vec::new(),
            screen: vt100::Parser::new(cells(rows), cells(columns), 0),
        }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Moves the mouse onto a text and does something there: 0 presses its left button, 64 and 65 turn the wheel up and down
    /// (xterm's SGR mouse reports).
    fn mouse(&mut self, button: u8, text: &str) {
        // What is read may end within a frame.
        self.until_shown(text);
        let shown = self.shown();
        let (row, line) = (1..)
            .zip(shown.lines())
            .find(|(_, line)| line.contains(text))
            .unwrap();
        let before = line.split(text).next().unwrap_or_default();
        let column = before.chars().count() + 1;
        self.press(&format!(
            "\x1b[<{button};{column};{row}M\x1b[<{button};{column};{row}m"
        ));
    }

    fn resize(&mut self, rows: u16, columns: u16) {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        self.screen
            .screen_mut()
            .set_size(cells(rows), cells(columns));
        // SAFETY: the descriptor is open and the kernel only reads the size.
        let done = unsafe { libc::ioctl(self.keys.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
        assert_eq!(done, 0);
        // The terminal is not the controlling one of tracer: a shell's kernel would send this.
        kill(self.pid(), Signal::SIGWINCH).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }

    fn shown(&self) -> String {
        self.screen.screen().contents()
    }

    fn written(&self) -> String {
        String::from_utf8_lossy(&self.raw).into_owned()
    }

    /// Reads until the screen is as it must be.
    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            match self
                .output
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(bytes) => {
                    self.screen.process(&bytes);
                    self.raw.extend(bytes);
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("the screen never showed {what}:\n{}", self.shown())
                }
            }
        }
    }

    fn until_shown(&mut self, text: &str) {
        self.until(text, |terminal| terminal.shown().contains(text));
    }

    /// Escape, and nothing more before it was answered: keys that follow at once would be one sequence with it.
    fn escape(&mut self, from: &str) {
        assert!(self.shown().contains(from), "{}", self.shown());
        self.press("\x1b");
        self.until(&format!("a page without {from}"), |terminal| {
            !terminal.shown().contains(from)
        });
    }

    /// Waits for tracer's end; gives what it wrote after the terminal was given back. Its settings are those of a shell.
    fn end(mut self, status: i32) -> String {
        let ended = self.child.wait().unwrap();
        assert_eq!(ended.code(), Some(status), "{}", self.shown());
        while let Ok(bytes) = self.output.recv_timeout(Duration::from_millis(200)) {
            self.raw.extend(bytes);
        }
        let flags = tcgetattr(&self.line).unwrap().local_flags;
        assert!(flags.contains(LocalFlags::ICANON | LocalFlags::ECHO));
        let written = self.written();
        let (screen, after) = written.rsplit_once(LEAVE).unwrap();
        assert!(written.contains(SHOW_CURSOR));
        assert!(screen.contains(MOUSE_OFF));
        after.to_owned()
    }
}

#[test]
fn a_person_watches_a_drop_looks_around_and_leaves() {
    isolated(|| {
        network();
        let _ping = ping("10.199.2.2");
        let arguments = ["--netns", "tuit-a", "--netns", "tuit-r", "icmp"];
        let mut terminal = Terminal::start(&arguments, Some("xterm-256color"), (30, 100));
        terminal.until_shown("LIVE");
        terminal.until_shown("route.forwarding-disabled");
        terminal.until_shown("left");
        let shown = terminal.shown();
        assert!(shown.contains("DROPPED"), "{shown}");
        assert!(shown.contains("sysctl"), "{shown}");

        for (key, text) in [
            ("2", "tuple and headers"),
            ("3", "cause, place"),
            ("4", "tuit-r"),
            ("5", "sysctl"),
            ("6", "following"),
            ("\t", "p50"),
            ("?", "keys (esc closes)"),
        ] {
            terminal.press(key);
            terminal.until_shown(text);
        }
        terminal.escape("keys (esc closes)");
        for (key, text) in [("e", "evidence and advice"), ("e", "p50"), ("j\r", "hop 1")] {
            terminal.press(key);
            terminal.until_shown(text);
        }
        terminal.escape("hop 1");
        for (key, text) in [
            (" ", "HELD"),
            (" ", "LIVE"),
            ("c", "copied: "),
            ("r", "counting from zero"),
        ] {
            terminal.press(key);
            terminal.until_shown(text);
        }
        // the mouse: a view by its title, a row, the same row again opens it, the wheel goes on
        terminal.mouse(0, "4 interfaces");
        terminal.until_shown("tuit-r");
        terminal.mouse(0, "1 path");
        terminal.until_shown("p50");
        terminal.mouse(0, "eth0");
        terminal.mouse(0, "eth0");
        terminal.until_shown("hop 1");
        terminal.escape("hop 1");
        terminal.mouse(65, "eth0");
        terminal.press("\r");
        terminal.until_shown("hop 2");
        terminal.escape("hop 2");

        let clipboard = "\x1b]52;c;";
        assert!(terminal.written().contains(clipboard));

        // another expression, while the trace goes on
        terminal.press("f");
        terminal.until_shown("expression: icmp");
        terminal.press(" and host 10.199.2.2\r");
        terminal.until_shown("following icmp and host 10.199.2.2");
        terminal.until(" icmp and host 10.199.2.2 in the first line", |terminal| {
            let shown = terminal.shown();
            let first = shown.lines().next().unwrap_or_default();
            first.contains("icmp and host 10.199.2.2")
        });
        terminal.until_shown("route.forwarding-disabled");

        // the message gives way to the keys
        terminal.press("1");
        for (rows, columns) in [(20, 60), (60, 200), (8, 30), (30, 100)] {
            terminal.resize(rows, columns);
            let last = usize::from(rows) - 1;
            terminal.until("its last line at the new size", |terminal| {
                let shown = terminal.shown();
                shown
                    .lines()
                    .nth(last)
                    .is_some_and(|line| line.contains("? help"))
            });
        }

        terminal.press("s");
        terminal.until_shown("save as");
        terminal.press("\x15/run/report.json\r");
        terminal.until_shown("report saved: /run/report.json");
        terminal.press("s");
        terminal.until_shown("save as");
        terminal.press("\x15/run/trace.tracer\r");
        terminal.until_shown("recording saved: /run/trace.tracer");
        for (ending, what) in [
            ("svg", "report"),
            ("md", "report"),
            ("ndjson", "events"),
            ("pcapng", "packets"),
        ] {
            terminal.press("s");
            terminal.until_shown("save as");
            terminal.press(&format!("\x15/run/saved.{ending}\r"));
            terminal.until_shown(&format!("{what} saved: /run/saved.{ending}"));
        }

        terminal.press("q");
        let summary = terminal.end(0);
        assert!(summary.contains("DROPPED"), "{summary}");
        assert!(summary.contains("route.forwarding-disabled"), "{summary}");
        let report = std::fs::read_to_string("/run/report.json").unwrap();
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        let cause = report.pointer("/verdict/cause").unwrap();
        assert_eq!(cause, "route.forwarding-disabled");
        let holds = |ending: &str, text: &str| {
            let saved = std::fs::read(format!("/run/saved.{ending}")).unwrap();
            let found = saved
                .windows(text.len())
                .any(|part| part == text.as_bytes());
            assert!(found, "{ending}: {text}");
        };
        holds("svg", "DROPPED · route.forwarding-disabled");
        holds("md", "`route.forwarding-disabled`");
        holds("ndjson", "{\"type\":\"event\"");
        holds("ndjson", "{\"type\":\"report\"");
        holds("pcapng", "DROPPED after hop 2 of 2");

        // what was saved is shown again
        let arguments = ["replay", "/run/trace.tracer"];
        let mut terminal = Terminal::start(&arguments, Some("xterm"), (20, 60));
        terminal.until_shown("ENDED");
        terminal.until_shown("DROPPED");

        // and gone through from its start
        terminal.press("0");
        terminal.until_shown("STOPPED");
        terminal.until("a start without packets", |terminal| {
            terminal.shown().contains("0 packets") && !terminal.shown().contains("DROPPED")
        });
        // Each text is shown by the end of its step alone: a key that came before it would stop the step.
        for (key, text) in [
            ("x", "DROPPED"),
            (">", "2 packets  STOPPED"),
            ("p", "ENDED"),
        ] {
            terminal.press(key);
            terminal.until_shown(text);
        }
        terminal.press("q");
        assert!(terminal.end(0).contains("DROPPED"));
    });
}

#[test]
fn a_signal_gives_the_terminal_back() {
    isolated(|| {
        network();
        let _ping = ping("10.199.2.2");
        let arguments = ["--netns", "tuit-a", "--netns", "tuit-r", "icmp"];
        let mut terminal = Terminal::start(&arguments, Some("xterm-256color"), (30, 100));
        terminal.until_shown("DROPPED");
        kill(terminal.pid(), Signal::SIGTERM).unwrap();
        let summary = terminal.end(0);
        assert!(summary.contains("DROPPED"), "{summary}");
    });
}

/// Not a test by itself: takes over the terminal on which another test started it, and panics there.
#[test]
fn child_that_panics() {
    if std::env::var_os(CHILD).is_some() {
        let _screen = Screen::take().unwrap();
        panic!("this went wrong");
    }
}

#[test]
fn a_panic_gives_the_terminal_back_and_is_readable() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child_that_panics", "--nocapture"])
        .env(CHILD, "1");
    let terminal = Terminal::of(command, Some("xterm-256color"), (30, 100));
    let after = terminal.end(101);
    assert!(after.contains("this went wrong"), "{after}");
}

#[test]
fn a_terminal_that_cannot_be_drawn_on_gets_text_and_is_told() {
    isolated(|| {
        network();
        for (term, reason) in [(Some("dumb"), "TERM is dumb"), (None, "TERM is not set")] {
            let arguments = ["--netns", "tuit-a", "--duration", "200ms", "icmp"];
            let mut terminal = Terminal::start(&arguments, term, (30, 100));
            terminal.until("its reason", |terminal| terminal.written().contains(reason));
            terminal.until("the verdict", |terminal| {
                terminal.written().contains("NO TRAFFIC")
            });
            assert!(!terminal.written().contains(ENTER));
            assert!(terminal.child.wait().unwrap().success());
        }
    });
}
