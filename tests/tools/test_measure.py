"""What the measuring client writes down, with programs of this machine in a tool's place."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from testbed.tools.measure import Client, main

PYTHON = sys.executable


def fetch(url: str, *command: str, timeout_s: float = 5.0) -> dict[str, Any]:
    return asyncio.run(Client({"ca": "", "command": command, "timeout_s": timeout_s}).fetch(url))


def test_a_command_that_fetches_the_page() -> None:
    found = fetch("https://a.example/", "printf", "%s", "{{ url }}")
    assert (found["failure"], found["bytes"]) == (None, len("https://a.example/"))
    assert 0 < found["first_byte_s"] <= found["total_s"]


@pytest.mark.parametrize(
    ("page", "failure"),
    [
        ("<title>a.example</title>", None),
        ("saved 5 bytes", None),
        ("<html><head><title>Access denied</title>", "http-diff"),
        ('<meta name="viewport"/><iframe src="http://www.airtel.in/dot/"></iframe>', "http-diff"),
    ],
)
def test_a_command_that_fetches_a_block_page_did_not_get_through(page: str, failure: str | None) -> None:
    found = fetch("http://a.example/", "sh", "-c", f"echo '{page}' # {{{{ url }}}}")
    assert found["failure"] == failure


def test_a_command_that_fails_shows_its_last_line() -> None:
    found = fetch("https://a.example/", "sh", "-c", "echo one >&2; echo handshake refused >&2; exit 35 # {{ url }}")
    assert (found["failure"], found["operation"]) == ("exit_status_35: handshake refused", "the tool's own client")


def test_a_command_that_hangs_is_a_timeout_and_is_ended() -> None:
    found = fetch("https://a.example/", PYTHON, "-c", "import time; time.sleep(60) # {{ url }}", timeout_s=0.5)
    assert found["failure"] == "generic_timeout_error"
    assert found["total_s"] < 5


def test_a_name_is_good_only_with_an_address_of_the_world() -> None:
    assert fetch("dns:a.example", "echo", "{{ url }}. 300 IN A 198.18.0.80")["via"] == "198.18.0.80"
    assert fetch("dns:a.example", "echo", "{{ url }}. 300 IN A 127.0.0.1")["failure"] == "dns_bogon_error"
    assert fetch("dns:a.example", "echo", "{{ url }}. 300 IN A 31.13.94.37")["failure"] == "dns_forged_answer"
    assert fetch("dns:a.example", "echo", "no answer for {{ url }}")["failure"] == "dns_no_answer"


def test_a_name_whose_own_address_is_known_may_have_no_other_of_the_world() -> None:
    spec = {
        "ca": "",
        "command": ["echo", "{{ url }}. 60 IN A 198.18.66.11"],
        "addresses": {"dns:a.example": "198.19.3.4"},
    }
    fetched = [asyncio.run(Client(spec).fetch(f"dns:{name}"))["failure"] for name in ("a.example", "b.example")]
    assert fetched == ["dns_forged_answer", None]


def test_jobs_are_done_in_order_and_three_failures_are_enough(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    jobs = [
        {"name": "connect", "kind": "repeat", "urls": ["https://a.example/"], "count": 9},
        {"name": "load", "kind": "load", "urls": ["https://a.example/bytes/9"]},
    ]
    asyncio.run(main({"ca": "", "command": ["false", "{{ url }}"], "jobs": jobs, "out": str(out)}))
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(line["job"], len(line["attempts"])) for line in lines] == [("connect", 3), ("load", 1)]
    assert lines[1]["attempts"][0]["wire_bytes"] >= 0


def test_a_job_after_one_that_only_failed_is_left_out(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    jobs = [
        {"name": "connect", "kind": "repeat", "urls": ["https://a.example/"], "count": 1},
        {"name": "load", "kind": "load", "urls": ["https://a.example/bytes/9"], "after": "connect"},
        {"name": "other", "kind": "all", "urls": ["https://a.example/"], "after": "load"},
    ]
    asyncio.run(main({"ca": "", "command": ["false", "{{ url }}"], "jobs": jobs, "out": str(out)}))
    assert [json.loads(line)["job"] for line in out.read_text().splitlines()] == ["connect", "other"]


@pytest.mark.parametrize(
    ("status", "body", "failure"),
    [
        ("200 OK", "<html><title>127.0.0.1:{port}</title></html>", None),
        ("200 OK", '<meta name="viewport"><iframe src="http://www.airtel.in/dot/"></iframe>', "http-diff"),
        ("403 Forbidden", "<html><title>127.0.0.1:{port}</title></html>", "http-diff"),
    ],
)
def test_a_page_that_is_not_the_sites_own_is_no_success(status: str, body: str, failure: str | None) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        page = body.replace("{port}", str(writer.get_extra_info("sockname")[1]))
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(page)}\r\n\r\n{page}".encode())
        await writer.drain()
        writer.close()

    async def visit() -> dict[str, Any]:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await Client({"ca": "", "timeout_s": 5.0}).fetch(f"http://127.0.0.1:{port}/")

    assert asyncio.run(visit())["failure"] == failure
