//! `/proc/net` and `/proc/sys/net` (`proc(5)`): sockets, the loopback device, limits.

use super::sysctl::setting;
use crate::synth::Node;
use chitin_abi::socket::{
    AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE,
};
use chitin_kernel::net::{Kind, Socket, sockets_of};
use chitin_kernel::task::Task;
use std::fmt::Write;
use std::sync::Arc;

/// A table: its heading, and a line for each socket that is chosen.
fn table(
    task: &Arc<Task>,
    heading: &str,
    numbered: bool,
    of: impl Fn(&dyn Socket) -> bool,
) -> Vec<u8> {
    let mut out = format!("{heading}\n");
    let chosen = sockets_of(&task.kernel).into_iter().filter(|s| of(&**s));
    for (i, socket) in chosen.enumerate() {
        let line = socket.proc_line();
        let _ = match numbered {
            true => writeln!(out, "{i:4}: {line}"),
            false => writeln!(out, "{line}"),
        };
    }
    out.into_bytes()
}

const INET: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   \
                    uid  timeout inode";
const INET6: &str = "  sl  local_address                         remote_address                        \
                     st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";

fn inet(family: u16, kind: Kind, protocol: i32) -> Node {
    let heading = if family == AF_INET { INET } else { INET6 };
    Node::file(move |task| {
        Ok(table(task, heading, true, |s| {
            let c = s.common();
            (c.family, c.kind) == (family, kind) && (protocol == 0 || c.protocol == protocol)
        }))
    })
}

/// Counters of protocols. Nothing is counted: no packet is ever made.
const SNMP: &str = "\
    Ip: Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos \
    InDiscards InDelivers OutRequests OutDiscards OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs \
    ReasmFails FragOKs FragFails FragCreates OutTransmits\n\
    Ip: 2 64 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n\
    Icmp: InMsgs InErrors InCsumErrors InDestUnreachs InTimeExcds InParmProbs InSrcQuenchs \
    InRedirects InEchos InEchoReps InTimestamps InTimestampReps InAddrMasks InAddrMaskReps OutMsgs \
    OutErrors OutRateLimitGlobal OutRateLimitHost OutDestUnreachs OutTimeExcds OutParmProbs \
    OutSrcQuenchs OutRedirects OutEchos OutEchoReps OutTimestamps OutTimestampReps OutAddrMasks \
    OutAddrMaskReps\n\
    Icmp: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n\
    IcmpMsg: \nIcmpMsg: \n\
    Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets \
    CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors\n\
    Tcp: 1 200 120000 -1 0 0 0 0 0 0 0 0 0 0 0\n\
    Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors \
    IgnoredMulti MemErrors\n\
    Udp: 0 0 0 0 0 0 0 0 0\n\
    UdpLite: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors \
    IgnoredMulti MemErrors\n\
    UdpLite: 0 0 0 0 0 0 0 0 0\n";
const NETSTAT: &str = "\
    TcpExt: SyncookiesSent SyncookiesRecv SyncookiesFailed ListenOverflows ListenDrops\n\
    TcpExt: 0 0 0 0 0\n\
    IpExt: InNoRoutes InTruncatedPkts InMcastPkts OutMcastPkts InBcastPkts OutBcastPkts InOctets \
    OutOctets\n\
    IpExt: 0 0 0 0 0 0 0 0\n";

/// How many sockets there are of each kind: all, TCP, UDP, UDP-Lite of a family.
fn counts(task: &Arc<Task>, family: u16) -> [usize; 4] {
    let sockets = sockets_of(&task.kernel);
    let of = |kind, protocol| {
        let chosen = |c: &chitin_kernel::net::Common| {
            (c.family, c.kind, c.protocol) == (family, kind, protocol)
        };
        sockets.iter().filter(|s| chosen(s.common())).count()
    };
    [
        sockets.len(),
        of(Kind::Stream, IPPROTO_TCP),
        of(Kind::Datagram, IPPROTO_UDP),
        of(Kind::Datagram, IPPROTO_UDPLITE),
    ]
}

fn sockstat(task: &Arc<Task>) -> String {
    let [all, tcp, udp, lite] = counts(task, AF_INET);
    format!(
        "sockets: used {all}\nTCP: inuse {tcp} orphan 0 tw 0 alloc {tcp} mem 0\nUDP: inuse {udp} \
         mem 0\nUDPLITE: inuse {lite}\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n"
    )
}

