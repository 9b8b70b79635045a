//! A busy node for a minute, or for as long as `TRACER_SOAK_SECONDS` says (`make soak`): healthy traffic of all kinds that
//! nobody may raise an alarm about, beside floods, namespaces that come and go, programs of others, tracers that are stopped,
//! have next to no budget, and end in every way there is. What is counted must be what was sent, and nothing may be left.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::Signal;
use serde_json::Value;
use tests::alone::{Running as Process, alone, bash, tracer};
use tests::held::{Object, held, left};
use tests::tracer::{Running, Start};

/// How long, in seconds.
const SECONDS: &str = "TRACER_SOAK_SECONDS";
const DEFAULT: u64 = 60;
/// Traffic of one round.
const ROUND: Duration = Duration::from_secs(4);
/// A tracer that this test cannot end any more ends by itself.
const MOST: &str = "5m";
const STOPPED: Duration = Duration::from_millis(700);
const PATIENCE: Duration = Duration::from_secs(60);
/// Asked for by the one with next to no budget.
const FLOOD: u16 = 7010;
/// Asked for by nobody.
const NOISE: u16 = 7011;
/// What is healthy.
const HEALTHY: &str =
    "(icmp or icmp6 or portrange 7001-7004) and (net 10.203.0.0/16 or net fd03::/16)";
/// Addresses of the server: its own, and those that the router translates.
const ECHO: [(&str, &str); 3] = [
    ("10.203.2.2:7001", "10.203.2.2:7002"),
    ("[fd03:2::2]:7001", "[fd03:2::2]:7002"),
    ("10.203.9.9:7003", "10.203.9.9:7004"),
];
const NETWORK: &str = "
    for ns in client router server; do
        ip netns add $ns; ip -n $ns link set lo up
        ip netns exec $ns sysctl -qw net.ipv6.conf.default.accept_dad=0
    done
    ip link add eth0 netns client type veth peer name r0 netns router
    ip link add eth0 netns server type veth peer name r1 netns router
    up() { ip -n $1 addr add $3 dev $2; ip -n $1 addr add $4 dev $2 nodad; ip -n $1 link set $2 up; }
    up client eth0 10.203.1.2/24 fd03:1::2/64; up router r0 10.203.1.1/24 fd03:1::1/64
    up router r1 10.203.2.1/24 fd03:2::1/64; up server eth0 10.203.2.2/24 fd03:2::2/64
    ip -n client route add default via 10.203.1.1; ip -n client route add default via fd03:1::1
    ip -n server route add default via 10.203.2.1; ip -n server route add default via fd03:2::1
    ip netns exec router sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
    ip netns exec router nft -f - <<< 'table ip own {
        chain pre { type nat hook prerouting priority -100;
            ip daddr 10.203.9.9 udp dport 7003 dnat to 10.203.2.2:7001
            ip daddr 10.203.9.9 tcp dport 7004 dnat to 10.203.2.2:7002; }
        chain post { type nat hook postrouting priority 100; ct status dnat masquerade; }; }'
    mkdir -p /run/soak /run/tmp /run/full /run/bpf; mount -t tmpfs -o size=1m full /run/full; mount -t bpf bpf /run/bpf
    tc -n router qdisc add dev r0 clsact
    ip netns exec client ping -n -q -c 1 -W 5 10.203.2.2 > /dev/null
    ip netns exec client ping -n -q -c 1 -W 5 fd03:2::2 > /dev/null";

/// How the tracer that is asked for the flood ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    By(Signal),
    ClosedStdout,
    FullDisk,
}

const ENDS: [End; 6] = [
    End::By(Signal::SIGINT),
    End::By(Signal::SIGKILL),
    End::ClosedStdout,
    End::By(Signal::SIGTERM),
    End::FullDisk,
    End::By(Signal::SIGHUP),
];

/// What runs beside the tracers until it is told to stop.
#[derive(Clone, Default)]
struct Beside {
    over: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    answered: Arc<AtomicU64>,
}

impl Beside {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// Runs on a thread within a namespace.
    fn start(
        &self,
        namespace: &'static str,
        work: impl Fn(&Self) + Send + 'static,
    ) -> JoinHandle<()> {
        let own = self.clone();
        thread::spawn(move || {
            enter(namespace);
            while own.goes_on() {
                work(&own);
            }
        })
    }

