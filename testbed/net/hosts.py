"""What a host believes: its resolver, its names, and whom it trusts, bound over `/etc` in its own mounts."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import MachineError
from testbed.scenario.plan import Node

_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
#: where the machine's own resolvers and caches listen: a host that asked them would learn true names, past the censor
_RESOLVER_SOCKETS = (
    "/run/nscd/socket", "/run/systemd/resolve/io.systemd.Resolve", "/run/systemd/resolve/io.systemd.Resolve.Monitor",
    "/run/avahi-daemon/socket",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trust:
    """The run's authority as programs want it: a PEM bundle, and a database in the form of NSS for browsers."""

    bundle: Path
    nss: Path


def environment(home: Path, trust: Trust | None) -> dict[str, str]:
    """Return the variables by which programs find their home, and the run's authority instead of the machine's."""
    if trust is None:
        return {"HOME": str(home)}
    bundle = _BUNDLE if Path(_BUNDLE).exists() else str(trust.bundle)
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
    return {"HOME": str(home), **dict.fromkeys(names, bundle)}


def mount_commands(node: Node, folder: Path, trust: Trust | None) -> list[str]:
    """Write a node's files below `folder` and return the shell lines that bind them."""
    home = folder / node.name
    (home / "home" / ".pki").mkdir(parents=True, exist_ok=True)
    if trust is not None and trust.nss.exists():
        (home / "home" / ".pki" / "nssdb").symlink_to(trust.nss)
    resolver = f"nameserver {node.resolver}\noptions timeout:5 attempts:2\n" if node.resolver else ""
    (home / "resolv.conf").write_text(resolver, encoding="utf-8")
    (home / "hosts").write_text(f"127.0.0.1 localhost {node.name}\n::1 localhost\n", encoding="utf-8")
    lines: list[str] = []
    names = ["resolv.conf", "hosts"]
    switch = Path("/etc/nsswitch.conf")
    if switch.exists():
        (home / switch.name).write_text(_hosts_by_files_and_dns(switch.read_text(encoding="utf-8")), encoding="utf-8")
        names.append(switch.name)
    for name in names:
        if not Path("/etc", name).exists():
            raise MachineError(f"/etc/{name} is missing, a host's own can't be laid over it", f"touch /etc/{name}")
        lines.append(f"mount --bind {shlex.quote(str(home / name))} /etc/{name}")
    lines += [f"mount --bind /dev/null {path}" for path in _RESOLVER_SOCKETS if Path(path).exists()]
    if trust is not None and Path(_BUNDLE).exists():
        lines.append(f"mount --bind {shlex.quote(str(trust.bundle))} {_BUNDLE}")
    return lines


def _hosts_by_files_and_dns(text: str) -> str:
    """Return the name service switch without what would ask the machine about hosts (resolve, mdns, myhostname)."""
    return re.sub(r"(?m)^\s*hosts:.*$", "hosts: files dns", text)
