//! The paths of a flow as aligned rows: hops, rewrites between them, and the place where packets were lost.

use super::table::{self, AT, Cells, Row};
use crate::render::figures::{count, duration};
use crate::render::page::Page;
use crate::render::style::{Face, Ink, Marks};
use crate::report::{CheckReport, FlowReport, HopReport, PathReport};
use crate::verdict::{Outcome, Place, Verdict};

/// Most hops of a path that are shown.
const HOPS: usize = 48;

/// Both ways of a flow.
pub(super) fn rows(page: &mut Page, flow: &FlowReport, with_checks: bool) {
    let end = end_of(flow);
    let mut rows = Vec::new();
    for (i, path) in flow.paths.iter().enumerate() {
        let asked = flow.tuples.first().map_or("", |tuple| tuple.text.as_str());
        let first = path.hops.first().map_or("", |hop| hop.tuple.as_str());
        // translated before its first hop: that stands there
        let explained = path
            .hops
            .first()
            .is_some_and(|h| changes(&page.marks, h, false).next().is_some());
        if i > 0 || (first != asked && !first.is_empty() && !explained) {
            rows.push(Row::Way(&path.direction, first));
        }
        let end = end.as_ref().filter(|end| end.path == i);
        path_rows(page, (flow, path), (end, with_checks), &mut rows);
    }
    table::draw(page, rows);
}

fn path_rows<'a>(
    page: &Page,
    (flow, path): (&FlowReport, &'a PathReport),
    (end, with_checks): (Option<&End>, bool),
    rows: &mut Vec<Row<'a>>,
) {
    let checks = |list: &[CheckReport]| -> Vec<Row<'a>> {
        let shown = list.iter().filter(|_| with_checks);
        shown
            .map(|check| Row::Check(check_words(check, &page.marks)))
            .collect()
    };
    let changed = |hop: &HopReport, after: bool| -> Vec<Row<'a>> {
        let texts = changes(&page.marks, hop, after);
        texts
            .map(|text| Row::Change(flow.with_owners(&text)))
            .collect()
    };
    rows.extend(checks(&path.checks));
    if let Some(end) = end.filter(|end| end.after == 0) {
        rows.push(end.row(page));
    }
    let mut before = None;
    for (i, hop) in path.hops.iter().enumerate().take(HOPS) {
        rows.extend(changed(hop, false));
        rows.push(Row::Hop(cells(page, hop, before)));
        rows.extend(changed(hop, true));
        rows.extend(checks(&hop.checks));
        before = Some(hop.tuple.as_str());
        match end.filter(|end| end.after == i + 1) {
            Some(end) => rows.push(end.row(page)),
            None if hop.lost_after > 0 => {
                let cells = Cells {
                    packets: count(hop.lost_after),
                    next: "lost here".into(),
                    ..Cells::default()
                };
                rows.push(Row::End(page.marks.doubt, Ink::Doubt, cells));
            }
            None => {}
        }
    }
    if path.hops.len() > HOPS {
        let more = path.hops.len() - HOPS;
        rows.push(Row::Note(format!(
            "{more} more hops are in the JSON report"
        )));
        // what matters most must not be among them
        rows.extend(end.filter(|end| end.after > HOPS).map(|end| end.row(page)));
    }
}

/// Rewrites as a person writes them: `DNAT 10.96.0.1:443 → 10.0.0.5:6443`. A smaller hop limit alone says only that
/// the packet was routed: it stands beside the hop. Those that came about before the hop, or after it.
pub(crate) fn changes(marks: &Marks, hop: &HopReport, after: bool) -> impl Iterator<Item = String> {
    let to = format!(" {} ", marks.to);
    hop.rewrites
        .iter()
        .filter(move |text| !text.starts_with("ttl ") && hop.changed_behind(text) == after)
        .map(move |text| {
            let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
            format!("{} {}", verb.to_uppercase(), rest.replace(" > ", &to))
        })
}

