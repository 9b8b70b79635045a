//! Whatever was given up, what is kept is a whole recording within its bounds.

use proptest::prelude::*;
use tracer_common::hook;
use tracer_common::stats::{HopCount, HopKey};
use tracer_common::tuple::{FAMILY_V6, RawTuple};

use super::*;
use crate::host::facts::{Namespace, Run};
use crate::model::{Counters, Losses, NetNs};
use crate::session::Session;
use crate::source::recording::samples::record;
use crate::source::recording::{Ending, Reader};

const SECOND: u64 = 1_000_000_000;
const START: u64 = 50 * SECOND;

fn opening() -> Vec<Input> {
    let run = Run {
        started_ktime: KtimeNs(START),
        started_unix_ns: 1_000 * SECOND,
        expression: "icmp".to_owned(),
        ..Run::default()
    };
    let at = KtimeNs(START + 1);
    vec![
        Input::Host(at, Fact::Run(Box::new(run))),
        namespace(at.0, 1, "host"),
    ]
}

fn namespace(at: u64, netns: u32, name: &str) -> Input {
    let namespace = Namespace {
        netns: NetNs(netns),
        name: name.to_owned(),
        process: None,
        path: None,
        node: None,
    };
    Input::Host(KtimeNs(at), Fact::Namespace(namespace))
}

fn counters(at: u64, packets: u64) -> Input {
    let key = HopKey {
        tuple: RawTuple {
            src: [1; 4],
            dst: [2; 4],
            sport: 5000,
            dport: 53,
            family: FAMILY_V6,
            proto: 17,
            pad: [0; 2],
        },
        netns: 1,
        ifindex: 2,
        hook: hook::TC_INGRESS,
        asked: 1,
        reason: 0,
        site: 0,
    };
    let count = HopCount {
        packets,
        last_ns: at,
        ..HopCount::default()
    };
    let counters = Counters {
        hops: vec![(key, count)],
        loss: Losses::default(),
    };
    Input::Counters(KtimeNs(at), counters)
}

/// What is saved, read again; it must be whole.
fn saved(ring: &mut Ring) -> Vec<Input> {
    let bytes = ring.recording().unwrap().unwrap().pieces.concat();
    let mut reader = Reader::new(bytes.as_slice()).unwrap();
    let inputs: Vec<Input> = reader.by_ref().map(Result::unwrap).collect();
    assert_eq!(reader.ending(), Some(Ending::Whole));
    inputs
}

fn records(inputs: &[Input]) -> Vec<u64> {
    let of = |input: &Input| matches!(input, Input::Record(_)).then(|| input.at().unwrap().0);
    inputs.iter().filter_map(of).collect()
}

/// So many seconds, with so many records in each.
fn run(ring: &mut Ring, seconds: u64, each: u64) {
    for input in opening() {
        ring.take(&input).unwrap();
    }
    for second in 0..seconds {
        let begin = START + second * SECOND;
        for n in 0..each {
            ring.take(&record(begin + n)).unwrap();
        }
        ring.take(&counters(begin + SECOND / 2, second * each))
            .unwrap();
        ring.take(&Input::Tick(KtimeNs(begin + SECOND))).unwrap();
    }
}

#[test]
fn a_short_trace_is_kept_whole() {
    let mut ring = Ring::new(Duration::from_secs(60), 1 << 20);
    run(&mut ring, 5, 3);
    let inputs = saved(&mut ring);
    assert_eq!(inputs.first(), opening().first());
    assert_eq!(records(&inputs).len(), 15);
    assert_eq!(ring.span(), Duration::from_secs(5));
}

#[test]
fn what_is_too_old_is_given_up_and_the_rest_begins_with_what_holds() {
    let mut ring = Ring::new(Duration::from_secs(16), 1 << 24);
    run(&mut ring, 100, 3);
    let inputs = saved(&mut ring);
    let kept = records(&inputs);
    // at least what was wished for, at most two parts of two seconds more
    let first = kept.first().unwrap();
    let since = (START + 100 * SECOND - first) / SECOND;
    assert!((16..=20).contains(&since), "{since}");
    let Some(Input::Host(at, Fact::Run(run))) = inputs.first() else {
        unreachable!("a recording begins with its run: {:?}", inputs.first())
    };
    assert_eq!(run.started_ktime, *at);
    let into = run.started_ktime.0 - START;
    assert_eq!(run.started_unix_ns, 1_000 * SECOND + into);
    assert!(inputs.contains(&namespace(START + 1, 1, "host")));
}

