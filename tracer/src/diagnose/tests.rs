//! Small traces by hand, each with one fault as the kernel shows it, and the verdict that must come out.

mod addresses;
mod astray;
mod devices;
mod ends;
mod filters;
mod fixture;
mod layer2;
mod losses;
mod nodes;
mod ovs;
mod programs;
mod progress;
mod remedies;
mod routing;
mod shares;
mod silence;
mod sockets;
mod strays;
mod translated;
mod translators;
