//! What IPVS has for a packet in the calling thread's namespace, read-only: /proc/net/ip_vs and ip_vs_conn. Both are in
//! hexadecimal, and are there when the module is loaded.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr};

use super::facts::{IpvsAnswer, IpvsDestination, IpvsService};
use crate::model::{NetNs, Proto, Tuple};

/// Of the namespace of the thread that opens them.
const SERVICES: &str = "/proc/thread-self/net/ip_vs";
const CONNECTIONS: &str = "/proc/thread-self/net/ip_vs_conn";
/// Most connections that are kept.
const MANY: usize = 16;

/// Services at the packet's destination, and where its connections lead.
pub(super) fn read(netns: NetNs, tuple: Tuple) -> io::Result<IpvsAnswer> {
    let mut answer = IpvsAnswer {
        netns,
        tuple,
        services: Vec::new(),
        connections: Vec::new(),
    };
    let text = match fs::read_to_string(SERVICES) {
        // Without the file there is no IPVS.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(answer),
        read => read?,
    };
    answer.services = services(&text, tuple.dst);
    if !answer.services.is_empty() {
        for line in BufReader::new(fs::File::open(CONNECTIONS)?).lines() {
            let found = connection(&line?, &tuple);
            answer.connections.extend(found);
            if answer.connections.len() >= MANY {
                break;
            }
        }
    }
    Ok(answer)
}

/// `TCP  0A60070A:0050 rr`, and below each its destinations: `  -> 0A3D020B:1F90 Masq 1 0 0` (ip_vs_info_seq_show,
/// net/netfilter/ipvs/ip_vs_ctl.c).
fn services(text: &str, at: IpAddr) -> Vec<IpvsService> {
    let mut list: Vec<IpvsService> = Vec::new();
    let mut wanted = false;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["->", end, method, weight, ..] => {
                if let (Some((address, port)), Ok(weight), true) =
                    (end_of(end), weight.parse(), wanted)
                    && let Some(service) = list.last_mut()
                {
                    service.destinations.push(IpvsDestination {
                        address,
                        port,
                        method: (*method).to_owned(),
                        weight,
                    });
                }
            }
            [proto, end, scheduler, ..] => {
                let found = proto_of(proto).zip(end_of(end));
                wanted = found.is_some_and(|(_, (address, _))| address == at);
                if let Some((proto, (address, port))) = found.filter(|_| wanted) {
                    list.push(IpvsService {
                        proto,
                        address,
                        port,
                        scheduler: (*scheduler).to_owned(),
                        destinations: Vec::new(),
                    });
                }
            }
            _ => {}
        }
    }
    list
}

/// `TCP 0A3D0105 C2A8 0A60070A 0050 0A3D020B 1F90 ESTABLISHED 897`: client, service, destination
/// (ip_vs_conn_seq_show, net/netfilter/ipvs/ip_vs_conn.c). The destination, where it is the packet's connection.
fn connection(line: &str, tuple: &Tuple) -> Option<(IpAddr, u16)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [proto, client, cport, service, vport, to, port, ..] = words.as_slice() else {
        return None;
    };
    let number = |word: &str| u16::from_str_radix(word, 16).ok();
    let own = proto_of(proto)? == tuple.proto
        && (address_of(client)?, number(cport)?) == (tuple.src, tuple.sport)
        && (address_of(service)?, number(vport)?) == (tuple.dst, tuple.dport);
    own.then_some((address_of(to)?, number(port)?))
}

fn proto_of(word: &str) -> Option<Proto> {
    match word {
        "TCP" => Some(Proto::Tcp),
        "UDP" => Some(Proto::Udp),
        "SCTP" => Some(Proto::Sctp),
        _ => None,
    }
}

fn end_of(word: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = word.rsplit_once(':')?;
    Some((address_of(address)?, u16::from_str_radix(port, 16).ok()?))
}

/// `0A60070A`, or IPv6 in full, which services write in brackets.
fn address_of(word: &str) -> Option<IpAddr> {
    if word.len() == 8 {
        let number = u32::from_str_radix(word, 16).ok()?;
        return Some(Ipv4Addr::from(number).into());
    }
    let six = word.trim_start_matches('[').trim_end_matches(']');
    six.parse().ok()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "addresses are written below")]
mod tests {
    use super::*;

    const TEXT: &str = "IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A60070A:0050 rr 
  -> 0A3D020B:1F90      Masq    1      0          0         
  -> 0A3D030C:1F90      Masq    0      2          1         
UDP  0A60070B:0035 wrr persistent 300
  -> 0A3D020B:14E9      Route   1      0          0         
TCP  [fd00:0000:0000:0000:0000:0000:0000:000a]:0050 rr
  -> [fd00:0000:0000:0000:0000:0000:0000:000b]:1F90      Masq    1      0          0
FWM  00000001 rr
";

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn services_of_an_address_are_read_with_their_destinations() {
        let found = services(TEXT, address("10.96.7.10"));
        let [service] = found.as_slice() else {
            unreachable!("one service, not {found:?}")
        };
        assert_eq!(
            (service.proto, service.port, service.scheduler.as_str()),
            (Proto::Tcp, 80, "rr")
        );
        let ends: Vec<_> = service
            .destinations
            .iter()
            .map(|d| (d.address, d.port, d.weight))
            .collect();
        assert_eq!(
            ends,
            [
                (address("10.61.2.11"), 8080, 1),
                (address("10.61.3.12"), 8080, 0)
            ]
        );
        let six = services(TEXT, address("fd00::a"));
        assert_eq!(six.len(), 1);
        assert!(six.iter().all(|s| s.has(address("fd00::b"), 8080)));
        assert_eq!(services(TEXT, address("10.96.7.12")), []);
    }

    #[test]
    fn a_connection_is_known_by_both_its_ends() {
        let line = "UDP 0A3D0105 9C75 0A60070A 0035 0A3D020B 14E9 UDP             297";
        let tuple = Tuple {
            proto: Proto::Udp,
            src: address("10.61.1.5"),
            dst: address("10.96.7.10"),
            sport: 40053,
            dport: 53,
            icmp_id: 0,
        };
        assert_eq!(
            connection(line, &tuple),
            Some((address("10.61.2.11"), 5353))
        );
        let other = Tuple {
            sport: 40054,
            ..tuple
        };
        assert_eq!(connection(line, &other), None);
    }
}
