"""What this machine can do, each thing found out by trying it in a throw-away namespace. Changes nothing outside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from testbed.net.sandbox import unshare_argv

_PAIR = "ip link add pa type veth peer name pb && ip link set pa up && "


@dataclass(frozen=True, slots=True)
class Probe:
    """One thing to try: a shell line of ours, run as root of a fresh namespace; empty: look for the program only."""

    name: str
    needed: bool
    script: str
    without: str
    remedy: str
    program: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a trial showed; `said` is the last line of the failure."""

    probe: Probe
    works: bool
    said: str


_NFQUEUE = r"""printf '*security\n:ask - [0:0]\n-A ask -j NFQUEUE --queue-num 0\nCOMMIT\n' | \
iptables-nft-restore --noflush && nft 'add chain ip security c { type filter hook forward priority -160; }; \
add rule ip security c goto ask'"""
_FLOW_SET = """nft 'add table ip t; \
add set ip t f { type ipv4_addr . inet_proto . inet_service; flags dynamic,timeout; timeout 9s; }; \
add counter ip t n; \
add chain ip t c { type filter hook forward priority -160; }; \
add rule ip t c meta mark 1 update @f { ip saddr . meta l4proto . th sport } counter name n; \
add rule ip t c tcp flags & (syn | ack) == syn delete @f { ip saddr . meta l4proto . th sport } return'"""
_SHORT_CUT = f"""{_PAIR} nft 'add table netdev t; \
add chain netdev t i {{ type filter hook ingress device pa priority 0; }}; \
add chain netdev t e {{ type filter hook egress device lo priority 0; }}; \
add rule netdev t i fwd ip to 198.18.0.1 device pa; \
add table ip t; add chain ip t c {{ type filter hook forward priority -160; }}; \
add rule ip t c dup to 127.0.0.1 device lo'"""
_REPAIR = f"""{sys.executable} -c \
'import socket; s = socket.socket(); s.setsockopt(0, 19, 1); s.setsockopt(6, 19, 1)' && \
ip rule add pref 100 fwmark 1 lookup 100 && ip route add local 0.0.0.0/0 dev lo table 100"""
_RAW = f"""{sys.executable} -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 255)'"""
_APT = "apt install "
PROBES: tuple[Probe, ...] = (
    Probe("namespaces", True, "true", "nothing live works", "sysctl kernel.unprivileged_userns_clone=1, or use sudo"),
    Probe("veth", True, _PAIR + "true", "no net can be built", "modprobe veth"),
    Probe("bridge", True, "ip link add br0 type bridge", "no access switch", "modprobe bridge"),
    Probe("raw sockets", True, _RAW, "no censor injects", "in a container: --cap-add NET_RAW"),
    Probe("NFQUEUE", True, _NFQUEUE, "no live censor", "modprobe nfnetlink_queue nft_compat xt_NFQUEUE"),
    Probe("nat REDIRECT", True, "iptables -t nat -A PREROUTING -p udp --dport 443 -j REDIRECT",
          "the world has no HTTP/3", "modprobe nft_chain_nat xt_REDIRECT"),
    Probe("nft flow sets", True, _FLOW_SET, "no live censor: decided flows can't be kept in the kernel",
          _APT + "nftables, modprobe nf_tables"),
    Probe("mnexec", True, "", "no Mininet", _APT + "mininet", "mnexec"),
    Probe("ethtool", True, "", "offloads would make super-packets", _APT + "ethtool", "ethtool"),
    Probe("caddy", True, "", "the world has no web", _APT + "caddy", "caddy"),
    Probe("unbound", True, "", "the world has no resolvers", _APT + "unbound", "unbound"),
    Probe("tcpdump", True, "", "no captures", _APT + "tcpdump", "tcpdump"),
    Probe("nft queue", False, "nft 'add table inet t; add chain inet t c; add rule inet t c queue num 5'",
          "iptables does the queueing", "modprobe nft_queue"),
    Probe("nft short cut", False, _SHORT_CUT, "the bulk of a passed flow crosses a box a fifth slower",
          "a Linux kernel of 5.16 or later, modprobe nft_fwd_netdev nft_dup_ipv4"),
    Probe("tbf", False, _PAIR + "tc qdisc add dev pa root tbf rate 1mbit burst 4000 limit 9000",
          "no kernel link; the user-space one works", "modprobe sch_tbf"),
    Probe("htb", False, _PAIR + "tc qdisc add dev pa root htb", "nothing yet", "modprobe sch_htb"),
    Probe("netem", False, _PAIR + "tc qdisc add dev pa root netem delay 1ms",
          "no delay or loss on a kernel link; the user-space one has both", "modprobe sch_netem"),
    Probe("fq_codel", False, _PAIR + "tc qdisc add dev pa root fq_codel", "nothing yet", "modprobe sch_fq_codel"),
    Probe("cubic", False, "echo cubic >/proc/sys/net/ipv4/tcp_congestion_control", "the nodes' TCP is reno",
          "sysctl -w net.ipv4.tcp_allowed_congestion_control='reno cubic'"),
    Probe("TUN", False, "ip tuntap add dev t0 mode tun", "VPN tools don't run",
          "modprobe tun; in a container: --device /dev/net/tun"),
    Probe("TCP repair", False, _REPAIR, "no TLS interception (kazakhstan-2019)", "a Linux kernel of 5.0 or later"),
    Probe("TPROXY", False, "iptables -t mangle -A PREROUTING -p tcp -j TPROXY --on-port 1", "nothing yet",
          "modprobe xt_TPROXY"),
    Probe("WireGuard", False, "ip link add w0 type wireguard", "wireguard-go is used", "modprobe wireguard"),
    Probe("curl", False, "", "some tests are skipped", _APT + "curl", "curl"),
    Probe("dig", False, "", "some tests are skipped", _APT + "bind9-dnsutils", "dig"),
    Probe("tshark", False, "", "some tests are skipped", _APT + "tshark", "tshark"),
    Probe("chromium", False, "", "apps named `browser` are skipped; the live page isn't tested", "scripts/browser",
          "chromium"),
    Probe("firefox-esr", False, "", "apps with `browser: firefox` are skipped", "scripts/browser", "firefox-esr"),
)  # fmt: skip


def examine(probes: Sequence[Probe] = PROBES) -> list[Finding]:
    """Try everything; one failure never hides another."""
    return [_try(probe) for probe in probes]


def _try(probe: Probe) -> Finding:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    if probe.program:
        return Finding(probe, shutil.which(probe.program, path=path) is not None, "not on the PATH")
    argv = [*unshare_argv(os.geteuid() != 0), "sh", "-c", f"ip link set lo up && {probe.script}"]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=10, check=False, env={**os.environ, "PATH": path}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(probe, False, str(error))
    lines = (done.stderr or done.stdout).strip().splitlines()
    return Finding(probe, done.returncode == 0, lines[-1] if lines else f"status {done.returncode}")
