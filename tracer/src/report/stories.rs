//! Flows with one story: the same happened to them at the same place, so it is told once, with their number.

use super::{FlowReport, HopReport, LossReport};
use crate::verdict::Outcome;

/// Flows with the same story, in the report's order: the first is the worst.
#[must_use]
pub fn stories(flows: &[FlowReport]) -> Vec<Vec<&FlowReport>> {
    let mut stories: Vec<Vec<&FlowReport>> = Vec::new();
    for flow in flows {
        let known = stories
            .iter_mut()
            .find(|story| story.first().is_some_and(|first| is_same(first, flow)));
        match known {
            Some(story) => story.push(flow),
            None => stories.push(vec![flow]),
        }
    }
    stories
}

/// Of what was delivered the path is the story, so that has to be the same as well.
fn is_same(one: &FlowReport, other: &FlowReport) -> bool {
    let (a, b) = (&one.verdict, &other.verdict);
    (a.outcome, &a.cause, &a.place, &a.summary) == (b.outcome, &b.cause, &b.place, &b.summary)
        && (a.outcome > Outcome::Delivered || places(one).eq(places(other)))
}

fn places(flow: &FlowReport) -> impl Iterator<Item = (&str, &str, &str, &str)> {
    let hops = flow
        .paths
        .iter()
        .flat_map(|path| path.hops.iter().map(move |hop| (&path.direction, hop)));
    hops.map(|(direction, hop): (_, &HopReport)| {
        (
            direction.as_str(),
            hop.namespace.as_str(),
            hop.interface.as_str(),
            hop.hook.as_str(),
        )
    })
}

/// A loss as several flows had it.
#[derive(Clone, Copy, Debug)]
pub struct SharedLoss<'a> {
    /// The flow that lost the most packets, and which of its losses it is.
    pub flow: &'a FlowReport,
    /// Its number in the flow.
    pub index: usize,
    /// As that flow had it.
    pub loss: &'a LossReport,
    /// Packets of all flows.
    pub packets: u64,
    /// When the last of them was lost.
    pub last_ns: u64,
    /// How many flows.
    pub flows: u64,
}

/// Losses of all flows by cause and place, most packets first.
#[must_use]
pub fn losses(flows: &[FlowReport]) -> Vec<SharedLoss<'_>> {
    let mut list: Vec<SharedLoss<'_>> = Vec::new();
    for flow in flows {
        for (index, loss) in flow.losses.iter().enumerate() {
            let known = list.iter_mut().find(|shared| {
                let known = shared.loss;
                (&known.cause, &known.direction, &known.place, &known.summary)
                    == (&loss.cause, &loss.direction, &loss.place, &loss.summary)
            });
            let Some(shared) = known else {
                list.push(SharedLoss {
                    flow,
                    index,
                    loss,
                    packets: loss.packets,
                    last_ns: loss.last_ns,
                    flows: 1,
                });
                continue;
            };
            if loss.packets > shared.loss.packets {
                (shared.flow, shared.index, shared.loss) = (flow, index, loss);
            }
            shared.packets += loss.packets;
            shared.last_ns = shared.last_ns.max(loss.last_ns);
            shared.flows += 1;
        }
    }
    list.sort_by_key(|shared| std::cmp::Reverse(shared.packets));
    list
}