fn sockstat6(task: &Arc<Task>) -> String {
    let [_, tcp, udp, lite] = counts(task, AF_INET6);
    format!(
        "TCP6: inuse {tcp}\nUDP6: inuse {udp}\nUDPLITE6: inuse {lite}\nRAW6: inuse 0\nFRAG6: inuse 0 \
         memory 0\n"
    )
}

/// `/proc/net`.
pub(super) fn net() -> Node {
    let device = "Inter-|   Receive                                                |  Transmit\n \
                  face |bytes    packets errs drop fifo frame compressed multicast|bytes    \
                  packets errs drop fifo colls carrier compressed\n    lo:       0       0    0    \
                  0    0     0          0         0        0       0    0    0    0     0       0          0\n";
    Node::dir(vec![
        ("dev", Node::text(device)),
        ("if_inet6", Node::text("00000000000000000000000000000001 01 80 10 80       lo\n")),
        (
            "route",
            Node::text(
                "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n",
            ),
        ),
        (
            "arp",
            Node::text(
                "IP address       HW type     Flags       HW address            Mask     Device\n",
            ),
        ),
        ("sockstat", Node::file(|task| Ok(sockstat(task).into_bytes()))),
        ("sockstat6", Node::file(|task| Ok(sockstat6(task).into_bytes()))),
        ("snmp", Node::text(SNMP)),
        ("netstat", Node::text(NETSTAT)),
        ("tcp", inet(AF_INET, Kind::Stream, 0)),
        ("tcp6", inet(AF_INET6, Kind::Stream, 0)),
        ("udp", inet(AF_INET, Kind::Datagram, IPPROTO_UDP)),
        ("udp6", inet(AF_INET6, Kind::Datagram, IPPROTO_UDP)),
        ("udplite", inet(AF_INET, Kind::Datagram, IPPROTO_UDPLITE)),
        ("udplite6", inet(AF_INET6, Kind::Datagram, IPPROTO_UDPLITE)),
        ("raw", Node::text(format!("{INET}\n"))),
        ("raw6", Node::text(format!("{INET6}\n"))),
        (
            "unix",
            Node::file(|task| {
                let heading = "Num       RefCount Protocol Flags    Type St Inode Path";
                Ok(table(task, heading, false, |s| s.common().family == AF_UNIX))
            }),
        ),
        (
            "netlink",
            Node::file(|task| {
                let heading = "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode";
                Ok(table(task, heading, false, |s| s.common().family == AF_NETLINK))
            }),
        ),
    ])
}

/// `/proc/sys/net`.
pub(super) fn sys_net() -> Node {
    let number = |n: u32| Node::text(format!("{n}\n"));
    Node::dir(vec![
        (
            "core",
            Node::dir(vec![
                ("somaxconn", number(4096)),
                ("wmem_default", number(212_992)),
                ("wmem_max", number(212_992)),
                ("rmem_default", number(212_992)),
                ("rmem_max", number(212_992)),
                ("optmem_max", number(131_072)),
            ]),
        ),
        (
            "ipv4",
            Node::dir(vec![
                ("ip_local_port_range", Node::text("32768\t60999\n")),
                ("ip_unprivileged_port_start", number(1024)),
                ("ip_forward", number(0)),
                ("ping_group_range", Node::text("1\t0\n")),
                ("tcp_rmem", Node::text("4096\t131072\t6291456\n")),
                ("tcp_wmem", Node::text("4096\t16384\t4194304\n")),
                ("tcp_fin_timeout", number(60)),
                ("tcp_keepalive_time", number(7200)),
                ("tcp_keepalive_intvl", number(75)),
                ("tcp_keepalive_probes", number(9)),
                ("tcp_available_congestion_control", Node::text("reno cubic\n")),
                ("tcp_congestion_control", Node::text("cubic\n")),
            ]),
        ),
        (
            "ipv6",
            Node::dir(vec![(
                "conf",
                Node::dir(vec![
                    ("all", Node::dir(vec![("disable_ipv6", number(0))])),
                    ("lo", Node::dir(vec![("disable_ipv6", number(0))])),
                ]),
            )]),
        ),
        ("unix", Node::dir(vec![("max_dgram_qlen", number(10))])),
    ])
}

/// `/proc/sys/fs/inotify`.
pub(super) fn sys_inotify() -> Node {
    Node::dir(vec![
        ("max_queued_events", setting(|s| &s.inotify_events)),
        ("max_user_instances", setting(|s| &s.inotify_instances)),
        ("max_user_watches", setting(|s| &s.inotify_watches)),
    ])
}