    /// A question that is answered or not.
    fn ask(&self, question: impl FnOnce() -> bool) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if question() {
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn enter(namespace: &str) {
    let namespace = File::open(format!("/run/netns/{namespace}")).unwrap();
    setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
}

fn in_namespace<T: Send + 'static>(
    namespace: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let done = thread::spawn(move || {
        enter(namespace);
        work()
    });
    done.join().unwrap()
}

/// The server: echoes of UDP and TCP, and a socket for each flood.
fn serve(beside: &Beside) -> Vec<JoinHandle<()>> {
    let echo = in_namespace("server", || UdpSocket::bind("[::]:7001").unwrap());
    let listener = in_namespace("server", || TcpListener::bind("[::]:7002").unwrap());
    let mut threads = Vec::new();
    let pause = Some(Duration::from_millis(200));
    echo.set_read_timeout(pause).unwrap();
    threads.push(beside.start("server", move |_| {
        let mut bytes = [0; 2048];
        if let Ok((length, from)) = echo.recv_from(&mut bytes) {
            let answer = bytes.get(..length).unwrap_or_default();
            echo.send_to(answer, from).unwrap();
        }
    }));
    listener.set_nonblocking(true).unwrap();
    threads.push(beside.start("server", move |_| match listener.accept() {
        Ok((stream, _)) => drop(thread::spawn(move || drop(answer(stream)))),
        Err(_) => thread::sleep(Duration::from_millis(5)),
    }));
    for port in [FLOOD, NOISE] {
        let sink = in_namespace("server", move || {
            UdpSocket::bind(("0.0.0.0", port)).unwrap()
        });
        nix::sys::socket::setsockopt(&sink, nix::sys::socket::sockopt::RcvBufForce, &(8 << 20))
            .unwrap();
        sink.set_read_timeout(pause).unwrap();
        threads.push(beside.start("server", move |_| drop(sink.recv(&mut [0; 2048]))));
    }
    threads
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    let mut bytes = [0; 4096];
    loop {
        let length = stream.read(&mut bytes)?;
        if length == 0 {
            return stream.shutdown(Shutdown::Write);
        }
        stream.write_all(bytes.get(..length).unwrap_or_default())?;
    }
}

/// The client: short and long exchanges with each address of the server, and pings.
fn ask(beside: &Beside) -> Vec<JoinHandle<()>> {
    let mut threads = Vec::new();
    for (udp, tcp) in ECHO {
        let address: SocketAddr = udp.parse().unwrap();
        threads.push(beside.start("client", move |beside| {
            let any = if address.is_ipv6() {
                "[::]:0"
            } else {
                "0.0.0.0:0"
            };
            let socket = UdpSocket::bind(any).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.connect(address).unwrap();
            for number in (0..40_u8).take_while(|_| beside.goes_on()) {
                let question = [number; 300];
                beside.ask(|| {
                    let sent = socket.send(&question);
                    sent.is_ok() && socket.recv(&mut [0; 512]).is_ok_and(|length| length == 300)
                });
            }
        }));
        let address: SocketAddr = tcp.parse().unwrap();
        threads.push(beside.start("client", move |beside| {
            beside.ask(|| exchange(address, 1, 20_000).is_ok());
        }));
        threads.push(beside.start("client", move |beside| {
            beside.ask(|| exchange(address, 100, 200).is_ok());
        }));
    }
    threads
}

/// Sends so often so many bytes through one connection, and reads them back.
fn exchange(address: SocketAddr, times: u32, bytes: usize) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let (question, mut back) = (vec![7; bytes], vec![0; bytes]);
    for _ in 0..times {
        stream.write_all(&question)?;
        stream.read_exact(&mut back)?;
        thread::sleep(Duration::from_millis(20));
    }
    stream.shutdown(Shutdown::Write)?;
    stream.read_to_end(&mut back).map(drop)
}

/// Sends to a port of the server in bursts until it is told to stop. Gives how many packets it sent.
fn flood(beside: &Beside, port: u16, burst: u32) -> JoinHandle<u64> {
    let over = beside.clone();
    thread::spawn(move || {
        enter("client");
        let socket = UdpSocket::bind("10.203.1.2:0").unwrap();
        let mut sent = 0;
        while over.goes_on() {
            for _ in 0..burst {
                sent += u64::from(socket.send_to(&[7; 200], ("10.203.2.2", port)).is_ok());
            }
            thread::sleep(Duration::from_millis(20));
        }
        sent
    })
}

