//! The names by which user space finds programs, globals and maps in the eBPF object.

/// tc programs: ingress, on devices whose packets begin with an Ethernet header.
pub const TC_INGRESS_L2: &str = "tc_ingress_l2";
/// tc programs: ingress, on devices whose packets begin with the IP header (TUN, ipip).
pub const TC_INGRESS_L3: &str = "tc_ingress_l3";
/// tc programs: egress, Ethernet.
pub const TC_EGRESS_L2: &str = "tc_egress_l2";
/// tc programs: egress, bare IP.
pub const TC_EGRESS_L3: &str = "tc_egress_l3";

/// All of them.
pub const CLASSIFIERS: [&str; 4] = [TC_INGRESS_L2, TC_INGRESS_L3, TC_EGRESS_L2, TC_EGRESS_L3];

/// Prefix of the BTF-typed tracepoint programs: `btf_kfree_skb`. One for each tracepoint row of
/// [`crate::hook::HOOKS`].
pub const BTF_PREFIX: &str = "btf_";
/// Prefix of the same programs as plain raw tracepoints. Only one of the two sets is loaded.
pub const RAW_PREFIX: &str = "raw_";

/// Read-only global [`crate::layout::Layout`], set before load.
pub const LAYOUT: &str = "LAYOUT";
/// Read-only global u32: bytes kept of each packet, a multiple of 8 up to
/// [`crate::event::MAX_SNAPLEN`].
pub const SNAPLEN: &str = "SNAPLEN";

/// Array map of one element: [`crate::filter::RawFilterPair`], the whole data section of that name.
pub const FILTER_MAP: &str = ".data.filter";
/// Ring buffer of records.
pub const EVENTS: &str = "EVENTS";
/// Hash map from [`crate::stats::HopKey`] to [`crate::stats::HopCount`].
pub const HOPS: &str = "HOPS";
/// The same for flows that have no room in it: all that a tuple says is family and protocol.
pub const HOPS_REST: &str = "HOPS_REST";
/// Per-CPU array of one [`crate::stats::KernelStats`].
pub const STATS: &str = "STATS";
