//! Round trips of random inputs, cuts at every byte, damage at every byte, foreign files.
#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(clippy::indexing_slicing, reason = "tests")]

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use tracer_common::stats::{HopCount, HopKey};
use tracer_common::tuple::RawTuple;

use super::{Ending, HEADER_SIZE, Reader, RecordingError, VERSION, Writer};
use crate::host::facts::{
    BaseChain, Fact, FilterEngine, Neighbor, Probe, ProbeState, RouteAnswer, Selectors,
};
use crate::model::{Counters, Losses};
use crate::model::{Device, IfIndex, KtimeNs, Mac, NetNs, Proto, Tuple};
use crate::source::{EndReason, Input};

fn device() -> impl Strategy<Value = Device> {
    (any::<u32>(), any::<u32>()).prop_map(|(netns, ifindex)| Device {
        netns: NetNs(netns),
        ifindex: IfIndex(ifindex),
    })
}

fn fact() -> impl Strategy<Value = Fact> {
    prop_oneof![
        (any::<u32>(), any::<Option<String>>(), ".*").prop_map(|(netns, value, name)| {
            Fact::Sysctl {
                netns: NetNs(netns),
                name,
                value,
            }
        }),
        vec((any::<u32>(), any::<String>()), 0..4).prop_map(Fact::DropReasons),
        (device(), any::<[u8; 4]>(), any::<[u8; 6]>()).prop_map(|(device, address, mac)| {
            Fact::Neighbor(Neighbor {
                device,
                address: IpAddr::from(address),
                state: 2,
                mac: Some(Mac(mac)),
            })
        }),
        (any::<u32>(), any::<[u8; 16]>(), any::<u16>()).prop_map(|(netns, address, port)| {
            Fact::Route(RouteAnswer {
                netns: NetNs(netns),
                tuple: Tuple {
                    proto: Proto::Other(41),
                    src: IpAddr::from(address),
                    sport: port,
                    dst: IpAddr::V4(Ipv4Addr::LOCALHOST),
                    dport: 0,
                    icmp_id: 0,
                },
                iif: 0,
                with: Selectors::default(),
                result: Err(101),
            })
        }),
        (any::<u32>(), any::<String>(), any::<i32>()).prop_map(|(netns, table, priority)| {
            Fact::Chains(
                NetNs(netns),
                vec![BaseChain {
                    engine: FilterEngine::Nftables,
                    family: "ip".into(),
                    table,
                    chain: "FORWARD".into(),
                    hook: "FORWARD".into(),
                    priority,
                    policy_drop: true,
                    rules: None,
                    policy_packets: None,
                    kind: None,
                    devices: Vec::new(),
                    stops: Vec::new(),
                    more_stops: false,
                }],
            )
        }),
        any::<String>().prop_map(|detail| {
            Fact::Probe(Probe {
                name: "kfree_skb".into(),
                state: ProbeState::Attached,
                detail,
            })
        }),
    ]
}

fn counters() -> impl Strategy<Value = Counters> {
    let row = (any::<[u32; 4]>(), any::<u16>(), any::<u32>(), any::<u64>()).prop_map(
        |(src, sport, netns, packets)| {
            (
                HopKey {
                    tuple: RawTuple {
                        src,
                        sport,
                        ..RawTuple::default()
                    },
                    netns,
                    ifindex: 7,
                    hook: 1,
                    asked: 0,
                    reason: 0,
                    site: 0,
                },
                HopCount {
                    packets,
                    ..HopCount::default()
                },
            )
        },
    );
    (
        vec(row, 0..6),
        vec((any::<String>(), any::<u64>()), 0..3),
        any::<u64>(),
    )
        .prop_map(|(hops, lost, map_full)| Counters {
            hops,
            loss: Losses {
                lost,
                map_full,
                ..Losses::default()
            },
        })
}

fn input() -> impl Strategy<Value = Input> {
    let at = any::<u64>().prop_map(KtimeNs);
    prop_oneof![
        (at.clone(), fact()).prop_map(|(at, fact)| Input::Host(at, fact)),
        vec(any::<u8>(), 0..700).prop_map(|bytes| Input::Record(Bytes::from(bytes))),
        (at.clone(), counters()).prop_map(|(at, counters)| Input::Counters(at, counters)),
        at.prop_map(Input::Tick),
    ]
}

