//! The networks that are measured: a sender, a router and a receiver, or many namespaces with two interfaces each.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::thread;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};

use crate::command::{output, program};

/// Where `ip netns` keeps namespaces.
const NAMES: &str = "/run/netns";
/// Addresses of the receiver's own, as many as flows can be wanted.
pub(super) const MANY: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 0);
/// The receiver's address.
pub(super) const RECEIVER: Ipv4Addr = Ipv4Addr::new(10, 9, 2, 2);
/// An address that the router refuses to route.
pub(super) const REFUSED: Ipv4Addr = Ipv4Addr::new(10, 30, 0, 1);
/// Interfaces that a packet from sender to receiver passes: namespace, name.
pub(super) const PASSED: [(&str, &str); 4] = [
    ("sender", "eth0"),
    ("router", "left"),
    ("router", "right"),
    ("receiver", "eth0"),
];

/// Sender, router and receiver; removed when this is dropped.
pub(super) struct Chain(Names);

impl Chain {
    /// Makes it; both neighbours are known, so that no packet waits.
    pub(super) fn new() -> Result<Self> {
        let names = Names(["sender", "router", "receiver"].map(str::to_owned).to_vec());
        names.add("")?;
        batch(
            None,
            "link add eth0 netns sender type veth peer name left netns router\n\
             link add eth0 netns receiver type veth peer name right netns router\n",
        )?;
        batch(
            Some("sender"),
            "addr add 10.9.1.2/24 dev eth0\nlink set eth0 up\n",
        )?;
        batch(
            Some("router"),
            "addr add 10.9.1.1/24 dev left\naddr add 10.9.2.1/24 dev right\n\
             link set left up\nlink set right up\n\
             route add 10.20.0.0/16 via 10.9.2.2\nroute add unreachable 10.30.0.0/16\n",
        )?;
        batch(
            Some("receiver"),
            "addr add 10.9.2.2/24 dev eth0\nlink set lo up\nlink set eth0 up\n\
             route add default via 10.9.2.1\nroute add local 10.20.0.0/16 dev lo\n",
        )?;
        batch(Some("sender"), "route add default via 10.9.1.1\n")?;
        inside("router", || fs::write("/proc/sys/net/ipv4/ip_forward", "1"))??;
        let ping = [
            "netns", "exec", "sender", "ping", "-n", "-q", "-c", "1", "10.9.2.2",
        ];
        output(program("ip", ping)).context("the receiver is not reached")?;
        Ok(Self(names))
    }

    /// Packets that the receiver's interface has taken in.
    pub(super) fn arrived(&self) -> Result<u64> {
        let name = self.0.0.last().context("no receiver")?;
        let table = inside(name, || fs::read_to_string("/proc/thread-self/net/dev"))??;
        let row = table
            .lines()
            .find_map(|line| line.trim_start().strip_prefix("eth0:"))
            .context("no eth0 in /proc/net/dev")?;
        let packets = row.split_ascii_whitespace().nth(1);
        Ok(packets.context("no packets in /proc/net/dev")?.parse()?)
    }
}

/// Namespaces in pairs, each with a loopback and one end of a veth; removed when this is dropped.
pub(super) struct Crowd(#[expect(dead_code, reason = "held for its end")] Names);

impl Crowd {
    /// Makes them.
    pub(super) fn new(namespaces: usize) -> Result<Self> {
        let names = Names((0..namespaces).map(|n| format!("n{n}")).collect());
        let pairs = (0..namespaces / 2).map(|pair| (2 * pair, 2 * pair + 1));
        let link = |(one, other)| {
            format!("link add eth0 up netns n{one} type veth peer name eth0 netns n{other}\n")
        };
        names.add(&pairs.clone().map(link).collect::<String>())?;
        // The kernel takes no peer that is up when it is made.
        for (_, other) in pairs {
            batch(Some(&format!("n{other}")), "link set eth0 up\n")?;
        }
        Ok(Self(names))
    }
}

/// Names below [`NAMES`].
struct Names(Vec<String>);

impl Names {
    /// Makes the namespaces, then runs more lines for `ip`: one process, for many take longer than what is measured.
    fn add(&self, then: &str) -> Result<()> {
        let lines: String = self.0.iter().map(|n| format!("netns add {n}\n")).collect();
        batch(None, &(lines + then))
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        let lines: String = self.0.iter().map(|n| format!("netns del {n}\n")).collect();
        // What cannot be deleted is said by `ip` itself, and goes with the bench.
        let _ = batch(None, &lines);
    }
}

/// Runs lines for `ip`.
fn batch(namespace: Option<&str>, lines: &str) -> Result<()> {
    const FILE: &str = "/run/batch";
    fs::write(FILE, lines)?;
    let within = namespace.into_iter().flat_map(|name| ["-n", name]);
    output(program("ip", within.chain(["-batch", FILE]))).map(|_| ())
}

/// Runs something on a thread within a namespace. A socket that it makes stays there.
pub(super) fn inside<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> Result<T> {
    let file = File::open(format!("{NAMES}/{namespace}"))
        .with_context(|| format!("no namespace {namespace}"))?;
    thread::scope(|scope| {
        let thread = scope.spawn(|| -> Result<T> {
            setns(file, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        });
        thread
            .join()
            .map_err(|_| anyhow!("a thread in {namespace} panicked"))?
    })
}