/// A check in one line: `FORWARD  filter/FORWARD rule 3: -i eth0 -j DROP → drop`.
pub(crate) fn check_words(check: &CheckReport, marks: &Marks) -> (String, String) {
    let mut text = String::new();
    if let (Some(family), Some(table), Some(chain)) = (&check.family, &check.table, &check.chain) {
        let family = match family.as_str() {
            "ip" | "ip6" => String::new(),
            family => format!("{family} "),
        };
        text = format!("{family}{table}/{chain} ");
        if let Some(rule) = check.rule {
            let which = match check.handle {
                Some(handle) => format!("rule {rule} (handle {handle}): "),
                None => format!("rule {rule}: "),
            };
            text += &which;
        }
    }
    text += &check.text;
    // a policy's text is its verdict
    if check.rule.is_some() || check.chain.is_none() {
        text += &format!(" {} {}", marks.to, check.verdict);
    }
    if let Some(code) = &check.undecided {
        text += &format!(" ({} {code})", marks.doubt);
    }
    (check.hook.clone(), text)
}

fn cells(page: &Page, hop: &HopReport, before: Option<&str>) -> Cells {
    let latency = |ns: u64| duration(ns, &page.marks);
    let changed = before != Some(hop.tuple.as_str());
    Cells {
        number: hop.n.to_string(),
        namespace: hop.spot().into_owned(),
        interface: hop.interface.clone(),
        hook: hop.hook.clone(),
        tuple: if changed {
            hop.tuple.clone()
        } else {
            String::new()
        },
        packets: count(hop.packets),
        next: hop.latency_ns.map(|l| latency(l.p50)).unwrap_or_default(),
        slowest: hop.latency_ns.map(|l| latency(l.p99)).unwrap_or_default(),
        hops_left: hop
            .rewrites
            .iter()
            .find(|text| text.starts_with("ttl "))
            .cloned()
            .unwrap_or_default(),
    }
}

/// Where the verdict stands in the rows.
pub(crate) struct End {
    /// Index of the path.
    pub(crate) path: usize,
    /// Hops before it.
    pub(crate) after: usize,
    /// What became of the packets.
    pub(crate) face: Face,
    /// Where.
    pub(crate) place: Option<Place>,
    /// How many; none where the sender was told before any packet existed.
    pub(crate) packets: u64,
}

impl End {
    /// The end of what never became a packet: its place alone.
    pub(crate) fn without_path(verdict: &Verdict) -> Option<Self> {
        verdict.place.as_ref().map(|place| Self {
            path: 0,
            after: 0,
            face: Face::of(verdict.outcome),
            place: Some(place.clone()),
            packets: verdict.packets.affected,
        })
    }

    /// The kernel function that lost them. What the sender was told came from a lookup, not from such a function.
    pub(crate) fn function(&self) -> Option<&str> {
        let place = self.place.as_ref().filter(|_| self.packets > 0)?;
        place.function.as_deref()
    }

    fn row<'a>(&self, page: &Page) -> Row<'a> {
        let place = self.place.as_ref();
        let word = |field: fn(&Place) -> &Option<String>| {
            place
                .and_then(|place| field(place).clone())
                .unwrap_or_default()
        };
        let function = self.function().unwrap_or_default();
        let cells = Cells {
            namespace: place.and_then(Place::spot).unwrap_or_default().into_owned(),
            interface: word(|place| &place.interface),
            hook: word(|place| &place.hook),
            packets: match self.packets {
                0 => String::new(),
                packets => count(packets),
            },
            next: match function {
                "" => self.face.word.into(),
                function => format!("{}{AT}{function}", self.face.word),
            },
            ..Cells::default()
        };
        Row::End(self.face.mark(&page.marks), self.face.ink, cells)
    }
}

/// Where the verdict's row belongs, see [`FlowReport::end`].
pub(crate) fn end_of(flow: &FlowReport) -> Option<End> {
    let verdict = &flow.verdict;
    let end = flow.end()?;
    Some(End {
        path: end.path,
        after: end.after,
        face: Face::of(verdict.outcome),
        place: verdict.place.clone(),
        packets: if verdict.outcome == Outcome::Delivered {
            verdict.packets.seen
        } else {
            verdict.packets.affected
        },
    })
}
