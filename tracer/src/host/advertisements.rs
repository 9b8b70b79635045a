//! Router advertisements that reached the interfaces of a namespace, and whether they are taken, read-only:
//! `/proc/net/dev_snmp6`, and the two sysctls that decide.

use std::fs;
use std::io;
use std::path::Path;

use super::facts::Advertised;

/// Of the namespace of the thread that opens it: a file for each interface.
const COUNTERS: &str = "/proc/thread-self/net/dev_snmp6";
/// Sysctls of interfaces, of the namespace of the thread that opens them.
const SETTINGS: &str = "/proc/sys/net/ipv6/conf";

/// The interfaces of the calling thread's namespace that got advertisements.
pub(super) fn read() -> io::Result<Vec<Advertised>> {
    let files = match fs::read_dir(COUNTERS) {
        // Without IPv6 in the kernel there is none.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read?,
    };
    // An interface that goes away meanwhile is none any more.
    let interface = |file: fs::DirEntry| {
        let (ifindex, received) = counted(&fs::read_to_string(file.path()).ok()?)?;
        let settings = Path::new(SETTINGS).join(file.file_name());
        let setting = |key| {
            fs::read_to_string(settings.join(key))
                .ok()?
                .trim()
                .parse()
                .ok()
        };
        let advertised = Advertised {
            ifindex,
            received,
            accept: setting("accept_ra")?,
            forwards: setting("forwarding")? != 0,
        };
        (received > 0).then_some(advertised)
    };
    Ok(files.flatten().filter_map(interface).collect())
}

/// Interface number and advertisements received: a name and a number on each line (snmp6_dev_seq_show,
/// net/ipv6/proc.c).
fn counted(text: &str) -> Option<(u32, u64)> {
    let value = |name: &str| {
        let mut lines = text.lines().map(|line| line.split_whitespace());
        lines.find_map(|mut words| words.next().filter(|n| *n == name).and(words.next()))
    };
    Some((
        value("ifIndex")?.parse().ok()?,
        value("Icmp6InRouterAdvertisements")?.parse().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advertisements_are_counted_by_interface() {
        let text = "ifIndex                         \t7\nIp6InReceives                   \t12\n\
                    Icmp6InRouterSolicits           \t1\nIcmp6InRouterAdvertisements     \t3\n";
        assert_eq!(counted(text), Some((7, 3)));
        assert_eq!(counted("ifIndex\t7\n"), None);
    }
}
