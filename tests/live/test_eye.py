"""Real apps in one run: what a browser shows behind three censors, with pictures in the run and in its report."""

from __future__ import annotations

import json
import shutil
import socket
import struct
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import COMMAND

pytestmark = [
    pytest.mark.live,
    pytest.mark.alone,
    pytest.mark.skipif(
        not all(map(shutil.which, ("chromium", "firefox-esr"))), reason="no chromium or firefox, see `testbed doctor`"
    ),
]
EYE = Path(__file__).parent / "eye.yaml"


@pytest.fixture(scope="module")
def eye(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """One run for all; return its result and its directory."""
    folder = tmp_path_factory.mktemp("eye")
    argv = ["run", str(EYE), "--into", str(folder / "run"), "--json"]
    done = subprocess.run([*COMMAND, *argv], capture_output=True, text=True, timeout=120, cwd=folder, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout), folder / "run"


def attempts(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in result["apps"]}


def test_a_browser_says_what_a_person_sees(eye: tuple[dict[str, Any], Path]) -> None:
    seen = {name: item["seen"] for name, item in attempts(eye[0]).items() if item["app"] == "browser"}
    assert seen["open"] == "weather.example"
    assert seen["reset"] == "This site can’t be reached, ERR_CONNECTION_RESET"
    assert seen["forged"] == "This site can’t be reached, ERR_CONNECTION_REFUSED"
    assert seen["certificate"].endswith("ERR_CERT_AUTHORITY_INVALID")
    assert seen["fox"] == "weather.example"
    assert seen["fox-reset"].startswith("Secure Connection Failed")


def test_http3_is_what_the_page_came_by(eye: tuple[dict[str, Any], Path]) -> None:
    found = attempts(eye[0])
    assert (found["open"]["kpis"]["protocol"], found["http3"]["kpis"]["protocol"]) == ("h2", "h3")


def test_every_page_has_its_picture_there_and_in_the_report(eye: tuple[dict[str, Any], Path]) -> None:
    result, run = eye
    browsers = [item for item in result["apps"] if item["app"] == "browser"]
    report = (run / "report.html").read_text(encoding="utf-8")
    for item in browsers:
        assert item["screenshot"] == f"{item['name']}-start.png"
        picture = (run / "screenshots" / item["screenshot"]).read_bytes()
        assert picture[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">II", picture[16:24])[0] == 1024
        assert f'alt="Screenshot of {item["name"]} in phase start, {item["verdict"]}' in report
    assert report.count('src="data:image/png') == len(browsers)


def test_photos_over_xmpp_reached_the_friend(eye: tuple[dict[str, Any], Path]) -> None:
    """Prosody says that each was put there by one connection and fetched by another before the receipt came."""
    for name in ("photo", "carried"):
        sent = attempts(eye[0])[name]["kpis"]
        assert 0 < sent["session_s"] < sent["delivery_s"]
    stored = (eye[1] / "work" / "serve-xmpp").glob("upload*/http_file_share/*")
    assert sorted(path.stat().st_size for path in stored) == [20_000, 30_000]


def test_what_went_through_a_tool_is_seen_as_the_tools(eye: tuple[dict[str, Any], Path]) -> None:
    """The same server and the same relay's port that the censor stops are behind Shadowsocks and WireGuard."""
    found = attempts(eye[0])
    assert [found[name]["failure"] for name in ("listed", "call-3478")] == ["connection_reset", "generic_timeout_error"]
    seen = subprocess.run(
        ["tshark", "-r", str(eye[1] / "pcap" / "gateway-inside.pcapng"), "-Y", "ip.src == 100.64.1.0/24",
         "-T", "fields", "-e", "ip.src", "-e", "ip.dst", "-e", "tcp.dstport", "-e", "udp.dstport", "-e", "tcp.stream"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    rows = [line.split("\t") for line in seen.splitlines()]
    vpn = [(target, port) for source, target, _, port, _ in rows if source == "100.64.1.2"]
    assert set(vpn) == {("198.18.0.22", "51820")}
    assert len(vpn) > 100
    connections = Counter(port for _, port in {(stream, port) for _, _, port, _, stream in rows if stream})
    assert [connections[port] for port in ("5222", "5223", "5281")] == [2, 1, 1]  # text and listed; the other photo
    assert connections["8388"] >= 2  # the message, and the photo put there


def test_the_call_is_real_rtp_through_the_relay(eye: tuple[dict[str, Any], Path]) -> None:
    found = attempts(eye[0])
    assert found["call-3478"]["operation"] == "relay"
    assert found["call-3479"]["kpis"]["relay"] == "udp 3479"
    rules = [e.get("rule") for e in map(json.loads, (eye[1] / "events.jsonl").read_text().splitlines())]
    assert "stun" in rules
    # channel data of TURN (RFC 8656 §12.4): 0x4000 to 0x4fff, both ways; inside it is SRTP
    channels = subprocess.run(
        ["tshark", "-r", str(eye[1] / "pcap" / "gateway-inside.pcapng"), "-Y", "udp.port == 3479 && stun.channel",
         "-T", "fields", "-e", "udp.srcport"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert channels.count("3479") > 50
    assert len(channels) - channels.count("3479") > 50


def test_a_browsers_own_business_stays_out_of_the_decisions(eye: tuple[dict[str, Any], Path]) -> None:
    asked = subprocess.run(
        ["tshark", "-r", str(eye[1] / "pcap" / "gateway-inside.pcapng"), "-T", "fields", "-e", "dns.qry.name",
         "-e", "tls.handshake.extensions_server_name", "-e", "http.host"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    wanted = {"weather.example", "twitter.com", "addons.mozilla.org", "thepiratebay.org", "mail.ru"}
    wanted |= {"chat.example", "upload.chat.example", "telegram.example", "call.example"}
    # Airtel's page has a frame; a strange certificate makes Chromium look for a log-in page; Firefox looks itself up
    besides = {"www.airtel.in", "connectivitycheck.gstatic.com", "www.gstatic.com", socket.gethostname()}
    assert wanted <= set(asked) <= wanted | besides
