//! Fields of struct sk_buff, its device and what hangs on it, at offsets from BTF.

use tracer_common::event::{FLAG_CLONED, KNOWN_CT, KNOWN_DEV, KNOWN_DST, RawEvent};
use tracer_common::packet::{ETH_QINQ, ETH_VLAN, Link, NO_VLAN};

use crate::kernel::{Access, Probe, Ptr, copy, field, offset};
use crate::maps::forget;
use crate::packet::Memory;

/// Inodes of namespaces begin here (PROC_DYNAMIC_FIRST in fs/proc/generic.c): a smaller number was read through
/// a pointer that is none.
const FIRST_INODE: u32 = 0xf000_0000;
/// skb->mac_header when there is none.
const NO_MAC: u16 = u16::MAX;
/// Longest link header that is captured: Ethernet with two VLAN tags.
const MAX_LINK: u64 = 22;

/// Where the bytes of an skb lie.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// From the network header to the end of the linear part.
    pub(crate) bytes: Memory,
    /// What the skb says of the network header, which is at zero of `bytes`.
    pub(crate) link: Link,
}

impl Place {
    /// Nowhere.
    pub(crate) const NONE: Self = Self {
        bytes: Memory {
            base: Ptr(0),
            limit: 0,
        },
        link: Link {
            protocol: 0,
            vlan: NO_VLAN,
            at: 0,
        },
    };

    /// By skb->network_header, or by skb->data where that is the network header and the other may be stale.
    #[inline(always)]
    pub(crate) fn find<A: Access>(&mut self, skb: Ptr, at_data: bool) {
        // recent verifiers give these the type of what they point to
        let head = field!(A, ptr, skb, skb_head).plain().0;
        let data = field!(A, ptr, skb, skb_data).plain().0;
        let len = field!(A, u32, skb, skb_len);
        let paged = field!(A, u32, skb, skb_data_len);
        let end = data.wrapping_add(u64::from(len.wrapping_sub(paged)));
        let at = if at_data {
            data
        } else {
            head.wrapping_add(u64::from(field!(A, u16, skb, skb_network_header)))
        };
        let limit = end.wrapping_sub(at);
        self.bytes.base = Ptr(at);
        let limit = if limit > 0xffff { 0 } else { limit };
        self.bytes.limit = forget(limit) as u32;
        let tag = field!(A, u16, skb, skb_vlan_tci);
        if tag != 0 {
            self.link.vlan = tag & 0x0fff;
        }
        self.link.protocol = u16::from_be(field!(A, u16, skb, skb_protocol));
        if self.link.protocol == ETH_VLAN || self.link.protocol == ETH_QINQ {
            if at_data {
                let bytes = self.bytes;
                self.link.untag(&bytes);
            } else {
                // the tag was written in front of a network header that stays where it was
                self.link.protocol = 0;
            }
        }
    }

    /// Copies the packet, with its link header where there is one, to `to` (`room` bytes). Gives the bytes copied
    /// and the offset of the network header.
    #[inline(always)]
    pub(crate) fn capture(&self, skb: Ptr, to: *mut u8, room: u32) -> (u16, u8) {
        let mac = field!(Probe, u16, skb, skb_mac_header);
        let head = field!(Probe, u64, skb, skb_head);
        let start = head.wrapping_add(u64::from(mac));
        let link = self.bytes.base.0.wrapping_sub(start);
        let link = if mac != NO_MAC && (14..=MAX_LINK).contains(&link) {
            link
        } else {
            0
        };
        let len = u64::from(self.bytes.limit) + link;
        let len = crate::kernel::opaque(len);
        let len = if len > u64::from(room) {
            u64::from(room)
        } else {
            len
        };
        if self.bytes.limit == 0 || !copy(to, len as u32, Ptr(self.bytes.base.0.wrapping_sub(link)))
        {
            return (0, 0);
        }
        (len as u16, link as u8)
    }
}

/// Packets on the wire that the skb stands for.
#[inline(always)]
pub(crate) fn segments<A: Access>(skb: Ptr) -> u64 {
    packets(u32::from(shared::<A>(skb).1))
}

/// The same, by gso_segs.
#[inline(always)]
pub(crate) fn packets(segments: u32) -> u64 {
    let segments = u64::from(segments);
    if segments == 0 { 1 } else { segments }
}

/// Packets on the wire that the skb stands for, and its bytes.
#[inline(always)]
pub(crate) fn size<A: Access>(skb: Ptr) -> (u64, u64) {
    (segments::<A>(skb), u64::from(field!(A, u32, skb, skb_len)))
}

/// gso_size and gso_segs of skb_shared_info, which stands behind the packet's buffer.
#[inline(always)]
fn shared<A: Access>(skb: Ptr) -> (u16, u16) {
    let head = field!(A, u64, skb, skb_head);
    let end = field!(A, u32, skb, skb_end);
    let shared = Ptr(head.wrapping_add(u64::from(end)));
    (
        field!(Probe, u16, shared, shinfo_gso_size),
        field!(Probe, u16, shared, shinfo_gso_segs),
    )
}

