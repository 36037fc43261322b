"""The world answers as a world does: names, HTTP in every version, IPv6, trust; and there is no way out of the lab."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from testbed.world.names import addresses_for
from tests.live.conftest import Testbed

pytestmark = pytest.mark.live
HERE = Path(__file__).parent


def test_any_name_answers_every_kind_of_question(testbed: Testbed) -> None:
    four, six = addresses_for("any.example", {})
    world = ["sh", str(HERE / "world.sh"), sys.executable, str(HERE)]
    done = testbed("exec", "--scenario", str(HERE / "six.yaml"), "--", *world)
    assert done.stdout.splitlines() == [
        six, four, four, four, four, four,
        f"200 1.1 {four}", f"200 2 {four}", f"200 2 {six}", "404", "1234567", "1",
        "200", "200", "Verification: OK", "1", "1 received", "1 received", "1", "0 received",
    ], done.stderr  # fmt: skip


def test_ipv6_is_censored_as_ipv4_is(testbed: Testbed) -> None:
    line = (
        "dig +short @2001:db8:18::53 AAAA any.example; dig +short @2001:db8:18::53 twitter.com;"
        "curl -sS --resolve twitter.com:443:[2001:db8:19::7] https://twitter.com/; echo $?;"
        "curl -sS --resolve twitter.com:80:[2001:db8:19::7] http://twitter.com/; echo $?"
    )
    done = testbed("exec", "--scenario", str(HERE / "six.yaml"), "--", "sh", "-c", line)
    assert done.stdout.splitlines() == [addresses_for("any.example", {})[1], "127.0.0.1", "35", "56"], done.stderr


def test_providers_have_their_own_censor(testbed: Testbed, tmp_path: Path) -> None:
    scenario = tmp_path / "providers.yaml"
    scenario.write_text(
        "scenario: providers\ntitle: One provider filters, the others do not\nlink: none\nduration: 6 s\n"
        "topology:\n  providers: {agts: {clients: 1}, mobile: {clients: 2, policy: tm-2022}}\n"
        "  hosts: {bridge: 198.18.0.40}\n"
        "apps:\n"
        "  - {name: first, app: web, params: {url: 'https://twitter.com/'}}\n"
        "  - {name: agts, app: web, on: agts1, params: {url: 'https://twitter.com/'}}\n"
        "  - {name: mobile, app: web, on: mobile2, params: {url: 'https://twitter.com/'}}\n"
        "  - {name: listless, app: web, on: mobile2, params: {url: 'https://any.example/'}}\n"
        "  - {name: bridge, app: command, on: mobile1, params: {argv: [ping, -c1, -W2, 198.18.0.40]}}\n"
        "expect:\n"
        "  - {phase: start, app: first, verdict: ok}\n  - {phase: start, app: agts, verdict: ok}\n"
        "  - {phase: start, app: mobile, verdict: blocked, blocking: dns}\n"
        "  - {phase: start, app: listless, verdict: ok}\n  - {phase: start, app: bridge, verdict: ok}\n"
    )
    done = testbed("run", str(scenario))
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert (run / "pcap" / "mobilegw-inside.pcapng").stat().st_size > 0
