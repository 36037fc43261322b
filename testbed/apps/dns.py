"""`dns`: one question to the host's resolver or another; an answer that no server can have is the censor's."""

from __future__ import annotations

import time
from pathlib import Path

import dns.asyncquery
import dns.exception
import dns.message
import dns.rcode

from testbed.apps.connect import is_bogon
from testbed.apps.outcome import Attempt, Failure, doing
from testbed.scenario.params import DnsParams

_RCODE_WORDS = {
    dns.rcode.NXDOMAIN: "dns_nxdomain_error", dns.rcode.REFUSED: "dns_refused_error",
    dns.rcode.SERVFAIL: "dns_servfail_error", dns.rcode.NOERROR: None,
}  # fmt: skip


async def ask(params: DnsParams, timeout_s: float) -> Attempt:
    """Ask for a name and report the answer."""
    server = params.resolver or _system_resolver()
    query = dns.message.make_query(params.name, params.type)
    begun = time.monotonic()
    doing("resolve")
    try:
        response = await dns.asyncquery.udp(query, server, timeout=timeout_s, ignore_unexpected=True)
    except dns.exception.Timeout as error:
        raise Failure("generic_timeout_error", "resolve") from error
    except dns.exception.DNSException as error:  # what came can't be read
        raise Failure("dns_server_misbehaving", "resolve") from error
    answers = [item.to_text() for rrset in response.answer for item in rrset]
    kpis: dict[str, float | int | str] = {"resolve_s": time.monotonic() - begun, "answers": " ".join(answers)}
    if any(is_bogon(answer) for answer in answers):
        return Attempt(kpis, blocking="dns", failure="dns_bogon_error")
    word = _RCODE_WORDS.get(response.rcode(), "dns_server_misbehaving")
    return Attempt(kpis, failure=word if word or answers else "dns_no_answer")


def _system_resolver() -> str:
    for line in Path("/etc/resolv.conf").read_text(encoding="utf-8").splitlines():
        if line.startswith("nameserver"):
            return line.split()[1]
    return "127.0.0.1"