/// Fills in what the skb says of itself.
#[inline(always)]
pub(crate) fn describe<A: Access>(event: &mut RawEvent, skb: Ptr) {
    event.skb = skb.plain().0;
    event.head = field!(A, u64, skb, skb_head);
    event.len = field!(A, u32, skb, skb_len);
    event.skb_iif = field!(A, u32, skb, skb_iif);
    event.mark = field!(A, u32, skb, skb_mark);
    event.protocol = u16::from_be(field!(A, u16, skb, skb_protocol));
    // bit fields: the first three and the first bit of their bytes on little-endian machines
    event.pkt_type = field!(A, u8, skb, skb_pkt_type) & 7;
    if is_cloned::<A>(skb) {
        event.flags |= FLAG_CLONED;
    }
    (event.gso_size, event.gso_segs) = shared::<A>(skb);

    // the lowest bit of the pointer tells whether it is counted
    let dst = Ptr(field!(A, u64, skb, skb_dst) & !1);
    if !dst.is_null() && offset!(dst_error).is_some() {
        event.dst_error = i32::from(field!(Probe, u16, dst, dst_error) as i16);
        event.known |= KNOWN_DST;
    }
    let nfct = field!(A, u64, skb, skb_nfct);
    event.ct_info = (nfct & 7) as u32;
    let entry = Ptr(nfct & !7);
    if !entry.is_null() {
        event.ct_info |= 8;
        if offset!(ct_status).is_some() {
            event.ct_status = field!(Probe, u32, entry, ct_status);
            event.known |= KNOWN_CT;
        }
    }
}

/// Whether another skb may share its data.
#[inline(always)]
pub(crate) fn is_cloned<A: Access>(skb: Ptr) -> bool {
    field!(A, u8, skb, skb_cloned) & 1 != 0
}

/// A device's number and the inode of its namespace.
#[derive(Clone, Copy)]
pub(crate) struct Device {
    pub(crate) netns: u32,
    pub(crate) ifindex: u32,
}

impl Device {
    /// None.
    pub(crate) const NONE: Self = Self {
        netns: 0,
        ifindex: 0,
    };

    /// The device at `dev`. In socket queues other things lie in skb->dev: what does not lead to a namespace is none.
    #[inline(always)]
    pub(crate) fn find<A: Access>(&mut self, dev: Ptr) {
        if dev.is_null() {
            return;
        }
        let netns = netns::<A>(field!(A, ptr, dev, dev_net));
        if netns >= FIRST_INODE {
            self.netns = netns;
            self.ifindex = field!(A, u32, dev, dev_ifindex);
        }
    }

    /// The device at this (plain) address.
    #[inline(always)]
    pub(crate) fn at(dev: Ptr) -> Self {
        let mut device = Self::NONE;
        device.find::<Probe>(dev);
        device
    }

    /// The same, whose number is known.
    #[inline(always)]
    pub(crate) fn numbered(dev: Ptr, ifindex: u32) -> Self {
        let netns = if dev.is_null() {
            0
        } else {
            netns::<Probe>(field!(Probe, ptr, dev, dev_net))
        };
        if netns >= FIRST_INODE {
            Self { netns, ifindex }
        } else {
            Self::NONE
        }
    }

    /// A number that stands for the device; zero for none.
    #[inline(always)]
    pub(crate) fn number(&self) -> u32 {
        self.netns ^ self.ifindex.wrapping_mul(0x9e37_79b1)
    }

    /// Fills in what the device, at this plain address, says of itself.
    #[inline(always)]
    pub(crate) fn describe(&self, event: &mut RawEvent, dev: Ptr) {
        event.netns = self.netns;
        event.ifindex = self.ifindex;
        if self.netns == 0 || dev.is_null() {
            return;
        }
        event.dev_state = field!(Probe, u32, dev, dev_state);
        event.dev_flags = field!(Probe, u32, dev, dev_flags);
        event.mtu = field!(Probe, u32, dev, dev_mtu);
        if let Some(id) = offset!(qdisc_ops_id) {
            let qdisc = field!(Probe, ptr, dev, dev_qdisc);
            if !qdisc.is_null() {
                let ops = field!(Probe, ptr, qdisc, qdisc_ops);
                copy(
                    event.qdisc.as_mut_ptr(),
                    12,
                    Ptr(ops.0.wrapping_add(u64::from(id))),
                );
            }
        }
        event.known |= KNOWN_DEV;
    }
}

/// The inode of a struct net; zero for none.
#[inline(always)]
pub(crate) fn netns<A: Access>(net: Ptr) -> u32 {
    if net.is_null() {
        0
    } else {
        field!(A, u32, net, net_inum)
    }
}