#[test]
fn memory_is_bounded_and_a_ring_that_is_too_small_says_so() {
    const MOST: usize = 400_000;
    let mut ring = Ring::new(Duration::from_secs(600), MOST);
    let mut most = 0;
    for input in opening() {
        ring.take(&input).unwrap();
    }
    for n in 0..40_000u64 {
        let at = START + n * SECOND / 100;
        ring.take(&record(at)).unwrap();
        ring.take(&Input::Tick(KtimeNs(at))).unwrap();
        most = most.max(ring.memory());
    }
    // a block may be pending when a part is full
    assert!(most < MOST + (64 << 10), "{most}");
    assert!(ring.is_too_small());
    assert!(ring.span() < Duration::from_secs(60));
    let kept = records(&saved(&mut ring));
    assert!(kept.len() > 300, "{}", kept.len());
    let expected: Vec<u64> = (40_000 - kept.len() as u64..40_000)
        .map(|n| START + n * SECOND / 100)
        .collect();
    assert_eq!(kept, expected);
}

#[test]
fn a_replay_counts_from_where_the_recording_begins() {
    let mut ring = Ring::new(Duration::from_secs(8), 1 << 24);
    run(&mut ring, 60, 10);
    let inputs = saved(&mut ring);
    let told = inputs.iter().filter_map(|input| match input {
        Input::Counters(at, counters) => Some((*at, counters.hops.first().unwrap().1.packets)),
        _ => None,
    });
    let told: Vec<(KtimeNs, u64)> = told.collect();
    let (begun, before) = *told.first().unwrap();
    let mut session = Session::default();
    inputs.iter().for_each(|input| {
        session.input(input);
    });
    assert_eq!(session.host().run.as_ref().unwrap().started_ktime, begun);
    // of a flow without an event, what was counted since
    let (_, last) = *told.last().unwrap();
    assert_eq!(
        session.trace().unfollowed.packets + session.trace().unfollowed.crowded,
        last - before
    );
    assert!(before > 0);
}

#[test]
fn a_session_goes_on_from_an_opening() {
    let mut ring = Ring::new(Duration::from_secs(8), 1 << 24);
    run(&mut ring, 20, 1);
    let mut session = Session::default();
    for input in ring.opening() {
        session.input(&input);
    }
    assert_eq!(session.host().namespace(NetNs(1)), "host");
    assert_eq!(session.trace().unfollowed.crowded, 0);
    assert_eq!(session.host().changes.iter().count(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]
    #[test]
    fn whatever_came_what_is_saved_is_whole_and_in_order(
        steps in proptest::collection::vec((0u64..3 * SECOND, 0u8..5), 1..200),
        keep in 1u64..30,
        most in 20_000usize..200_000,
    ) {
        let mut ring = Ring::new(Duration::from_secs(keep), most);
        for input in opening() {
            ring.take(&input).unwrap();
        }
        let mut at = START + 1;
        let mut all = Vec::new();
        for (n, (pause, kind)) in (0u32..).zip(steps) {
            at += pause;
            let input = match kind {
                0 => namespace(at, n + 2, "pod"),
                1 => Input::Host(KtimeNs(at), Fact::NamespaceGone(NetNs(n + 1))),
                2 => counters(at, u64::from(n)),
                3 => Input::Tick(KtimeNs(at)),
                _ => record(at),
            };
            ring.take(&input).unwrap();
            all.push(input);
        }
        if ring.open.is_some() {
            let inputs = saved(&mut ring);
            let begins = matches!(inputs.first(), Some(Input::Host(_, Fact::Run(_))));
            prop_assert!(begins);
            // the newest records, without a gap
            let (kept, all) = (records(&inputs), records(&all));
            prop_assert_eq!(kept.as_slice(), all.split_at(all.len() - kept.len()).1);
        }
    }
}
