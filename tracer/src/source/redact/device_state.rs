//! What stands on interfaces, with pseudonyms.

use super::Pseudonyms;
use crate::host::facts::{Action, Attachment, DeviceState, Holder, Qdisc};

impl Pseudonyms {
    pub(super) fn device_state(&mut self, state: &mut DeviceState) {
        let DeviceState {
            programs,
            qdiscs,
            counters: _,
            queue_length: _,
            holders,
        } = state;
        programs
            .iter_mut()
            .for_each(|program| self.attachment(program));
        qdiscs.iter().for_each(nameless);
        for Holder { process, state: _ } in holders.iter_mut().flatten() {
            self.process(process);
        }
    }

    fn attachment(&mut self, attachment: &mut Attachment) {
        let Attachment {
            protocol: _,
            hook: _,
            how: _,
            priority: _,
            program,
            actions,
        } = attachment;
        program.iter_mut().for_each(|program| self.program(program));
        // they have kinds, verbs and numbers
        actions.iter().for_each(
            |Action {
                 kind: _,
                 verb: _,
                 to: _,
             }| (),
        );
    }
}

/// Kinds, handles, counters, rates and limits: nothing of it is a name that somebody gave.
fn nameless(qdisc: &Qdisc) {
    let Qdisc {
        kind: _,
        handle: _,
        parent: _,
        packets: _,
        drops: _,
        overlimits: _,
        queued: _,
        backlog: _,
        settings: _,
    } = qdisc;
}
