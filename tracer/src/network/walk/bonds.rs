//! Bonds on a packet's way: the slave by which it goes out, and whether the bond takes what comes in at one.

use crate::host::facts::Link;
use crate::model::Device;

use super::super::bonding::{self, Choice};
use super::super::segment;
use super::{Check, Exit, Stage, Walk};

impl Walk<'_, '_> {
    /// A packet that a bond was given to send.
    pub(super) fn bond_output(&mut self, device: Device) {
        let Some(bond) = self.link(device).filter(|_| self.reaches(Stage::Bond)) else {
            return;
        };
        let name = bonding::words(bond);
        let seen = self.leg.out.filter(|_| self.leg.exit == Exit::Out);
        let choice = bonding::choice(self.host, bond);
        let (slaves, text) = match &choice {
            Choice::One(slave) if slave.carrier => {
                (vec![*slave], format!("{name} sends by {}", slave.name))
            }
            Choice::One(slave) => {
                let trouble = bonding::trouble(slave);
                (
                    vec![*slave],
                    format!("{name} sends by {}: {trouble}", slave.name),
                )
            }
            Choice::OneOf(slaves) => {
                let text = format!("{name} sends by one of {}", names(slaves));
                (slaves.clone(), text)
            }
            Choice::Each(slaves) => {
                let text = format!("{name} sends a copy by each of {}", names(slaves));
                (slaves.clone(), text)
            }
            Choice::Nobody(slaves) => {
                let why: Vec<String> = slaves.iter().map(|l| bonding::trouble(l)).collect();
                let why = match why.as_slice() {
                    [] => "it has none".to_owned(),
                    list => list.join(", "),
                };
                let text = format!("{name} has no slave that sends: {why}");
                return self.tell(Stage::Bond, Check::new("bond", text, "no-slave"));
            }
        };
        let other = seen.is_some_and(|out| slaves.iter().all(|slave| slave.device != out));
        let open = matches!(choice, Choice::OneOf(_)) && seen.is_none();
        let undecided = match () {
            () if other => Some("changed-since"),
            // Where slaves lead to different interfaces, what follows depends on the choice.
            () if open && !segment::are_alike(self.host, &slaves) => Some("slave"),
            () => None,
        };
        let undecided = undecided.map(str::to_owned);
        let check = Check::new("bond", text, "forward");
        self.tell(Stage::Bond, Check { undecided, ..check });
    }

    /// A packet that came in at a slave.
    pub(super) fn bond_input(&mut self, bond: &Link, slave: Device) {
        let Some(slave) = self.link(slave).filter(|_| self.reaches(Stage::Bond)) else {
            return;
        };
        let name = bonding::words(bond);
        let check = match bonding::is_backup(slave) {
            true => {
                let text = format!(
                    "{} is a backup of {name}, which takes nothing there",
                    slave.name
                );
                Check::new("bond", text, "drop")
            }
            false => Check::new("bond", format!("{} is a slave of {name}", slave.name), "up"),
        };
        self.tell(Stage::Bond, check);
    }
}

fn names(slaves: &[&Link]) -> String {
    let names: Vec<&str> = slaves.iter().map(|slave| slave.name.as_str()).collect();
    names.join(", ")
}
