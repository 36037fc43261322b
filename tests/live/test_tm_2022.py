"""The measured censor of 2022, seen by unmodified programs through a real kernel (facts §1)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.live.conftest import Testbed

pytestmark = pytest.mark.live
UNSHAPED = ("--link", "none")


def test_an_open_country_serves_any_name_over_https(testbed: Testbed) -> None:
    done = testbed(
        "exec", "--policy", "open", *UNSHAPED, "--", "curl", "-sS", "-w", "%{http_code}", "https://anything.example/"
    )
    assert done.returncode == 0, done.stderr
    assert "anything.example" in done.stdout
    assert done.stdout.endswith("200")


@pytest.mark.parametrize("server", ["198.18.0.53", "198.18.0.20"])
def test_a_forged_answer_comes_from_any_address(testbed: Testbed, server: str) -> None:
    done = testbed(
        "exec", *UNSHAPED, "--policy", "tm-2022", "--", "dig", f"@{server}", "twitter.com", "+noall", "+answer"
    )
    assert done.stdout.split() == ["twitter.com.", "300", "IN", "A", "127.0.0.1"], done.stderr


@pytest.mark.parametrize(("scheme", "port", "status"), [("http", 80, 56), ("https", 443, 35)])
def test_curl_gets_exactly_one_bare_rst_with_the_injectors_fingerprint(
    testbed: Testbed, tmp_path: Path, scheme: str, port: int, status: int
) -> None:
    done = testbed(
        "exec", *UNSHAPED, "--policy", "tm-2022", "--keep", "out", "--", "sh", "-c",
        f"tcpdump -i client1-eth0 -w {tmp_path}/c.pcap -U --immediate-mode 2>/dev/null & T=$!; sleep 1; "
        f"curl -sS --resolve twitter.com:{port}:198.19.3.4 {scheme}://twitter.com/; echo $?; sleep 0.5; "
        "kill $T; wait $T",
    )  # fmt: skip
    assert done.stdout.split()[0] == str(status), done.stderr
    fields = ["ip.id", "ip.ttl", "ip.flags.df", "ip.len", "tcp.flags", "tcp.window_size_value"]
    shown = subprocess.run(
        ["tshark", "-r", f"{tmp_path}/c.pcap", "-Y", "tcp.flags.reset == 1 && ip.dst == 100.64.1.1", "-T", "fields",
         *[word for field in fields for word in ("-e", field)]],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert len(shown) == 1, shown
    ip_id, ttl, df, length, flags, window = shown[0].split("\t")
    assert int(ip_id, 16) == 30000
    assert int(ttl) == 127  # 128 as injected at the gateway, one router (isp) on the way
    assert df in ("0", "False")
    assert (int(length), int(flags, 16), int(window)) == (40, 4, 0)


def test_outside_in_triggers_too(testbed: Testbed) -> None:
    # asked of an address that no host has, as a scan does: a real host's "port unreachable" would race the forgery
    done = testbed(
        "exec", *UNSHAPED, "--policy", "tm-2022", "--node", "web", "--json", "--", "dig", "+time=2", "+tries=1",
        "@100.64.1.200", "twitter.com", "+short",
    )  # fmt: skip
    assert "127.0.0.1" in done.stdout
    assert json.loads(done.stderr.splitlines()[-1])["decisions"][0]["rule"] == "dns"


def test_a_name_that_is_not_listed_is_untouched(testbed: Testbed) -> None:
    done = testbed(
        "exec", *UNSHAPED, "--policy", "tm-2022", "--", "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}",
        "https://example.org/",
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "200"), done.stderr


def test_files_of_the_users_folder_are_not_taken_for_ours(testbed: Testbed, tmp_path: Path) -> None:
    (tmp_path / "testbed").mkdir()
    for name in ("testbed/__init__.py", "random.py", "ipaddress.py"):
        (tmp_path / name).write_text("raise SystemExit('the user's own')\n")
    done = testbed("exec", *UNSHAPED, "--policy", "open", "--", "true")
    assert done.returncode == 0, done.stderr


def test_status_and_output_are_passed_through(testbed: Testbed) -> None:
    done = testbed("exec", *UNSHAPED, "--policy", "open", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout) == (7, "out\n")
    assert "err" in done.stderr


def test_the_sandbox_has_no_route_out(testbed: Testbed) -> None:
    done = testbed("exec", *UNSHAPED, "--policy", "open", "--node", "border", "--", "ip", "route", "get", "192.0.2.1")
    assert done.returncode != 0
    assert "unreachable" in done.stderr


def test_a_bad_policy_name_is_input(testbed: Testbed) -> None:
    done = testbed("exec", "--policy", "tm-2022x", "--", "true")
    assert done.returncode == 2
    assert "did you mean `tm-2022`?" in done.stderr