fn record(inputs: &[Input]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new()).unwrap();
    for input in inputs {
        writer.write(input).unwrap();
    }
    writer.finish().unwrap()
}

/// What a file gave: its inputs, the error if there was one, and how it ended.
type Replayed = (Vec<Input>, Option<RecordingError>, Option<Ending>);

fn replay(file: &[u8]) -> Result<Replayed, RecordingError> {
    let mut reader = Reader::new(file)?;
    let mut inputs = Vec::new();
    let mut error = None;
    for item in reader.by_ref() {
        match item {
            Ok(input) => inputs.push(input),
            Err(found) => error = Some(found),
        }
    }
    Ok((inputs, error, reader.ending()))
}

const fn end(at: u64) -> Input {
    Input::End(KtimeNs(at), EndReason::Asked)
}

/// Three blocks: a tick a second apart ends each.
fn three_seconds() -> Vec<Input> {
    let mut inputs = Vec::new();
    for second in 0..3u64 {
        let at = second * 1_000_000_000;
        let mut bytes = vec![0; 384];
        bytes[..8].copy_from_slice(&at.to_ne_bytes());
        bytes[200..208].copy_from_slice(&(second * 77).to_ne_bytes());
        inputs.push(Input::Record(Bytes::from(bytes)));
        inputs.push(Input::Tick(KtimeNs(at)));
    }
    inputs.push(end(2_000_000_001));
    inputs
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn what_was_written_is_read(mut inputs in vec(input(), 0..40)) {
        inputs.push(end(5));
        let (read, error, ending) = replay(&record(&inputs)).unwrap();
        prop_assert!(error.is_none(), "{error:?}");
        prop_assert_eq!(read, inputs);
        prop_assert_eq!(ending, Some(Ending::Whole));
    }

    #[test]
    fn random_bytes_after_the_header_do_no_harm(bytes in vec(any::<u8>(), 0..300)) {
        let mut file = record(&[]);
        file.extend(bytes);
        // an end is always told, by an input or an error
        let (inputs, error, _) = replay(&file).unwrap();
        prop_assert_eq!(inputs.len() + usize::from(error.is_some()), 1);
    }
}

#[test]
fn a_cut_file_loses_only_its_tail() {
    let inputs = three_seconds();
    let whole = record(&inputs);
    let mut shortest = inputs.len();
    for length in (HEADER_SIZE..whole.len()).rev() {
        let (mut read, error, ending) = replay(&whole[..length]).unwrap();
        assert!(error.is_none(), "{length}: {error:?}");
        let Some(Ending::Cut { offset }) = ending else {
            panic_at(length, ending)
        };
        assert!(offset as usize <= length);
        let last = read.pop().unwrap();
        assert!(
            matches!(last, Input::End(_, EndReason::EndOfFile)),
            "{last:?}"
        );
        assert_eq!(read, inputs[..read.len()], "cut at {length}");
        assert!(read.len() <= shortest);
        shortest = read.len();
    }
    assert_eq!(shortest, 0);
}

#[expect(clippy::panic, reason = "tests")]
fn panic_at(length: usize, ending: Option<Ending>) -> ! {
    panic!("cut at {length} ended {ending:?}")
}

#[test]
fn a_kill_costs_no_more_than_the_last_second() {
    let inputs = three_seconds();
    let mut writer = Writer::new(Vec::new()).unwrap();
    for input in &inputs[..5] {
        writer.write(input).unwrap();
    }
    // what the inner writer had when the process died: blocks end at the first input of seconds 1 and 2
    let file = writer.written().to_vec();
    let (read, ..) = replay(&file).unwrap();
    assert_eq!(read[..5], inputs[..5]);
    assert_eq!(
        read[5],
        Input::End(KtimeNs(2_000_000_000), EndReason::EndOfFile)
    );
}

