//! `--interface` of a run, for streams of inputs in which its patterns cannot be held against the names any more: because
//! they are pseudonyms, or because other nodes have interfaces of the same names. As [`crate::session`] has it.

use std::collections::HashMap;

use tracer_common::event::RawEvent;
use tracer_common::hook;

use crate::config::Glob;
use crate::host::facts::Fact;
use crate::model::{Device, IfIndex, NetNs};

/// Tells which records a run looks at.
#[derive(Default)]
pub(super) struct InterfaceFilter {
    /// Empty: all.
    only: Vec<Glob>,
    names: HashMap<Device, String>,
}

impl InterfaceFilter {
    /// Remembers what a fact of the run tells; facts come before the records that need them.
    pub(super) fn notice(&mut self, fact: &Fact) {
        match fact {
            Fact::Run(run) => {
                let globs = run.only_interfaces.iter();
                self.only = globs.filter_map(|glob| Glob::new(glob).ok()).collect();
            }
            Fact::Link(link) => {
                self.names.insert(link.device, link.name.clone());
            }
            _ => {}
        }
    }

    /// Whether the record is of an interface that was asked for. A drop is told wherever it happens.
    pub(super) fn wants(&self, raw: &RawEvent) -> bool {
        let device = Device {
            netns: NetNs(raw.netns),
            ifindex: IfIndex(raw.ifindex),
        };
        let matches = |name: &String| self.only.iter().any(|glob| glob.matches(name));
        self.only.is_empty()
            || raw.hook == hook::KFREE_SKB
            || self.names.get(&device).is_none_or(matches)
    }
}
