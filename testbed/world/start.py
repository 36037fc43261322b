"""Starts the world's servers side by side and waits until each answers.

Real servers where Debian has them: caddy for HTTP/1.1, 2 and 3 with certificates minted for any name, unbound for the
resolvers (UDP, TCP, DoT, DoH).
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from testbed import proc
from testbed.authority import Authority
from testbed.errors import MachineError, TestbedError
from testbed.net import ports
from testbed.scenario.plan import TopologyPlan
from testbed.scenario.topology import AUTHORITY, PUBLIC_RESOLVER, PUBLIC_RESOLVER6, RESOLVER, RESOLVER6

_READY_S = 60.0
_RESOLVER_NAMES = ("dns.google", "one.one.one.one", "cloudflare-dns.com", "dns.quad9.net", "resolver.test")
_BACKEND_PORT = 8080
_OTHER_PORT = 8443  # HTTPS where a censor of ports may not let it pass
#: caddy's HTTP/3 answers from the host's own address, whatever address was asked; connection tracking puts it right
_HTTP3_SOURCE = ("-t", "nat", "-A", "PREROUTING", "-p", "udp", "--dport", "443", "-j", "REDIRECT")
#: a host that runs no resolver is silent about it, as behind most servers' firewalls: its ICMP error would reach the
#: asker's socket together with a forged answer, and Linux shows a program the error first
_CLOSED_RESOLVER = ("-A", "INPUT", "-p", "udp", "--dport", "53", "-j", "DROP")


class Starter(Protocol):
    """The part of the fabric that this module needs."""

    def start(
        self, node: str, argv: Sequence[str], *, log_path: Path, env: Mapping[str, str] | None = None
    ) -> proc.Program:
        """Start a long-running program in a node."""
        ...

    def run(self, node: str, argv: Sequence[str]) -> Any:
        """Run a program in a node to its end."""
        ...

    def pid(self, node: str) -> int:
        """Return a process that holds the node's namespaces."""
        ...


@dataclass(frozen=True, slots=True)
class Service:
    """A server that was started: where, and the ports that show it is ready (`tcp/443`, `udp/53`)."""

    name: str
    node: str
    process: proc.Program
    ports: tuple[str, ...]
    log: Path


def zone_of(plan: TopologyPlan) -> dict[str, list[str]]:
    """Return the names the world fixes: the plan's, and the public resolver's."""
    fixed = dict.fromkeys(_RESOLVER_NAMES, _resolvers(plan)[1])
    return {**fixed, **{name: list(values) for name, values in plan.zone.items()}}


def _resolvers(plan: TopologyPlan) -> tuple[list[str], list[str]]:
    """Return the addresses of the inner and of the public resolver."""
    if plan.ipv6:
        return [RESOLVER, RESOLVER6], [PUBLIC_RESOLVER, PUBLIC_RESOLVER6]
    return [RESOLVER], [PUBLIC_RESOLVER]


def start_world(fabric: Starter, plan: TopologyPlan, run_dir: Path, ca: Authority) -> list[Service]:
    """Start every server of the world and wait until all answer; `MachineError` if one is not installed."""
    work, logs = run_dir / "work" / "world", run_dir / "logs"
    work.mkdir(parents=True, exist_ok=True)
    zone = work / "zone.json"
    config = {"address": AUTHORITY, "zone": zone_of(plan), "ipv6": plan.ipv6}
    zone.write_text(json.dumps(config), encoding="utf-8")
    resolver, public, caddyfile = work / "resolver.conf", work / "public.conf", work / "Caddyfile"
    inner, outer = _resolvers(plan)
    resolver.write_text(_unbound(inner, work, None), encoding="utf-8")
    public.write_text(_unbound(outer, work, ca.issue([*_RESOLVER_NAMES, *outer])), encoding="utf-8")
    caddyfile.write_text(_caddyfile(ca, plan.ipv6), encoding="utf-8")
    caddy = {"XDG_DATA_HOME": str(work), "XDG_CONFIG_HOME": str(work), "GOMAXPROCS": "2"}
    wanted: list[tuple[str, str, list[str], tuple[str, ...], dict[str, str]]] = [
        (
            "caddy",
            "web",
            ["caddy", "run", "--config", str(caddyfile), "--adapter", "caddyfile"],
            ("tcp/443", "tcp/80", f"tcp/{_OTHER_PORT}"),
            caddy,
        ),
        ("zone", "dns", proc.module("testbed.world.zone", str(zone)), ("tcp/53",), {}),
        ("unbound-resolver", "resolver", ["unbound", "-d", "-p", "-c", str(resolver)], ("tcp/53",), {}),
        ("unbound-public", "dns", ["unbound", "-d", "-p", "-c", str(public)], ("tcp/853", "tcp/443"), {}),
        (
            "backend",
            "web",
            proc.module("testbed.world.backend", str(_BACKEND_PORT), str(ca.folder)),
            (f"tcp/{_BACKEND_PORT}", f"tcp/{_BACKEND_PORT + 1}"),
            {},
        ),
    ]
    if any(node.name == "blockpage" for node in plan.nodes):
        blockpage = proc.module("testbed.world.backend", "198.18.0.99:80")
        wanted.append(("blockpage", "blockpage", blockpage, ("tcp/80",), {}))
    for program in ("iptables", *(["ip6tables"] if plan.ipv6 else [])):
        fabric.run("web", [program, *_HTTP3_SOURCE])
        for node in plan.nodes:
            if node.side == "outside" and node.kind == "host" and node.name not in ("dns", "tools"):
                fabric.run(node.name, [program, *_CLOSED_RESOLVER])
    services = [
        Service(
            name, node, fabric.start(node, argv, log_path=logs / f"{name}.log", env=env), ports, logs / f"{name}.log"
        )
        for name, node, argv, ports, env in wanted
    ]
    _await(fabric, services)
    return services