#[test]
fn every_changed_byte_is_noticed() {
    let inputs = three_seconds();
    let whole = record(&inputs);
    for place in HEADER_SIZE..whole.len() {
        let mut file = whole.clone();
        file[place] ^= 0x10;
        let (read, error, ending) = replay(&file).unwrap();
        match error {
            Some(RecordingError::Damaged { offset, .. }) => assert!(offset as usize <= place),
            // a length that grew looks like a file that ends too early
            None => assert!(matches!(ending, Some(Ending::Cut { .. })), "{place}"),
            Some(other) => assert_eq!(other.to_string(), "", "{place}"),
        }
        let kept = read.iter().filter(|i| !matches!(i, Input::End(..))).count();
        assert_eq!(read[..kept], inputs[..kept], "changed at {place}");
    }
}

#[test]
fn bad_lengths_allocate_nothing() {
    let mut file = record(&[]);
    let header = file.len();
    file.extend(u32::MAX.to_le_bytes());
    file.extend([0; 64]);
    let (_, error, _) = replay(&file).unwrap();
    assert!(
        matches!(error, Some(RecordingError::Damaged { offset, .. }) if offset == header as u64),
        "{error:?}"
    );
    // a promise of 16 MiB that the file does not keep
    file.truncate(header);
    file.extend((16u32 << 20).to_le_bytes());
    file.extend([1; 64]);
    let (_, error, ending) = replay(&file).unwrap();
    assert!(error.is_some() || matches!(ending, Some(Ending::Cut { .. })));
}

#[test]
fn inputs_larger_than_a_block_are_read_back() {
    let inputs = [
        Input::Tick(KtimeNs(1)),
        Input::Record(Bytes::from(vec![7; 3 << 20])),
        Input::Tick(KtimeNs(2)),
        end(3),
    ];
    let (read, error, _) = replay(&record(&inputs)).unwrap();
    assert!(error.is_none(), "{error:?}");
    assert_eq!(read, inputs);
}

#[test]
fn an_input_that_does_not_fit_is_refused_alone() {
    let mut writer = Writer::new(Vec::new()).unwrap();
    writer.write(&Input::Tick(KtimeNs(1))).unwrap();
    let error = writer
        .write(&Input::Record(Bytes::from(vec![0; 17 << 20])))
        .unwrap_err();
    assert!(error.to_string().contains("does not fit"), "{error}");
    writer.write(&end(2)).unwrap();
    let (read, ..) = replay(&writer.finish().unwrap()).unwrap();
    assert_eq!(read, [Input::Tick(KtimeNs(1)), end(2)]);
}

#[test]
fn other_files_are_refused_in_one_line() {
    let ours = record(&[end(1)]);
    let mut newer = ours.clone();
    newer[8] = 9;
    let mut swapped = ours.clone();
    swapped.swap(12, 13);
    let cases: [(&[u8], &str); 6] = [
        (b"", "not a recording"),
        (b"{\"schema\":\"tracer.report/1\"}", "not a recording"),
        (&ours[..7], "not a recording"),
        (&ours[..12], "not a recording"),
        (&newer, "format 9"),
        (&swapped, "byte order"),
    ];
    for (file, words) in cases {
        let error = replay(file).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert!(!error.contains('\n'));
    }
    assert!(
        replay(&newer)
            .unwrap_err()
            .to_string()
            .contains(&VERSION.to_string())
    );
}

#[test]
fn kinds_of_a_later_version_are_skipped_and_counted() {
    let mut writer = Writer::new(Vec::new()).unwrap();
    writer.write(&Input::Tick(KtimeNs(1))).unwrap();
    writer.append_raw(&[200, 3, 0, 0, 0, b'a', b'b', b'c']);
    writer.write(&end(2)).unwrap();
    let file = writer.finish().unwrap();
    let mut reader = Reader::new(file.as_slice()).unwrap();
    let read: Vec<Input> = reader.by_ref().map(Result::unwrap).collect();
    assert_eq!(read, [Input::Tick(KtimeNs(1)), end(2)]);
    assert_eq!(reader.unknown(), 1);
}