/// Namespaces and interfaces that come and go, some with programs of others at them; and such programs at the router.
const CHURN: &str = r#"
    n=0; while [ ! -e /run/over ] && kill -0 $PPID; do
        n=$((n + 1)); ns=pod$((n % 7)) # the kernel takes an interface down some time after its namespace
        ip netns add $ns; ip -n $ns link set lo up
        ip link add eth0 netns $ns type veth peer name c$n netns router
        ip -n $ns link set eth0 up; ip -n router link set c$n up
        case $((n % 3)) in
            0) ip -n router link set c$n xdpgeneric pinned /run/bpf/xdp ;;
            1) tc -n router qdisc add dev c$n clsact
               tc -n router filter add dev c$n ingress bpf da object-pinned /run/bpf/tc ;;
        esac
        # beside the traffic that is asked for; a qdisc that comes or goes there would lose some of it
        tc -n router filter add dev r0 ingress pref 7 bpf da object-pinned /run/bpf/tc
        sleep 0.2
        tc -n router filter del dev r0 ingress pref 7
        ip netns del $ns
        sleep 0.1
    done; echo $n > /run/churned"#;

/// One tracer's limits and what it had.
struct Traced {
    running: Running,
    held: BTreeSet<Object>,
}

impl Traced {
    fn start(words: &[&str], report: Option<&Path>, recording: Option<&Path>) -> Self {
        let arguments: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let start = Start {
            program: &tracer().unwrap(),
            arguments: &arguments,
            report,
            recording,
            through: None,
            slowness: 1,
        };
        let running = Running::start(&start).unwrap();
        let held = held(running.pid()).unwrap();
        assert!(held.len() > 20, "{held:?}");
        Self { running, held }
    }

    fn end_by(self, signal: Signal) -> (std::process::ExitStatus, String) {
        let ended = self.running.end_by(signal).unwrap();
        nothing_is_left(&self.held);
        ended
    }
}

fn nothing_is_left(held: &BTreeSet<Object>) {
    let left = left(held, PATIENCE).unwrap();
    assert!(left.is_empty(), "{left:?} of {held:?}");
}

fn read(report: &Path) -> Value {
    let bytes = fs::read(report).unwrap();
    fs::remove_file(report).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn words_of<'a>(report: &'a Value, pointer: &str) -> &'a str {
    let found = report.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_default()
}

/// Every flow is well, whatever was lost of the events. Where one is not, report and recording are kept.
fn assert_no_alarm(report: &Value, recording: Option<&Path>, round: usize) {
    let flows = report.pointer("/flows").and_then(Value::as_array).unwrap();
    assert!(!flows.is_empty(), "round {round}: no traffic");
    let alarms: Vec<&str> = flows
        .iter()
        .filter(|flow| words_of(flow, "/verdict/outcome") != "delivered")
        .map(|flow| words_of(flow, "/verdict/summary"))
        .collect();
    if alarms.is_empty() {
        return;
    }
    let kept = std::env::temp_dir().join(format!("soak-alarm-{}", std::process::id()));
    fs::create_dir_all(&kept).unwrap();
    fs::write(kept.join("report.json"), format!("{report:#}")).unwrap();
    if let Some(recording) = recording {
        fs::copy(recording, kept.join("recording.tracer")).unwrap();
    }
    assert!(
        alarms.is_empty(),
        "round {round}: {alarms:#?}, see {}",
        kept.display()
    );
}

/// Each hop of the flood counted what was sent.
fn assert_counted(report: &Value, sent: u64, round: usize) {
    let hops = report
        .pointer("/flows/0/paths/0/hops")
        .and_then(Value::as_array)
        .unwrap();
    let counted: Vec<u64> = hops
        .iter()
        .filter_map(|hop| hop.get("packets")?.as_u64())
        .collect();
    assert!(counted.len() >= 3, "round {round}: {report:#}");
    assert!(
        counted.iter().all(|packets| *packets == sent),
        "round {round}: {sent} sent, {counted:?} counted"
    );
}

/// What the recorder needs, after each round: resident bytes, and descriptors that are of no namespace.
fn needs(pid: u32) -> (u64, usize) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next())
        .unwrap();
    let resident: u64 = resident.parse().unwrap();
    // Each namespace and interface of the machine takes some, and others come and go on it.
    let of_a_namespace = |path: &Path| {
        let text = path.to_string_lossy();
        let kinds = [
            "net:[",
            "anon_inode:bpf_link",
            "socket:[",
            "/run/netns/",
            "/proc/",
        ];
        kinds.iter().any(|kind| text.starts_with(kind))
    };
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter(|path| !of_a_namespace(path))
        .count();
    (resident * 1024, descriptors)
}