def _await(fabric: Starter, services: Sequence[Service]) -> None:
    deadline = time.monotonic() + _READY_S
    waiting = list(services)
    while waiting:
        for service in list(waiting):
            if service.process.poll() is not None:
                tail = "\n".join(service.log.read_text(errors="replace").splitlines()[-8:])
                if "No such file" in tail or service.process.returncode == 127:
                    raise MachineError(f"{service.name} can't be started: {tail}", "run `make setup`")
                raise TestbedError(f"{service.name} ended with status {service.process.returncode}: {tail}")
            if set(service.ports) <= ports.listening(fabric.pid(service.node)):
                waiting.remove(service)
        if waiting and time.monotonic() > deadline:
            names = ", ".join(service.name for service in waiting)
            what = f"not ready after {_READY_S:g} s: {names}; their logs are in {waiting[0].log.parent}"
            raise MachineError(what, "try again when the machine has less to do")
        if waiting:
            time.sleep(0.01)


def _unbound(addresses: Sequence[str], work: Path, certificate: tuple[Path, Path] | None) -> str:
    """Return a forwarding resolver's configuration: no root user to drop to, no DNSSEC, nothing outside the run."""
    lines = [
        "server:", "  do-daemonize: no", '  username: ""', '  chroot: ""', f'  directory: "{work}"', '  pidfile: ""',
        "  use-syslog: no", "  verbosity: 1", "  num-threads: 1", '  module-config: "iterator"',
        *(f"  interface: {address}@53" for address in addresses),
        "  access-control: 0.0.0.0/0 allow", "  access-control: ::/0 allow",
        "  do-not-query-localhost: no", "  edns-buffer-size: 1232", "  qname-minimisation: no", "  prefetch: no",
        "  so-rcvbuf: 0", "  so-sndbuf: 0", "  msg-cache-size: 1m", "  rrset-cache-size: 1m",
        "  outgoing-range: 64", "  num-queries-per-thread: 64",
        f"  do-ip6: {'yes' if len(addresses) > 1 else 'no'}",
    ]  # fmt: skip
    if certificate is not None:
        chain, key = certificate
        lines += [
            *(f"  interface: {address}@{port}" for address in addresses for port in (853, 443)),
            "  tls-port: 853", "  https-port: 443",
            f'  tls-service-pem: "{chain}"', f'  tls-service-key: "{key}"',
        ]  # fmt: skip
    lines += ["remote-control:", "  control-enable: no"]
    lines += ["forward-zone:", '  name: "."', f"  forward-addr: {AUTHORITY}", ""]
    return "\n".join(lines)


def _caddyfile(ca: Authority, ipv6: bool) -> str:
    bind = "[::]" if ipv6 else "0.0.0.0"  # [::] takes IPv4 too
    return f"""{{
    admin off
    skip_install_trust
    default_bind {bind}
    auto_https disable_redirects
    log {{
        level WARN
    }}
    pki {{
        ca run {{
            name "Testbed run authority"
            root {{
                cert {ca.bundle}
                key {ca.key_path}
            }}
        }}
    }}
}}
http:// {{
    reverse_proxy 127.0.0.1:{_BACKEND_PORT}
}}
https://, https://:{_OTHER_PORT} {{
    tls {{
        issuer internal {{
            ca run
        }}
        on_demand
        get_certificate http http://127.0.0.1:{_BACKEND_PORT + 1}/certificate
    }}
    reverse_proxy 127.0.0.1:{_BACKEND_PORT}
}}
"""
