//! Router advertisements that an interface gets and does not take, so that the routes in them are missing: on a host
//! that forwards, `accept_ra` 1 counts as 0, and the default routes learned before go when forwarding is turned on
//! (ipv6_accept_ra, include/net/ipv6.h; addrconf_fixup_forwarding, net/ipv6/addrconf.c).

use crate::host::Host;
use crate::host::facts::{Advertised, Link, Question};
use crate::model::{Device, IfIndex, NetNs};
use crate::network::settings::conf;

use super::needs::Asked;
use super::remedy::{Remedy, Shell, command, sysctl};
use super::words;

/// An interface whose advertisements are not taken.
#[derive(Clone, Copy, Debug)]
pub struct Ignored<'a> {
    link: &'a Link,
    at: &'a Advertised,
}

/// What to read of a namespace that has no route for a packet.
pub fn ask(netns: NetNs, v6: bool, asked: &mut Asked) {
    if v6 {
        asked.push(Question::Advertisements { netns });
    }
}

impl<'a> Ignored<'a> {
    /// The only interface of a namespace that ignores what it got; `None` where there are more, and where another one
    /// takes advertisements: what is missing may be that one's.
    #[must_use]
    pub fn only(host: &'a Host, netns: NetNs) -> Option<Self> {
        let [at] = host.advertisements.get(&netns)?.fact.as_slice() else {
            return None;
        };
        let ifindex = IfIndex(at.ifindex);
        let link = host.link(Device { netns, ifindex }).filter(|l| l.up)?;
        (!at.is_taken()).then_some(Self { link, at })
    }

    /// As the end of a sentence.
    #[must_use]
    pub fn words(&self) -> String {
        format!("{} ignores router advertisements", self.link.name)
    }

    /// What shows it.
    #[must_use]
    pub fn evidence(&self) -> String {
        let Advertised {
            received, accept, ..
        } = self.at;
        let why = if *accept == 0 {
            "accept_ra is 0".to_owned()
        } else {
            format!("it forwards, and accept_ra is {accept}: only 2 counts then")
        };
        format!(
            "{} received {} since it exists, and takes none now: {why}",
            self.link.name,
            words::count(*received, "router advertisement")
        )
    }

    /// Advertisements taken, also while it forwards.
    #[must_use]
    pub fn taken(&self, shell: &Shell) -> Remedy {
        let name = sysctl(&conf(true, &self.link.name, "accept_ra"));
        let to = if self.at.forwards { 2 } else { 1 };
        let set = |value: u32| command!["sysctl -w", format!("{name}={value}")];
        shell
            .change("let it take router advertisements", set(to))
            .then(
                "the route comes with the router's next advertisement, which may take some minutes"
                    .to_owned(),
            )
            .undone_by(set(self.at.accept))
            .undone_by(command!["ip -6 route flush proto ra dev", self.link.name])
    }
}
