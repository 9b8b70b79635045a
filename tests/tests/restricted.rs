//! What the threads of a running tracer may still do: the kernel is asked.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::collections::BTreeMap;
use std::process::Output;

use tests::alone::{alone, bash};

/// Two namespaces of which one drops what the other sends; a shell with `threads PID`, which prints a line for each thread:
/// its name, its capabilities, `NoNewPrivs` and `Seccomp` of /proc/PID/task/TID/status.
fn shell(script: &str) -> Output {
    let setup = r#"for ns in one two; do ip netns add $ns; ip -n $ns link set lo up; done
        ip link add eth0 netns one type veth peer name eth0 netns two
        ip -n one addr add 10.196.1.1/24 dev eth0; ip -n one link set eth0 up
        ip -n two addr add 10.196.1.2/24 dev eth0; ip -n two link set eth0 up
        mkdir -p /run/kept; cd /run/kept
        threads() { for task in /proc/$1/task/*; do
            # one may end meanwhile
            name=$(cat $task/comm 2> /dev/null) && status=$(cat $task/status 2> /dev/null) || continue
            echo "${name// /_}" $(sed -nE 's/^(CapPrm|CapEff|NoNewPrivs|Seccomp):\s*//p' <<< "$status")
        done; }
        until_said() { for n in $(seq 600); do grep -q "$1" "$2" && return; sleep 0.05; done; cat "$2" >&2; exit 1; }"#;
    bash(&format!("{setup}\n{script}")).unwrap()
}

/// By thread: capabilities, and whether there are no new privileges and a filter of system calls.
fn threads(lines: &str) -> BTreeMap<String, (u64, bool)> {
    let read = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, permitted, effective, alone, seccomp] = words.as_slice() else {
            return None;
        };
        assert_eq!(permitted, effective, "{line}");
        let held = u64::from_str_radix(permitted, 16).unwrap();
        Some(((*name).to_owned(), (held, *alone == "1" && *seccomp == "2")))
    };
    lines.lines().filter_map(read).collect()
}

fn words(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Bits of include/uapi/linux/capability.h: DAC_READ_SEARCH, NET_ADMIN, SYS_PTRACE, SYS_ADMIN, PERFMON, BPF.
const MACHINE: u64 = 1 << 2 | 1 << 12 | 1 << 19 | 1 << 21 | 1 << 38 | 1 << 39;
/// DAC_OVERRIDE.
const FILES: u64 = 1 << 1;

#[test]
fn each_thread_holds_what_it_needs_and_new_namespaces_are_found() {
    alone(|| {
        let done = shell(
            r#""$TRACER" -v --record t.tracer -o report.txt --packets 4 icmp and host 10.196.2.2 2> said & pid=$!
            until_said "tracer: ready" said
            threads $pid
            ip netns add three; ip link add eth1 netns one type veth peer name eth0 netns three
            ip -n one addr add 10.196.2.1/24 dev eth1; ip -n one link set eth1 up
            ip -n three addr add 10.196.2.2/24 dev eth0; ip -n three link set eth0 up
            ip netns exec one ping -n -q -i 0.2 -c 100 10.196.2.2 > /dev/null & ping=$!
            wait $pid || exit 1
            kill $ping
            grep -q 'three *eth0' report.txt || { cat report.txt >&2; exit 1; }
            cat said >&2; "$TRACER" replay -v t.tracer --color never | cmp - report.txt"#,
        );
        let said = words(&done.stderr);
        assert!(done.status.success(), "{said}");
        // where the kernel has all of it
        assert!(!said.contains("not restricted"), "{said}");
        let found = threads(&words(&done.stdout));
        let held = |name: &str| found.get(name).copied();
        assert_eq!(held("tracer"), Some((0, true)), "{found:?}");
        assert_eq!(held("tracer-records"), Some((0, true)), "{found:?}");
        assert_eq!(held("tracer-files"), Some((FILES, true)), "{found:?}");
        assert_eq!(held("tracer-control"), Some((MACHINE, true)), "{found:?}");
        assert_eq!(held("watcher"), Some((MACHINE, true)), "{found:?}");
        assert_eq!(found.len(), 5, "{found:?}");
    })
    .unwrap();
}

#[test]
fn who_reads_a_recording_holds_nothing() {
    alone(|| {
        let done = shell(
            r#"mkfifo pipe; exec 9<> pipe
            for command in replay diff; do
                set -- replay -; [ $command = diff ] && set -- diff - pipe
                "$TRACER" "$@" < pipe > out 2> said & pid=$!
                for n in $(seq 200); do [ $(ls /proc/$pid/task | wc -l) -gt 1 ] && break; sleep 0.02; done
                sleep 0.5
                threads $pid | sed "s/^/$command-/"
                kill -KILL $pid; wait $pid 2> /dev/null || true
            done; true"#,
        );
        assert!(done.status.success(), "{}", words(&done.stderr));
        let found = threads(&words(&done.stdout));
        let reading = found.iter().filter(|(name, _)| !name.ends_with("tracer-files"));
        let reading: Vec<_> = reading.collect();
        assert!(reading.len() >= 2, "{found:?}");
        for (name, held) in reading {
            assert_eq!(*held, (0, true), "{name}");
        }
    })
    .unwrap();
}

#[test]
fn a_recording_in_parts_is_written_where_only_its_owner_may() {
    alone(|| {
        let done = shell(
            r#"mkdir home; chown 65534 home; chmod 700 home
            "$TRACER" --record home/t.tracer --max-size 1M --duration 20s -o report.txt icmp and host 10.196.1.2 2> said & pid=$!
            until_said "tracer: ready" said
            ip netns exec one ping -n -q -f -s 1000 10.196.1.2 > /dev/null & ping=$!
            for n in $(seq 300); do [ -e home/t.tracer.1 ] && break; sleep 0.05; done
            kill $ping; kill -INT $pid; wait $pid || { cat said >&2; exit 1; }
            ls home; cat said >&2"#,
        );
        let said = words(&done.stderr);
        assert!(done.status.success(), "{said}");
        assert_eq!(words(&done.stdout), "t.tracer\nt.tracer.1\n", "{said}");
        assert!(!said.contains("the recording ends here"), "{said}");
    })
    .unwrap();
}
