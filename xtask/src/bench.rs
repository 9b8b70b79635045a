//! How fast and how large tracer is: time to ready with few and with many interfaces, peak memory, and what a packet that
//! does not match costs, next to a program that does nothing. Figures for people, not tests.

mod bpf;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::command::{cargo, is_root, program, run as run_command};
use crate::workspace::root;

/// Runs for each figure; the median is shown.
const RUNS: usize = 5;
/// Interfaces that are made, beside those of the machine.
const INTERFACES: [usize; 2] = [10, 400];
/// Expressions of 1, 4 and 16 clauses, none of which the measured packet meets.
const EXPRESSIONS: [(usize, &str); 3] = [
    (1, "udp and src host 192.0.2.1 and dst port 9"),
    (
        4,
        "udp and src host 192.0.2.1 and (dst port 9 or 19 or 29 or 39)",
    ),
    (
        16,
        "udp and src host 192.0.2.1 and (dst port 1 or 3 or 5 or 7 or 9 or 11 or 13 or 15 or 17 or 19 or 21 or 23 or 25 or 27 or 29 or 31)",
    ),
];
/// An Ethernet frame with an IPv4 UDP packet from 198.51.100.1 to 198.51.100.2.
const FRAME: [u8; 64] = [
    2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, // Ethernet
    0x45, 0, 0, 50, 0, 1, 0, 0, 64, 17, 0, 0, 198, 51, 100, 1, 198, 51, 100, 2, // IPv4
    0x30, 0x39, 0, 53, 0, 30, 0, 0, // UDP
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// Measures and prints.
pub(crate) fn run() -> Result<()> {
    ensure!(
        is_root(),
        "tracer loads programs into the kernel: run as root"
    );
    run_command(cargo(["build", "--release", "--package", "tracer"]))?;
    for count in INTERFACES {
        let network = Network::new(count)?;
        let mut ready = Vec::new();
        let mut memory = Vec::new();
        for _ in 0..RUNS {
            let tracer = Running::start("icmp")?;
            ready.push(tracer.ready_ms);
            memory.push(tracer.finish()?);
        }
        drop(network);
        println!(
            "{count} interfaces: ready in {} ms (median of {RUNS}: {ready:?}), peak memory {} MiB",
            median(&ready),
            median(&memory) / 1024
        );
    }
    let empty = bpf::Program::empty()?;
    let nothing = empty.nanoseconds(&FRAME)?;
    println!("a packet that does not match, per call: empty program {nothing} ns");
    for (clauses, expression) in EXPRESSIONS {
        let tracer = Running::start(expression)?;
        for name in ["tc_ingress_l2", "tc_egress_l2"] {
            let cost = bpf::Program::loaded(name)?.nanoseconds(&FRAME)?;
            println!(
                "  {name}, clauses {clauses}: {cost} ns, {} ns over empty",
                cost.saturating_sub(nothing)
            );
        }
        tracer.finish()?;
    }
    Ok(())
}

fn median(values: &[u64]) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// A namespace with veth pairs.
struct Network {
    name: String,
}

impl Network {
    fn new(interfaces: usize) -> Result<Self> {
        let network = Self {
            name: format!("tracer-bench-{}", std::process::id()),
        };
        run_command(program("ip", ["netns", "add", &network.name]))?;
        // One batch: a process for each pair takes longer than all that is measured.
        let lines: String = (0..interfaces / 2)
            .map(|n| format!("link add a{n} up type veth peer name b{n}\n"))
            .collect();
        let batch = root().join(format!("target/{}.batch", network.name));
        fs::write(&batch, lines)?;
        let mut command = program("ip", ["-n", &network.name, "-batch"]);
        command.arg(&batch);
        let made = run_command(command);
        fs::remove_file(&batch)?;
        made.map(|()| network)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // What cannot be deleted is said by `ip` itself.
        let _ = program("ip", ["netns", "del", &self.name]).status();
    }
}

/// A tracer that is ready.
struct Running {
    child: Child,
    ready_ms: u64,
}

impl Running {
    fn start(expression: &str) -> Result<Self> {
        let mut child = Command::new(root().join("target/release/tracer"))
            .args([expression, "--json", "-o", "/dev/null"])
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start target/release/tracer")?;
        let stderr = child.stderr.take().context("tracer has no stderr")?;
        let line = BufReader::new(stderr)
            .lines()
            .map_while(Result::ok)
            .find(|line| line.starts_with("tracer: ready"))
            .context("tracer ended before it was ready")?;
        let ready_ms = line
            .rsplit(' ')
            .nth(1)
            .and_then(|word| word.parse().ok())
            .with_context(|| format!("no milliseconds in: {line}"))?;
        Ok(Self { child, ready_ms })
    }

    /// Ends it; gives its peak memory in KiB.
    fn finish(mut self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse().ok())
            .context("no VmHWM in /proc/PID/status")?;
        kill(
            Pid::from_raw(i32::try_from(self.child.id())?),
            Signal::SIGINT,
        )?;
        ensure!(self.child.wait()?.success(), "tracer failed");
        Ok(peak)
    }
}
