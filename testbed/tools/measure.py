"""`python -m testbed.tools.measure SPEC.json`: what a client in a host sees, with a tool or without one.

The specification says how pages are reached (`proxy`, `command`, `address`) and which jobs to do, in order; each job
writes one JSON line with what every attempt gave. It judges nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import re
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from testbed.apps import web
from testbed.apps.connect import Access, is_bogon, resolve
from testbed.apps.outcome import Failure, new_progress, word_for

_GIVE_UP_AFTER = 3
_PAGE = re.compile(rb"<(?:!doctype|html|head|meta|title|body|iframe)\b", re.IGNORECASE)
_HEADERS, _ANSWER_BYTES, _WORLD = "/headers", 4096, ipaddress.ip_network("198.18.0.0/15")


def wire_bytes() -> int:
    """Return the bytes that passed this host's cables in both directions; tunnels and loopback don't count."""
    lines = Path("/proc/self/net/dev").read_text().splitlines()[2:]
    counters = {name.strip(): rest.split() for name, _, rest in (line.partition(":") for line in lines)}
    return sum(int(row[0]) + int(row[8]) for name, row in counters.items() if "-eth" in name)


class Client:
    """One way to reach pages."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self._access = Access(spec["ca"], spec.get("proxy"), spec.get("address"))
        self._command: Sequence[str] = spec.get("command") or ()
        self._timeout_s = float(spec.get("timeout_s", 10.0))
        self._addresses: Mapping[str, str] = spec.get("addresses") or {}

    async def fetch(self, url: str) -> dict[str, Any]:
        """Fetch one page: seconds to its first byte and to its last, or the failure in OONI's words."""
        begun, progress = time.monotonic(), new_progress()
        found: dict[str, Any] = {"url": url, "begun": begun, "failure": None, "operation": None}
        try:
            found |= await asyncio.wait_for(self._fetch(url), self._timeout_s)
        except (Failure, OSError, EOFError, TimeoutError) as error:
            operation = error.operation if isinstance(error, Failure) else progress.operation
            found |= {"failure": word_for(error), "operation": operation}
        found["total_s"] = time.monotonic() - begun
        return found

    async def _fetch(self, url: str) -> dict[str, Any]:
        if self._command:
            return await self._run(url)
        if url.startswith("dns:"):
            return await self._look_up(url)
        answer = await web.get(url, self._access)
        if answer.status != 200 or answer.title != web.own_title(url):
            raise Failure("http-diff", "http_round_trip")  # somebody else's page: the censor's, or a proxy's refusal
        via = _forwarded_for(answer.start) if url.endswith(_HEADERS) else None
        return {"first_byte_s": answer.ttfb_s, "bytes": answer.size, "status": answer.status, "via": via}

    async def _run(self, url: str) -> dict[str, Any]:
        argv = [word.replace("{{ url }}", url.removeprefix("dns:")) for word in self._command]
        begun, size, first_s, answer = time.monotonic(), 0, 0.0, b""
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stderr is not None
        errors = asyncio.ensure_future(process.stderr.read())
        try:
            while chunk := await process.stdout.read(65536):
                first_s = first_s or time.monotonic() - begun
                size, answer = size + len(chunk), (answer + chunk)[:_ANSWER_BYTES]
            status = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            said = (await errors).decode(errors="replace").strip().splitlines()
        if status:
            raise Failure(
                f"exit_status_{status}: {said[-1][:200] if said else 'said nothing'}", "the tool's own client"
            )
        if _is_anothers(answer, url):
            raise Failure("http-diff", "the tool's own client")
        via = self._genuine(url, _address_in(answer)) if url.startswith("dns:") else None
        return {"first_byte_s": first_s or time.monotonic() - begun, "bytes": size, "status": None, "via": via}

    async def _look_up(self, url: str) -> dict[str, Any]:
        begun = time.monotonic()
        address = self._genuine(url, await resolve(url.removeprefix("dns:")))
        return {"first_byte_s": time.monotonic() - begun, "bytes": 0, "status": None, "via": address}

    def _genuine(self, url: str, address: str) -> str:
        """Return a name's own address, or one of the emulated world; a bogon or somebody's real one was forged."""
        if is_bogon(address):
            raise Failure("dns_bogon_error", "resolve")
        own = self._addresses.get(url)
        if address != own if own is not None else ipaddress.ip_address(address) not in _WORLD:
            raise Failure("dns_forged_answer", "resolve")
        return address


def _is_anothers(answer: bytes, url: str) -> bool:
    """Whether a command wrote out a page that is not the site's: a block page is fetched as well as any other.

    One that writes out no page is believed.
    """
    is_page = not url.startswith("dns:") and _PAGE.search(answer) is not None
    return is_page and web.title_of(answer) != web.own_title(url)


def _address_in(answer: bytes) -> str:
    """Return the first address that a resolver's client wrote."""
    found = re.search(r"\b\d{1,3}(?:\.\d{1,3}){3}\b", answer.decode(errors="replace"))
    if found is None:
        raise Failure("dns_no_answer", "resolve")
    return found[0]


def _forwarded_for(start: bytes) -> str | None:
    with contextlib.suppress(ValueError):
        return str(json.loads(start).get("x-forwarded-for", ""))
    return None


async def _all(client: Client, job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Fetch several pages side by side."""
    return list(await asyncio.gather(*(client.fetch(url) for url in job["urls"])))


async def _repeat(client: Client, job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Fetch one page again and again; after three failures at the start the rest would fail as well."""
    found: list[dict[str, Any]] = []
    for _ in range(job["count"]):
        found.append(await client.fetch(job["urls"][0]))
        if len(found) == _GIVE_UP_AFTER and all(attempt["failure"] for attempt in found):
            break
    return found


async def _load(client: Client, job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Fetch one large file and count what passed the host's cables meanwhile."""
    before = wire_bytes()
    attempt = await client.fetch(job["urls"][0])
    return [{**attempt, "wire_bytes": wire_bytes() - before}]


async def _soak(client: Client, job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Fetch one page every so often for a while."""
    found: list[dict[str, Any]] = []
    deadline = time.monotonic() + job["for_s"]
    while (begun := time.monotonic()) < deadline:
        found.append(await client.fetch(job["urls"][0]))
        await asyncio.sleep(max(0.0, begun + job["every_s"] - time.monotonic()))
    return found


_JOBS = {"all": _all, "repeat": _repeat, "load": _load, "soak": _soak}


async def main(spec: Mapping[str, Any]) -> None:
    """Do all jobs, each result on a line as soon as it is there; one `after` another only if that had any success."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    client, failed = Client(spec), set[str]()
    with Path(spec["out"]).open("a", encoding="utf-8") as out, contextlib.suppress(asyncio.CancelledError):
        for job in spec["jobs"]:
            if job.get("after") in failed:
                continue
            attempts = await _JOBS[job["kind"]](client, job)
            if all(attempt["failure"] for attempt in attempts):
                failed.add(job["name"])
            out.write(json.dumps({"job": job["name"], "attempts": attempts}) + "\n")
            out.flush()


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
