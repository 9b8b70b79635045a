//! A TTL that was lowered on the way by more than the one that each router takes: by a rule, a tc action or a program.

use crate::host::facts::Statement;
use crate::model::{Device, Event, NetNs};

use super::super::ends;
use super::super::loss::Loss;
use super::super::needs::Asked;
use super::super::remedy::{Remedy, text};
use super::super::rewriter;
use super::super::words;

/// The TTL of what does not choose one.
const DEFAULT: &str = "net/ipv4/ip_default_ttl";

/// Where the TTL of a packet was made too small.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lowered {
    netns: NetNs,
    /// Seen with the old one; `None`: by its own sender, before it was seen.
    from: Option<(Device, u8)>,
    /// Seen with the new one: at an interface, or where it died.
    to: (Option<Device>, u8),
}

/// Where a packet was seen with which TTL; the outer header's is another one.
fn seen(event: &Event) -> Option<(NetNs, Option<Device>, u8)> {
    let packet = event.packet.as_ref().filter(|p| p.tunnel.is_none())?;
    let device = event.device;
    let netns = device.map(|d| d.netns).or(event.netns)?;
    Some((netns, device, packet.ttl))
}

impl Lowered {
    /// The first such place of a packet's way; else its sender, where that gives so few hops.
    pub(super) fn of(loss: &Loss<'_>) -> Option<Self> {
        let events = loss.steps().iter().map(|step| &step.event);
        let events = events.chain(std::iter::once(loss.event));
        let views: Vec<_> = events.filter_map(seen).collect();
        let on_the_way = views.windows(2).find_map(|pair| {
            let [(at, from, was), (netns, to, is)] = *pair else {
                return None;
            };
            let taken = was.saturating_sub(is);
            let place = from.filter(|_| at == netns && taken > 1)?;
            Some(Self {
                netns,
                from: Some((place, was)),
                to: (to, is),
            })
        });
        on_the_way.or_else(|| {
            let (netns, to, ttl) = *views.first()?;
            loss.host
                .is_local(netns, loss.tuple()?.src)
                .then_some(Self {
                    netns,
                    from: None,
                    to: (to, ttl),
                })
        })
    }

    /// The interfaces on which programs may have done it.
    fn devices(&self) -> Vec<Device> {
        let mut list: Vec<_> = self.from.iter().map(|(device, _)| *device).collect();
        list.extend(self.to.0.filter(|to| !list.contains(to)));
        list
    }

    /// What to read about it.
    pub(super) fn ask(&self, loss: &Loss<'_>, asked: &mut Asked) {
        if !loss.v6() && self.from.is_none() {
            asked.sysctl(self.netns, DEFAULT);
        }
        rewriter::ask(loss.host, self.netns, &self.devices(), asked);
    }

    /// The program that sends it chose the number: it is not what the sender's host gives without that.
    fn by_program(&self, loss: &Loss<'_>) -> Option<(String, Vec<Remedy>)> {
        let (host, is) = (loss.host, self.to.1);
        let usual = host.sysctls.get(&(self.netns, DEFAULT.to_owned()))?;
        let usual: u8 = usual.fact.as_ref()?.parse().ok()?;
        if usual == is {
            return None;
        }
        let program = ends::sender(&loss.view(), loss.journey.direction);
        let program = program.map_or_else(
            || "a program".to_owned(),
            |(_, process)| process.to_string(),
        );
        let name = host.namespace(self.netns);
        let advice = text(format!(
            "have it send with more: a BGP daemon's ebgp-multihop or ttl-security, ping -t, the socket option IP_TTL ({name} gives {usual} to what does not choose)"
        ));
        Some((
            format!("{program} on {name} sends it with TTL {is}, too few hops to go on"),
            vec![advice],
        ))
    }

    /// In words, as the end of a sentence, and what to do; `None` where its sender just gave it so few.
    pub(super) fn told(&self, loss: &Loss<'_>) -> Option<(String, Vec<Remedy>)> {
        let host = loss.host;
        let (to, is) = self.to;
        // before routing takes one, and after
        let makes = |s: &Statement| {
            matches!(s, Statement::SetTtl { v6, to } if *v6 == loss.v6()
            && self.from.map_or(to.of(0) == is, |(_, was)| {
                [to.of(was), to.of(was).saturating_sub(1), to.of(was.saturating_sub(1))].contains(&is)
            }))
        };
        let what = if loss.v6() { "hop limit" } else { "TTL" };
        let Some((from, was)) = self.from else {
            let name = host.namespace(self.netns);
            let Some((by, advice)) = rewriter::by_rule(host, self.netns, makes) else {
                return self.by_program(loss);
            };
            return Some((format!("{name} sends it with {what} {is}{by}"), advice));
        };
        let (by, advice) = rewriter::find(host, (self.netns, &self.devices()), makes);
        let place = match to.filter(|to| *to != from) {
            Some(to) => format!(
                "between {} and {}",
                words::interface(host, from),
                host.interface(to)
            ),
            None => format!("behind {}", words::interface(host, from)),
        };
        Some((
            format!("its {what} was lowered from {was} to {is} {place}{by}"),
            advice,
        ))
    }
}
