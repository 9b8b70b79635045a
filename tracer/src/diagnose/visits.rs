//! How often a packet came to the same interface: the sign of a loop.

use crate::model::{Detail, Device, Journey};

/// Interfaces that the packet entered more than once, in order of first visit, with how often. The first journey
/// through a bridge or a NAT passes each only once.
#[must_use]
pub fn looping(journey: &Journey) -> Vec<(Device, usize)> {
    let mut visits: Vec<(Device, usize)> = Vec::new();
    let mut at = None;
    for step in &journey.steps {
        let event = &step.event;
        let entered = matches!(event.detail, Detail::Ingress);
        if !entered && !matches!(event.detail, Detail::Egress) {
            continue;
        }
        let here = event.device.map(|d| (d, entered));
        // Several hooks see the packet at one side of one device.
        if here == at {
            continue;
        }
        at = here;
        let Some((device, true)) = here else { continue };
        match visits.iter_mut().find(|(d, _)| *d == device) {
            Some((_, n)) => *n += 1,
            None => visits.push((device, 1)),
        }
    }
    visits.retain(|(_, n)| *n > 1);
    visits
}
