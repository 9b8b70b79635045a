//! Recordings that are merged while they come: told again when it was told wrong, nodes that are late, nodes that join.

use std::time::{Duration, Instant};

use super::*;
use crate::source::merge::live::{LiveMerge, News};

/// Two nodes and what they have sent so far.
struct Coming {
    merge: LiveMerge,
    sent: [Vec<Input>; 2],
    now: Instant,
    told: Vec<Input>,
    retold: usize,
}

impl Coming {
    fn new() -> Self {
        let now = Instant::now();
        let names = (0..).map(NodeId).zip(["one", "two"]);
        Self {
            merge: LiveMerge::new(names, now),
            sent: [Vec::new(), Vec::new()],
            now,
            told: Vec::new(),
            retold: 0,
        }
    }

    fn sends(&mut self, node: u16, input: Input) -> Option<News> {
        let sent = self.sent.get_mut(usize::from(node)).unwrap();
        sent.push(input.clone());
        self.merge.take(NodeId(node), input, self.now)
    }

    /// Time passes, and what is known is told.
    fn later(&mut self, by: Duration) -> Vec<News> {
        self.now += by;
        let news = self.merge.look(self.now);
        if self.merge.is_outdated(self.now) {
            self.retold += 1;
            self.told.clear();
            let files = self.sent.each_ref().map(|sent| recording(sent.clone()));
            let again = |node: NodeId| {
                let file = files.get(usize::from(node.0))?;
                Reader::new(file.as_slice()).ok()
            };
            self.merge
                .retell(again, |input| self.told.push(input))
                .unwrap();
        }
        self.told.extend(std::iter::from_fn(|| self.merge.pop()));
        news
    }

    /// When the node's trace ended, as it was told last.
    fn until(&self, node: u16) -> Option<KtimeNs> {
        let told = self.told.iter().rev().find_map(|input| match input {
            Input::Host(_, Fact::Node(told)) if told.id == NodeId(node) => Some(told.until),
            _ => None,
        });
        told.unwrap()
    }
}

const STEP: Duration = Duration::from_millis(100);

fn records(inputs: &[Input]) -> Vec<(u64, u64)> {
    let raws = inputs.iter().filter_map(raw);
    raws.map(|raw| (raw.ktime_ns, raw.fingerprint)).collect()
}

/// Traffic in both directions for a second and a half.
fn traffic() -> [Vec<Input>; 2] {
    let mut nodes = beginnings();
    for n in 0..1500 {
        goes(&mut nodes, n, WAY_NS + n % 7 * 1000);
        comes(&mut nodes, n, WAY_NS + n % 5 * 1000);
    }
    nodes
}

#[test]
fn what_was_told_in_the_end_is_the_merge_of_all() {
    let mut coming = Coming::new();
    let nodes = traffic();
    let [mut one, mut two] = nodes.clone().map(Vec::into_iter);
    for input in two.by_ref().take(2) {
        coming.sends(1, input);
    }
    // the second sends in larger portions, and later
    for step in 0_u64.. {
        for input in one.by_ref().take(100) {
            coming.sends(0, input);
        }
        if step % 4 == 3 {
            for input in two.by_ref().take(400) {
                coming.sends(1, input);
            }
        }
        coming.later(STEP);
        if one.len() + two.len() == 0 {
            break;
        }
    }
    // both must have begun; then packets told that the wall clocks are wrong
    assert!((2..=4).contains(&coming.retold), "{}", coming.retold);
    for node in 0..2 {
        coming.merge.gone(NodeId(node));
    }
    coming.later(STEP);
    let merged = merged(&nodes);
    assert_eq!(records(&merged).len(), 6000);
    assert_eq!(records(&coming.told), records(&merged));
}

#[test]
fn a_node_that_is_late_is_not_waited_for() {
    let mut coming = Coming::new();
    let [one, two] = traffic();
    for input in two.into_iter().take(50) {
        coming.sends(1, input);
    }
    let mut one = one.into_iter();
    for _ in 0..15 {
        for input in one.by_ref().take(100) {
            coming.sends(0, input);
        }
        coming.later(STEP);
    }
    let waited = records(&coming.told).len();
    assert!(waited < 200, "{waited}");
    assert_eq!(coming.until(1), None);

    let mut news = Vec::new();
    for _ in 0..20 {
        for input in one.by_ref().take(100) {
            coming.sends(0, input);
        }
        news.extend(coming.later(STEP));
    }
    assert_eq!(news, [News::Late(NodeId(1))]);
    assert!(records(&coming.told).len() > 1000);
    let until = coming.until(1).unwrap();
    assert!(until.since(KtimeNs(START)) < 100_000_000, "{until:?}");

    let tick = Input::Tick(KtimeNs(there(START) + 3_000_000_000));
    let news = coming.sends(1, tick);
    assert_eq!(news, Some(News::Back(NodeId(1))));
    coming.later(STEP);
    assert_eq!(coming.until(1), None);
}

#[test]
fn nodes_are_waited_for_in_the_beginning_and_may_join_later() {
    let mut coming = Coming::new();
    let [one, two] = beginnings();
    for input in one {
        let news = coming.sends(0, input);
        assert!(matches!(news, Some(News::Begun(_)) | None));
    }
    coming.later(STEP);
    assert_eq!((coming.told.len(), coming.retold), (0, 0));
    let ticks = |n: u64| Input::Tick(KtimeNs(START + n * 1_000_000_000));
    for n in 1..32 {
        coming.sends(0, ticks(n));
        coming.later(Duration::from_secs(1));
    }
    assert_eq!(
        (coming.retold, coming.merge.begun().collect()),
        (1, vec![NodeId(0)])
    );
    assert!(!coming.told.is_empty());
    for input in two {
        coming.sends(1, input);
    }
    coming.later(STEP);
    assert_eq!(coming.retold, 2);
    assert_eq!(coming.merge.begun().count(), 2);
    assert_eq!(coming.until(1), None);
}
