"""`dns`: one question to the host's resolver or another; a loopback answer is the censor's."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dns.asyncquery
import dns.message
import dns.rcode
import dns.rdatatype

from testbed.apps.connect import FORGED
from testbed.apps.outcome import Attempt


async def ask(params: Mapping[str, Any], timeout_s: float) -> Attempt:
    """Ask for a name and report the answer."""
    server = str(params.get("resolver") or _system_resolver())
    query = dns.message.make_query(str(params["name"]), str(params.get("type", "A")))
    begun = time.monotonic()
    response = await dns.asyncquery.udp(query, server, timeout=min(5.0, timeout_s), ignore_unexpected=True)
    answers = [item.to_text() for rrset in response.answer for item in rrset]
    forged = bool(FORGED & set(answers))
    failure = "dns_nxdomain_error" if response.rcode() == dns.rcode.NXDOMAIN else None
    kpis: dict[str, float | int | str] = {"resolve_s": time.monotonic() - begun, "answers": " ".join(answers)}
    if forged:
        return Attempt(kpis, blocking="dns", failure="dns_bogon_error")
    return Attempt(kpis, failure=failure)


def _system_resolver() -> str:
    for line in Path("/etc/resolv.conf").read_text(encoding="utf-8").splitlines():
        if line.startswith("nameserver"):
            return line.split()[1]
    return "127.0.0.1"