/// Names in a directory, sorted.
fn names(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A tracer whose reader goes: it ends by itself.
fn reader_that_goes(round: usize) {
    let mut command = Command::new(tracer().unwrap());
    command.args(["--budget", "50", "--one-way", "--output", "ndjson"]);
    command.args(["udp", "port", &FLOOD.to_string()]);
    command.env("TMPDIR", "/run/tmp").stdin(Stdio::null());
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains("\"event\""), "{first}");
    let held = held(child.id()).unwrap();
    drop(lines);
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0), "round {round}: its reader went");
    nothing_is_left(&held);
}

/// Writes until the disk is full.
fn fill(path: &str) {
    let mut filler = File::create(path).unwrap();
    while filler.write_all(&[0; 512]).is_ok() {}
}

/// One round: two tracers come, are stopped for a while, and go. Gives how many packets were counted.
fn round(number: usize, beside: &Beside) -> u64 {
    let end = *ENDS.get(number % ENDS.len()).unwrap();
    let healthy_report = PathBuf::from("/run/soak/healthy.json");
    let flood_report = PathBuf::from("/run/soak/flood.json");
    let full = PathBuf::from("/run/full/t.tracer");
    let kept = PathBuf::from("/run/soak/healthy.tracer");
    let words = ["--json", "--duration", MOST, HEALTHY];
    let healthy = Traced::start(&words, Some(&healthy_report), Some(&kept));
    let port = FLOOD.to_string();
    let mut words = vec![
        "--json",
        "--budget",
        "50",
        "--one-way",
        "udp",
        "port",
        &port,
    ];
    if number % 2 == 1 {
        words.extend([
            "--netns", "router", "--netns", "client", "--netns", "server", "--rules",
        ]);
    }
    let recording = (end == End::FullDisk).then_some(full.as_path());
    let flooded = Traced::start(&words, Some(&flood_report), recording);
    let sending = Beside::default();
    let flood = flood(&sending, FLOOD, 40);
    thread::sleep(ROUND / 2);
    for traced in [&healthy, &flooded] {
        traced.running.signal(Signal::SIGSTOP).unwrap();
        thread::sleep(STOPPED);
        traced.running.signal(Signal::SIGCONT).unwrap();
    }
    match end {
        End::ClosedStdout => reader_that_goes(number),
        End::FullDisk => fill("/run/full/filler"),
        End::By(_) => {}
    }
    thread::sleep(ROUND / 2);
    sending.over.store(true, Ordering::Relaxed);
    let sent = flood.join().unwrap();
    // what is on its way arrives
    thread::sleep(Duration::from_millis(500));
    let by = match end {
        End::By(signal) => signal,
        End::ClosedStdout | End::FullDisk => Signal::SIGINT,
    };
    let (status, said) = flooded.end_by(by);
    if by == Signal::SIGKILL {
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32));
        let _ = fs::remove_file(&flood_report);
    } else {
        assert_eq!(status.code(), Some(0), "round {number}, {end:?}: {said}");
        let report = read(&flood_report);
        assert_no_alarm(&report, None, number);
        assert_counted(&report, sent, number);
    }
    if end == End::FullDisk {
        assert!(said.contains("the recording ends here"), "{said}");
        assert_eq!(names("/run/full"), ["filler", "t.tracer"]);
        for file in [full, PathBuf::from("/run/full/filler")] {
            fs::remove_file(file).unwrap();
        }
    }
    let (status, said) = healthy.end_by(Signal::SIGINT);
    assert_eq!(status.code(), Some(0), "round {number}: {said}");
    assert_no_alarm(&read(&healthy_report), Some(&kept), number);
    fs::remove_file(&kept).unwrap();
    // nobody but the one who asks
    let unanswered = beside.asked.load(Ordering::Relaxed) - beside.answered.load(Ordering::Relaxed);
    assert!(unanswered <= 9, "{unanswered} questions had no answer");
    assert_eq!(names("/run/soak"), ["hold", "said"], "round {number}");
    assert_eq!(names("/run/tmp"), Vec::<String>::new(), "round {number}");
    let tables = bash("ip netns exec router nft list tables").unwrap();
    assert_eq!(String::from_utf8_lossy(&tables.stdout), "table ip own\n");
    sent
}

/// The recorder, which is there all the time.
struct Recorder(Process);

impl Recorder {
    fn start() -> Self {
        let said = File::create("/run/soak/said").unwrap();
        let mut command = Command::new(tracer().unwrap());
        command.args([
            "hold",
            "--last",
            "20s",
            "--after",
            "1s",
            "--max-memory",
            "4M",
        ]);
        command.args(["--save", "/run/soak/hold", HEALTHY]);
        command
            .env("TMPDIR", "/run/tmp")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let mut child = command.stderr(said).spawn().unwrap();
        let begun = Instant::now();
        while !Self::said().contains("tracer: ready") {
            let runs = child.try_wait().unwrap().is_none();
            assert!(runs && begun.elapsed() < PATIENCE, "{}", Self::said());
            thread::sleep(Duration::from_millis(50));
        }
        Self(Process(child))
    }

