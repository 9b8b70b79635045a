//! Open vSwitch, read-only: what the kernel's side counts, which bridges and ports there are (ovsdb-server), and what
//! ovs-vswitchd would do with a packet (`ofproto/trace`, which changes nothing). Each is asked where it is there; what does
//! not answer is told.

mod database;
mod datapath;
mod rpc;
mod text;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::facts::{Holder, OvsAnswer, OvsBridge, OvsFlow, OvsTrace};
use super::{Unreadable, links, processes};
use crate::model::{Device, NetNs, Process};

const DAEMON: &str = "ovs-vswitchd";
const DATABASE: &str = "ovsdb-server";
/// Where their sockets are, from their own root.
const DIRECTORY: [&str; 2] = ["run", "openvswitch"];
/// What conntrack may say of a packet, as `--ct-next` takes it: the first is what is assumed without it.
const STATES: [&str; 3] = ["trk,new", "trk,est", "trk,inv"];

/// What there is for a packet at a port, in the calling thread's namespace; and what could not be read.
///
/// # Errors
/// Interfaces cannot be listed.
pub(super) fn read(device: Device, flow: OvsFlow) -> io::Result<(OvsAnswer, Vec<Unreadable>)> {
    let listing = links::list(device.netns)?;
    let link = listing.links.into_iter().find(|m| m.link.device == device);
    let name = link.map(|m| m.link.name).unwrap_or_default();
    let mut answer = OvsAnswer {
        device,
        flow,
        bridges: Vec::new(),
        daemons: daemons(device.netns),
        datapath: None,
        traces: Vec::new(),
    };
    let mut missing = Vec::new();
    let mut note = |what: &str, error: &io::Error| {
        missing.push(Unreadable {
            what: format!("{what} of Open vSwitch"),
            why: error.to_string(),
        });
    };
    match datapath::of_port(&name) {
        Ok(found) => answer.datapath = found,
        Err(error) => note("datapath", &error),
    }
    match database(device.netns) {
        Some(Ok(bridges)) => answer.bridges = bridges,
        Some(Err(error)) => note("database", &error),
        None => {}
    }
    let running = answer.daemons.iter().find(|it| !is_stopped(it));
    if let Some(control) = running.and_then(|it| control(it.process.pid)) {
        match shown(&control) {
            Ok(bridges) => complete(&mut answer.bridges, bridges),
            Err(error) => note("ports", &error),
        }
        if let Some((bridge, port)) = answer.port(&name).filter(|(_, port)| port.number != 0) {
            let words = flow.words(&port.number.to_string());
            match traces(&control, &bridge.name, &words) {
                Ok(traces) => answer.traces = traces,
                Err(error) => note("trace", &error),
            }
        }
    }
    Ok((answer, missing))
}

/// A signal or a debugger has stopped it.
fn is_stopped(daemon: &Holder) -> bool {
    matches!(daemon.state, Some('T' | 't'))
}

/// Whether a process runs in a namespace.
fn is_in(netns: NetNs, pid: u32) -> bool {
    let found = fs::metadata(format!("/proc/{pid}/ns/net"));
    found.is_ok_and(|found| found.ino() == u64::from(netns.0))
}

/// Daemons of a namespace: the datapath is that of the namespace in which they run.
fn daemons(netns: NetNs) -> Vec<Holder> {
    let proc = Path::new("/proc");
    processes::named(DAEMON)
        .into_iter()
        .filter(|pid| is_in(netns, *pid))
        .map(|pid| Holder {
            process: Process {
                pid,
                comm: processes::comm(proc, pid),
            },
            state: processes::state(proc, pid),
        })
        .collect()
}

/// A socket in the directory of a process, whatever its root is. None that is reached by a link: that would lead from the
/// root of this process, so that a container could name a socket of the host.
fn socket(pid: u32, name: &str) -> Option<PathBuf> {
    let mut path = PathBuf::from(format!("/proc/{pid}/root"));
    for part in DIRECTORY.into_iter().chain([name]) {
        path.push(part);
        if fs::symlink_metadata(&path).ok()?.file_type().is_symlink() {
            return None;
        }
    }
    Some(path)
}

/// The control socket of a daemon, which is called by its number in its own namespace of processes.
fn control(pid: u32) -> Option<PathBuf> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let numbers = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    let inner = numbers.split_whitespace().next_back()?;
    socket(pid, &format!("{DAEMON}.{inner}.ctl"))
}

/// Bridges of the database, where its socket is found: beside a daemon of the namespace, or a database there; a database
/// elsewhere only where it is the only one of the machine.
fn database(netns: NetNs) -> Option<io::Result<Vec<OvsBridge>>> {
    let all = processes::named(DATABASE);
    let only = all.first().copied().filter(|_| all.len() == 1);
    let daemons = processes::named(DAEMON).into_iter();
    let near = daemons.chain(all).filter(|pid| is_in(netns, *pid));
    let socket = near.chain(only).find_map(|pid| socket(pid, "db.sock"))?;
    Some(database::bridges(&socket))
}

fn ask(control: &Path, method: &str, words: &[&str]) -> io::Result<String> {
    match rpc::call(control, method, &json!(words))? {
        Value::String(text) => Ok(text),
        _ => Err(io::Error::other("the answer is no text")),
    }
}

fn shown(control: &Path) -> io::Result<Vec<OvsBridge>> {
    Ok(text::bridges(&ask(control, "dpif/show", &[])?))
}

/// Puts the kernel's numbers to the ports of the database; without it, all that the daemon showed.
fn complete(bridges: &mut Vec<OvsBridge>, shown: Vec<OvsBridge>) {
    if bridges.is_empty() {
        *bridges = shown;
        return;
    }
    for port in bridges.iter_mut().flat_map(|bridge| &mut bridge.ports) {
        let mut all = shown.iter().flat_map(|bridge| &bridge.ports);
        if let Some(found) = all.find(|found| found.name == port.name) {
            port.datapath = found.datapath;
            port.number = found.number;
        }
    }
}

/// What becomes of the packet; where conntrack decides over it, for each of its answers.
fn traces(control: &Path, bridge: &str, flow: &str) -> io::Result<Vec<OvsTrace>> {
    let plain = ask(control, "ofproto/trace", &[bridge, flow])?;
    if !plain.contains("resume conntrack") {
        return Ok(vec![text::trace("", &plain)]);
    }
    // once more for each further turn through conntrack: with fewer words than turns the default is taken for the rest
    let turns = plain.matches("resume conntrack").count();
    STATES
        .into_iter()
        .map(|state| {
            let more: Vec<&str> = ["--ct-next", state].repeat(turns);
            let words: Vec<&str> = [bridge, flow].into_iter().chain(more).collect();
            let said = ask(control, "ofproto/trace", &words)?;
            Ok(text::trace(state, &said))
        })
        .collect()
}
