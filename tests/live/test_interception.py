"""Kazakhstan 2019 live: curl behind a censor that opens TLS, on one TCP connection from end to end (censors.md)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.live.conftest import COMMAND, Testbed

pytestmark = pytest.mark.live
CA = "out/ca/qaznet-trust-network/ca.pem"
#: what unmodified programs are asked, one after the other; each says its lines and its status
SCRIPT = f"""
shown() {{ echo | openssl s_client -connect $1:443 -servername $1 2>/dev/null | sed -n 's/^issuer=//p'; }}
curl -sS https://google.com/; echo "refused $?"
curl -skS -o /dev/null -w '%{{http_code}} %{{http_version}}\\n' https://google.com/
curl -sS --cacert {CA} -o /dev/null -w '%{{http_code}} %{{http_version}}\\n' https://google.com/
curl -sS --cacert {CA} --http1.1 --tls-max 1.2 -o /dev/null -w '%{{http_code}} %{{http_version}}\\n' https://google.com/
shown google.com; shown any.example
curl -sS --cacert {CA} https://vk.com/bytes/3000000 | sha256sum; curl -sS https://any.example/bytes/3000000 | sha256sum
head -c 1000000 /dev/zero | curl -sS --cacert {CA} -o /dev/null -w '%{{http_code}} %{{size_upload}}\\n' \\
    --data-binary @- https://ok.ru/
curl -sS --cacert {CA} --http1.1 -Z --parallel-immediate $(seq -f 'https://mail.ru/?%g' 8) | grep -c mail.ru
curl -sS -o /dev/null -w '%{{http_code}}\\n' http://google.com/
curl -sS -m 3 https://ratel.kz/; echo "cut off $?"
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """Ask everything in one run; return the lines that were said, and the run directory."""
    folder = tmp_path_factory.mktemp("intercepted")
    argv = ["exec", "--policy", "kazakhstan-2019", "--link", "none", "--keep", "out", "--", "sh", "-c", SCRIPT]
    done = subprocess.run([*COMMAND, *argv], capture_output=True, text=True, timeout=120, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), folder / "out"


def test_a_listed_name_shows_the_censors_certificate(seen: tuple[list[str], Path]) -> None:
    said = seen[0]
    assert said[0] == "refused 60"
    assert said[1:4] == ["200 2", "200 2", "200 1.1"]  # HTTP/2 by ALPN, as the server chooses
    assert said[4] == "CN = Qaznet Trust Network"
    assert said[5] == "CN = Testbed run authority"  # an unlisted name


def test_what_crosses_is_what_the_server_sent(seen: tuple[list[str], Path]) -> None:
    said = seen[0]
    assert said[6] == said[7]
    assert said[8] == "200 1000000"
    assert int(said[9]) == 8
    assert said[10] == "200"


def test_the_other_rules_go_on_working_beside_it(seen: tuple[list[str], Path]) -> None:
    assert seen[0][11] == "cut off 28"


def test_the_events_tell_what_came_of_each(seen: tuple[list[str], Path]) -> None:
    events = [json.loads(line) for line in (seen[1] / "events.jsonl").read_text().splitlines()]
    found = [event for event in events if event["rule"] == "intercept"]
    reasons = [event["reason"] for event in found]
    assert "the client refused the certificate: tlsv1 alert unknown ca" in reasons
    assert not [reason for reason in reasons if reason.startswith("not intercepted")]  # eight at once to one server
    taken, over = reasons.count("intercepted"), len(reasons) - reasons.count("intercepted")
    assert taken == over  # nothing is left open
    assert {e["evidence"]["protocol"] for e in found if e["reason"] == "opened"} >= {"h2", "http/1.1"}


def test_it_is_one_tcp_connection_from_end_to_end(seen: tuple[list[str], Path]) -> None:
    """The handshake is the client's own, whatever follows continues it: tshark finds no gap and no second SYN."""
    tls = f"{seen[1]}/pcap/gateway-outside.pcapng"
    streams = _tshark(tls, 'tls.handshake.extensions_server_name == "google.com"', "tcp.stream")
    assert len(streams) == 5
    for (stream,) in streams:
        syns = _tshark(tls, f"tcp.stream == {stream} && tcp.flags.syn == 1", "ip.src", "tcp.flags.ack")
        assert [source == "100.64.1.1" for source, _ in syns] == [True, False]
        # around the take-over; further on a busy machine's capture may itself miss a frame of the bulk
        gap = f"tcp.stream == {stream} && tcp.seq < 20000 && tcp.analysis.lost_segment"
        assert _tshark(tls, gap, "frame.number") == []


def test_a_name_that_is_not_listed_crosses_untouched(seen: tuple[list[str], Path]) -> None:
    """The same bytes with the same TTL, but for the one hop, on both sides of the box."""
    sides = []
    for side, hops in (("inside", 0), ("outside", 1)):
        path = f"{seen[1]}/pcap/gateway-{side}.pcapng"
        (stream,) = _tshark(path, 'tls.handshake.extensions_server_name == "any.example"', "tcp.stream")[0]
        fields = ("ip.ttl", "tcp.seq_raw", "tcp.len", "tcp.flags", "tcp.options", "tcp.payload")
        frames = _tshark(path, f"tcp.stream == {stream} && ip.src == 100.64.1.1", *fields)
        sides.append([(int(ttl) + hops, *rest) for ttl, *rest in frames])
    assert sides[0] == sides[1]


def test_hosts_that_trust_the_censor_notice_nothing(testbed: Testbed, tmp_path: Path) -> None:
    scenario = tmp_path / "trusting.yaml"
    scenario.write_text(
        "scenario: trusting\ntitle: Everybody has installed it\nlink: none\npolicy: kazakhstan-2019\n"
        "topology: {trusts_censor: true, ipv6: true}\n"
    )
    script = (
        "curl -sS -4 https://google.com/ -w '%{ssl_verify_result}\\n' | tail -1;"
        "curl -sSv -6 https://google.com/ 2>&1 | grep -c issuer.*Qaznet;"
        "certutil -d sql:$HOME/.pki/nssdb -L | grep -c testbed"
    )
    done = testbed("exec", "--scenario", str(scenario), "--", "sh", "-c", script)
    assert done.stdout.splitlines() == ["0", "1", "2"], done.stderr


def _tshark(path: str, display: str, *fields: str) -> list[list[str]]:
    named = [word for field in fields for word in ("-e", field)]
    argv = ["tshark", "-r", path, "-Y", display, "-T", "fields", *named]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return [line.split("\t") for line in done.stdout.splitlines()]