    fn said() -> String {
        fs::read_to_string("/run/soak/said").unwrap()
    }

    fn end(mut self) {
        let held = held(self.0.0.id()).unwrap();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.0.0.id()).unwrap());
        nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
        let status = self.0.0.wait().unwrap();
        assert!(status.success(), "{}", Self::said());
        nothing_is_left(&held);
        assert_eq!(
            names("/run/soak/hold"),
            Vec::<String>::new(),
            "{}",
            Self::said()
        );
    }
}

#[test]
fn a_busy_node_raises_no_alarm_and_is_left_as_it_was() {
    alone(|| {
        let seconds = std::env::var(SECONDS).ok();
        let seconds = seconds.map_or(DEFAULT, |text| text.parse().unwrap());
        let made = bash(NETWORK).unwrap();
        assert!(made.status.success(), "{made:?}");
        let pins = "\"$LAB\" bpf xdp pass /run/bpf/xdp; \"$LAB\" bpf tc pass /run/bpf/tc";
        let pins = pins.replace("$LAB", env!("CARGO_BIN_EXE_lab"));
        let pinned = bash(&pins).unwrap();
        assert!(pinned.status.success(), "{pinned:?}");
        let (beside, serving) = (Beside::default(), Beside::default());
        let servers = serve(&serving);
        let clients = ask(&beside);
        let churn = thread::spawn(|| bash(CHURN).unwrap());
        let noise = flood(&beside, NOISE, 200);
        let pings: Vec<Process> = ["10.203.2.2", "fd03:2::2"]
            .into_iter()
            .map(|address| {
                let mut ping = Command::new("ip");
                ping.args(["netns", "exec", "client", "ping", "-n", "-q", "-i", "0.2", address]);
                Process(ping.stdout(Stdio::null()).spawn().unwrap())
            })
            .collect();
        let recorder = Recorder::start();
        let begun = Instant::now();
        let mut figures = Vec::new();
        let mut counted = 0;
        let mut number = 0;
        // each way of ending is tried once at least
        while begun.elapsed().as_secs() < seconds || number < ENDS.len() {
            counted += round(number, &beside);
            figures.push(needs(recorder.0.0.id()));
            number += 1;
        }
        beside.over.store(true, Ordering::Relaxed);
        fs::write("/run/over", "").unwrap();
        let noise = noise.join().unwrap();
        for client in clients {
            client.join().unwrap();
        }
        drop(pings);
        recorder.end();
        serving.over.store(true, Ordering::Relaxed);
        for server in servers {
            server.join().unwrap();
        }
        let churned = churn.join().unwrap();
        assert!(churned.status.success(), "{churned:?}");
        let churned = fs::read_to_string("/run/churned").unwrap();
        assert_eq!(names("/run/netns"), ["client", "router", "server"]);
        let (asked, answered) = (&beside.asked, &beside.answered);
        println!(
            "{} s, {number} rounds: {} questions, {} answered; {counted} packets of the flood, each counted at every hop; {noise} \
             packets that nobody asked for; {} namespaces came and went",
            begun.elapsed().as_secs(),
            asked.load(Ordering::Relaxed),
            answered.load(Ordering::Relaxed),
            churned.trim()
        );
        println!("the recorder after each round, resident bytes and descriptors of no namespace: {figures:?}");
        assert_eq!(asked.load(Ordering::Relaxed), answered.load(Ordering::Relaxed));
        let descriptors: Vec<usize> = figures.iter().map(|(_, descriptors)| *descriptors).collect();
        let (first, later) = descriptors.split_at(descriptors.len() / 2);
        let most = |of: &[usize]| of.iter().max().copied().unwrap_or(0);
        assert!(most(later) <= most(first) + 2, "descriptors grow: {descriptors:?}");
        // The bounds of what is kept are full after some minutes.
        if seconds >= 600 {
            let resident: Vec<u64> = figures.iter().map(|(resident, _)| *resident).collect();
            let (first, later) = resident.split_at(resident.len() / 2);
            let most = |of: &[u64]| of.iter().max().copied().unwrap_or(0);
            let bound = most(first) + most(first) / 5;
            assert!(most(later) <= bound, "memory grows: {resident:?}");
        }
    })
    .unwrap();
}
