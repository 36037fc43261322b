"""Each shipped policy through a real kernel, with unmodified programs; its captures replayed decide the same.

One country for all: its gateway takes one policy after the other (`policies_inside`), here is judged what became of it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from testbed import shipped
from tests.live.line import enter
from tests.live.replayed import compare

pytestmark = pytest.mark.live
TIMEOUT, RESET, CLOSED = 28, (7, 35, 52, 55, 56), 7
TM_NAMES = ("tm-2022", "tm-2022-turkmentelecom")
TM_IMO = ("tm-2023-08", "tm-2024-amnesty", "tm-2024-turkmentelecom", "tm-2024-mobile")
Found = dict[str, Any]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Found]:
    """Try everything once, in one sandbox."""
    folder = tmp_path_factory.mktemp("policies")
    argv = ["-m", "tests.live.policies_inside", str(folder)]
    done = enter(argv, capture_output=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-4000:]
    return folder, json.loads(done.stdout)


@pytest.fixture(scope="module")
def seen(run: tuple[Path, Found]) -> Found:
    """Policy → what became of each program under it."""
    found: Found = run[1]["seen"]
    return found


def ok(item: Found) -> bool:
    return (item["exit"], item.get("code", 200)) == (0, 200)


def test_every_shipped_policy_was_there_and_nothing_was_lost(run: tuple[Path, Found]) -> None:
    stats = run[1]["stats"]
    assert set(run[1]["policies"]) >= set(shipped.names("policies"))
    assert (stats["queue_drops"], run[1]["died"]) == (0, [])


def test_without_a_censor_all_of_it_works(seen: Found) -> None:
    found = seen["open"]
    assert all(ok(found[name]) for name in ("http", "https", "other", "not listed in http"))
    assert found["stun"] == [True, True]
    assert "127.0.0.1" not in found["dns"]["out"] + found["from outside"]["out"]


@pytest.mark.parametrize(("policy", "media"), [
    ("tm-2018-imo", TIMEOUT), ("tm-2018-imo-media", TIMEOUT), ("tm-2018-imo-calls", 0),
])  # fmt: skip
def test_imo_in_2018(seen: Found, policy: str, media: int) -> None:
    found = seen[policy]
    assert (found["call"], found["other"]) == ([False, False], [True])
    assert (found["media"]["exit"], ok(found["chat"])) == (media, True)


def test_turkmenistan_in_2020(seen: Found) -> None:
    found = seen["tm-2020"]
    assert found["cloudflare"]["exit"] in RESET
    assert (found["name"]["exit"], ok(found["other"])) == (35, True)
    assert "127.0.0.1" not in found["dns"]["out"]


def test_turkmenistan_in_2021(seen: Found) -> None:
    found = seen["tm-2021"]
    assert found["dns"]["out"] == "127.0.0.1\n"
    assert "malformed" in found["edns"]["out"]
    assert "127.0.0.1" not in found["edns"]["out"]
    assert (found["http"]["exit"], found["https"]["exit"]) == (56, 35)
    assert "wrong version number" in found["tls on 80"]["error"], "the server's word, not a reset"
    assert found["http on 443"]["code"] == 400, "likewise"


@pytest.mark.parametrize("policy", TM_NAMES)
def test_turkmenistan_in_2022(seen: Found, policy: str) -> None:
    found = seen[policy]
    assert [found[name]["out"] for name in ("dns", "aaaa", "from outside")] == ["127.0.0.1\n"] * 3
    for name, status in (("http", 56), ("https", 35)):
        assert found[name]["exit"] == status
        assert "reset by peer" in found[name]["error"]
    assert ok(found["other"])
    assert ok(found["not listed in http"])
    assert found["resolver"]["exit"] == 9
    assert all(piece not in ("reset", "silence") for piece in found["segments"])
    assert found["after the reset"] == ["reset", "reset"]
    assert found["stun"] == [False, policy == "tm-2022"]


@pytest.mark.parametrize("policy", TM_IMO)
def test_turkmenistan_in_2023_and_2024(seen: Found, policy: str) -> None:
    found = seen[policy]
    assert (found["imo"]["exit"], found["imo dns"]["out"], found["call"]) == (35, "127.0.0.1\n", [False])
    assert ok(found["other"])
    for name in ("cloudflare", "hoster"):
        assert (found[name]["exit"] in RESET) is (policy in ("tm-2023-08", "tm-2024-mobile"))
    assert found["stun"] == [False, policy != "tm-2024-turkmentelecom"]


def test_turkmenistan_in_2025(seen: Found) -> None:
    found = seen["tm-2025-volume"]
    assert (found["block"]["exit"], found["check"]["exit"]) == (TIMEOUT, 56)
    assert ok(found["white"])
    assert ok(found["other"])
    assert (found["before fake quic"]["exit"], found["after fake quic"]["exit"]) == (0, 1)


def test_a_download_gets_its_server_banned(seen: Found) -> None:
    found = seen["small-volume"]
    assert found["large"]["exit"] == TIMEOUT
    assert 100_000 < found["large"]["bytes"] < 320_000
    assert found["again"]["exit"] == 1
    assert ok(found["other"])


def test_a_shutdown(seen: Found) -> None:
    assert [item["exit"] for item in seen["tm-shutdown"].values()] == [TIMEOUT, 9, 1]


def test_china(seen: Found) -> None:
    found = seen["china"]
    assert found["dns"]["out"].startswith("198.18.66.")
    assert found["from outside"]["out"].startswith("198.18.66.")
    assert found["aaaa"]["out"].startswith("2001::")
    assert (found["http"]["exit"], found["https"]["exit"]) == (56, 35)
    assert ok(found["other"])
    assert (found["quic"]["exit"], found["quic other"]["out"]) == (124, "200\n")
    assert found["segments"][-1] == "reset"
    assert found["records"][0].startswith("1603"), "the server's hello came"
    assert found["esni"][0] == "silence"
    assert found["esni"][1] == "TimeoutError", "the residual block takes the next SYN"
    assert 3 <= found["encrypted"] <= 28, "of 50, 26.3 % on average"
    assert 10 <= found["residual"] <= 38, "of 40, 62 % on average"


def test_a_reset_to_the_server_is_believed_there(seen: Found) -> None:
    assert seen["china"]["both ends"][-1] == "reset"
    assert seen["geneva-5"]["word"][-1] == "reset", "the server's end is gone, though the client was told nothing"


def test_henan(seen: Found) -> None:
    found = seen["henan"]
    assert (found["https"]["exit"], found["http"]["exit"]) == (35, 56), "a reset with ten bytes is believed"
    assert ok(found["other"])
    assert ok(found["again"])


def test_iran_in_2020(seen: Found) -> None:
    found = seen["iran-2020"]
    assert found["dns"]["out"].strip() in ("10.10.34.34", "10.10.34.35", "10.10.34.36")
    assert (found["http"]["exit"], found["http"]["code"]) == (0, 403)
    assert "10.10.34.34" in found["http"]["body"]
    assert found["https"]["exit"] == 35
    assert ok(found["other"])
    assert found["junk"] == [b"\x9cjunk".hex(), "silence"]
    assert found["junk elsewhere"] == [b"\x9cjunk".hex(), b"more".hex()]
    assert found["looks like http"][1:] == [b"\x9cjunk".hex(), b"more".hex()]


def test_iran_in_2025(seen: Found) -> None:
    found = seen["iran-2025"]
    assert ok(found["http"])
    assert ok(found["https"])
    assert (found["dns"]["exit"], found["quic"]["exit"], found["ping"]["exit"]) == (0, 124, 1)
    assert (found["ssh"], found["udp"]) == (["TimeoutError"], [False])


def test_russia(seen: Found) -> None:
    found = seen["russia"]
    for name in ("t.co", "over-blocked"):
        assert 8_000 < found[name]["speed"] < 32_000, "bytes a second; 128 kbit/s is 16,000, the bucket comes on top"
    assert found["other"]["speed"] > 200_000
    assert found["quic"]["exit"] == 124
    assert found["frozen"]["exit"] == TIMEOUT
    # 15 to 20 kB from the server, its handshake among them, of which a program sees whole TLS records only
    assert 7_000 < found["frozen"]["bytes"] < 20_000
    assert found["not frozen"]["bytes"] == 200_000


def test_kazakhstan(seen: Found) -> None:
    found = seen["kazakhstan-2019"]
    assert (found["dropped"]["exit"], found["dropped http"]["exit"]) == (TIMEOUT, TIMEOUT)
    assert ok(found["other"])
    assert found["intercepted"]["exit"] == 60, "a certificate of the censor's own"


def test_india(seen: Found) -> None:
    found = seen["india-airtel"]
    assert ok(found["page"])
    assert "airtel.in/dot" in found["page"]["body"]
    assert "<h1>thepiratebay.org" in found["long"]["body"], "a request over 1,448 bytes evades"
    assert ok(found["https"])
    assert ok(found["other"])


def test_allow_list(seen: Found) -> None:
    found = seen["allow-list"]
    assert ok(found["http"])
    assert ok(found["https"])
    assert (found["quic"]["out"], found["dns"]["exit"]) == ("200\n", 0)
    assert [found[f"other {name}"]["exit"] for name in ("https", "http", "quic")] == [TIMEOUT, TIMEOUT, 124]
    assert "NXDOMAIN" in found["other dns"]["out"]
    assert (found["ping"]["exit"], found["ping address"]["exit"], found["ssh"]) == (1, 0, ["silence"])


@pytest.mark.parametrize(("numbers", "word", "after"), [
    ((1, 4, 6, 7, 8, 9), ["silence", "silence"], (TIMEOUT,)), ((2, 3), ["reset", "reset"], (0,)),
    (("8b", 10, 11), ["reset", "reset"], RESET),
])  # fmt: skip
def test_genevas_censors(seen: Found, numbers: tuple[object, ...], word: list[str], after: tuple[int, ...]) -> None:
    for number in numbers:
        found = seen[f"geneva-{number}"]
        assert ok(found["others"]), number
        assert found["word"] == word, number
        assert found["after"]["exit"] in after, number


def test_the_captures_replayed_give_the_same_decisions(run: tuple[Path, Found]) -> None:
    """Rule, reason, verdict and injections of each packet, and the count of each rule that the kernel carried out."""
    live, replayed = compare(run[0], run[1]["policies"])
    assert set(live) == set(replayed)
    for policy, decisions in live.items():
        assert (policy, decisions - replayed[policy], replayed[policy] - decisions) == (policy, {}, {})
    told = {policy for policy, decisions in live.items() if decisions}
    assert told >= {Path(policy).stem for policy in run[1]["policies"]} - {"open"}
