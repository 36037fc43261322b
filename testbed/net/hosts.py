"""What a host believes: its resolver, its names, and whom it trusts, bound over `/etc` in its own mounts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from testbed.scenario.plan import Node

_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


def environment(home: Path) -> dict[str, str]:
    """Return the variables by which programs that don't read the system's bundle find the run's authority."""
    return {
        "HOME": str(home),
        **dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"), _BUNDLE),
    }


@dataclass(frozen=True, slots=True)
class Trust:
    """The run's authority as programs want it: a PEM bundle, and a database in the form of NSS for browsers."""

    bundle: Path
    nss: Path


def mount_commands(node: Node, folder: Path, trust: Trust | None) -> list[str]:
    """Write a node's files below `folder` and return the shell lines that bind them; paths hold no quotes."""
    home = folder / node.name
    (home / "home" / ".pki").mkdir(parents=True, exist_ok=True)
    if trust is not None and trust.nss.exists():
        (home / "home" / ".pki" / "nssdb").symlink_to(trust.nss)
    lines: list[str] = []
    resolver = f"nameserver {node.resolver}\noptions timeout:5 attempts:2\n" if node.resolver else ""
    (home / "resolv.conf").write_text(resolver, encoding="utf-8")
    (home / "hosts").write_text(f"127.0.0.1 localhost {node.name}\n::1 localhost\n", encoding="utf-8")
    for name in ("resolv.conf", "hosts"):
        if Path("/etc", name).exists():
            lines.append(f"mount --bind '{home / name}' /etc/{name}")
    if trust is not None and Path(_BUNDLE).exists():
        lines.append(f"mount --bind '{trust.bundle}' {_BUNDLE}")
    return lines
