//! The kernel programs: entries only. What they do stands in [`tc`] and [`tracepoint`].
//!
//! Every tracepoint has two programs made from one function: `btf_*` follows typed pointers with plain loads,
//! `raw_*` reads by helper where the kernel has no BTF-typed tracepoints. User space loads one set. Tracepoints of modules
//! have the second one alone.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod budget;
mod conntrack;
mod emit;
mod kernel;
mod maps;
mod packet;
mod skb;
mod sock;
mod tag;
mod tc;
mod tracepoint;
mod track;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::macros::{btf_tracepoint, classifier, raw_tracepoint};
use aya_ebpf::programs::{BtfTracePointContext, RawTracePointContext, TcContext};
use tracer_common::hook::{TC_EGRESS, TC_INGRESS};

use crate::kernel::{Args, Direct, Probe};
use crate::tc::{Bare, Ethernet};
use crate::tracepoint::{delivery, device, drop, neigh, route, switch, tcp};

/// The only verdict that any of our classifiers gives: "go on" (`TCX_NEXT`).
const GO_ON: i32 = -1;

#[classifier]
#[inline(always)]
fn tc_ingress_l2(ctx: TcContext) -> i32 {
    tc::observe::<Ethernet>(ctx.as_ptr().cast(), TC_INGRESS);
    GO_ON
}

#[classifier]
#[inline(always)]
fn tc_ingress_l3(ctx: TcContext) -> i32 {
    tc::observe::<Bare>(ctx.as_ptr().cast(), TC_INGRESS);
    GO_ON
}

#[classifier]
#[inline(always)]
fn tc_egress_l2(ctx: TcContext) -> i32 {
    tc::observe::<Ethernet>(ctx.as_ptr().cast(), TC_EGRESS);
    GO_ON
}

#[classifier]
#[inline(always)]
fn tc_egress_l3(ctx: TcContext) -> i32 {
    tc::observe::<Bare>(ctx.as_ptr().cast(), TC_EGRESS);
    GO_ON
}

macro_rules! tracepoints {
    ($($name:literal, $btf:ident, $raw:ident => $body:path;)*) => {$(
        #[btf_tracepoint(function = $name)]
        #[inline(always)]
        fn $btf(ctx: BtfTracePointContext) -> i32 {
            $body(Args::<Direct>::new(ctx.as_ptr()));
            0
        }

        #[raw_tracepoint(tracepoint = $name)]
        #[inline(always)]
        fn $raw(ctx: RawTracePointContext) -> i32 {
            $body(Args::<Probe>::new(ctx.as_ptr()));
            0
        }
    )*};
}

tracepoints! {
    "kfree_skb", btf_kfree_skb, raw_kfree_skb => drop::kfree_skb;
    "consume_skb", btf_consume_skb, raw_consume_skb => drop::consume_skb;
    "netif_receive_skb", btf_netif_receive_skb, raw_netif_receive_skb => device::netif_receive_skb;
    "net_dev_queue", btf_net_dev_queue, raw_net_dev_queue => device::net_dev_queue;
    "net_dev_start_xmit", btf_net_dev_start_xmit, raw_net_dev_start_xmit => device::net_dev_start_xmit;
    "net_dev_xmit", btf_net_dev_xmit, raw_net_dev_xmit => device::net_dev_xmit;
    "xdp_exception", btf_xdp_exception, raw_xdp_exception => device::xdp_exception;
    "neigh_create", btf_neigh_create, raw_neigh_create => neigh::create;
    "neigh_update", btf_neigh_update, raw_neigh_update => neigh::update;
    "neigh_timer_handler", btf_neigh_timer_handler, raw_neigh_timer_handler => neigh::timer_handler;
    "neigh_event_send_done", btf_neigh_event_send_done, raw_neigh_event_send_done => neigh::event_send_done;
    "fib_table_lookup", btf_fib_table_lookup, raw_fib_table_lookup => route::fib_table_lookup;
    "fib6_table_lookup", btf_fib6_table_lookup, raw_fib6_table_lookup => route::fib6_table_lookup;
    "icmp_send", btf_icmp_send, raw_icmp_send => route::icmp_send;
    "tcp_send_reset", btf_tcp_send_reset, raw_tcp_send_reset => tcp::send_reset;
    "tcp_receive_reset", btf_tcp_receive_reset, raw_tcp_receive_reset => tcp::receive_reset;
    "tcp_retransmit_skb", btf_tcp_retransmit_skb, raw_tcp_retransmit_skb => tcp::retransmit_skb;
    "tcp_retransmit_synack", btf_tcp_retransmit_synack, raw_tcp_retransmit_synack => tcp::retransmit_synack;
    "tcp_probe", btf_tcp_probe, raw_tcp_probe => tcp::probe;
    "tcp_bad_csum", btf_tcp_bad_csum, raw_tcp_bad_csum => tcp::bad_csum;
    "udp_fail_queue_rcv_skb", btf_udp_fail_queue_rcv_skb, raw_udp_fail_queue_rcv_skb => delivery::udp_fail_queue_rcv_skb;
    "sock_rcvqueue_full", btf_sock_rcvqueue_full, raw_sock_rcvqueue_full => delivery::sock_rcvqueue_full;
    "sk_data_ready", btf_sk_data_ready, raw_sk_data_ready => delivery::sk_data_ready;
    "sock_recv_length", btf_sock_recv_length, raw_sock_recv_length => delivery::sock_recv_length;
    "skb_copy_datagram_iovec", btf_skb_copy_datagram_iovec, raw_skb_copy_datagram_iovec => delivery::skb_copy_datagram_iovec;
    "inet_sk_error_report", btf_inet_sk_error_report, raw_inet_sk_error_report => delivery::inet_sk_error_report;
}

macro_rules! module_tracepoints {
    ($($name:literal, $raw:ident => $body:path;)*) => {$(
        #[raw_tracepoint(tracepoint = $name)]
        #[inline(always)]
        fn $raw(ctx: RawTracePointContext) -> i32 {
            $body(Args::<Probe>::new(ctx.as_ptr()));
            0
        }
    )*};
}

module_tracepoints! {
    "ovs_do_execute_action", raw_ovs_do_execute_action => switch::action;
    "ovs_dp_upcall", raw_ovs_dp_upcall => switch::upcall;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
