"""Geneva's strategies against the policies of three countries, by the success that was published (`strategies.md`)."""

from __future__ import annotations

import pytest

from testbed.dpi.policy import load_policy
from tests.dpi.conversation import is_censored

#: policy → a host that it lists
HOSTS = {"china": "www.google.com", "kazakhstan-2019": "www.ratel.kz", "india-airtel": "www.pornhub.com"}
#: strategy → success in China, Kazakhstan and India in percent
RATES: dict[str, tuple[int | None, int | None, int | None]] = {
    "[TCP:flags:PA]-duplicate(tamper{TCP:dataofs:replace:10}(tamper{TCP:chksum:corrupt},),)-|": (98, 100, 0),
    "[TCP:flags:PA]-duplicate(tamper{TCP:dataofs:replace:10}(tamper{IP:ttl:replace:10},),)-|": (98, 100, 0),
    "[TCP:flags:PA]-duplicate(tamper{TCP:dataofs:replace:10}(tamper{TCP:ack:corrupt},),)-|": (94, 100, 0),
    "[TCP:flags:PA]-duplicate(tamper{TCP:options-wscale:corrupt}(tamper{TCP:dataofs:replace:8},),)-|": (98, 100, 0),
    "[TCP:flags:PA]-duplicate(tamper{TCP:load:corrupt}(tamper{TCP:chksum:corrupt},),)-|": (80, 100, 0),
    "[TCP:flags:PA]-duplicate(tamper{TCP:load:corrupt}(tamper{IP:ttl:replace:8},),)-|": (98, 100, 0),
    "[TCP:flags:PA]-duplicate(tamper{TCP:load:corrupt}(tamper{TCP:ack:corrupt},),)-|": (87, 100, 0),
    "[TCP:flags:S]-duplicate(,tamper{TCP:load:corrupt})-|": (3, 100, 0),
    "[TCP:flags:PA]-duplicate(tamper{IP:len:replace:64},)-|": (3, 0, 100),
    "[TCP:flags:A]-duplicate(,tamper{TCP:flags:replace:R}(tamper{TCP:chksum:corrupt},))-|": (95, 0, 0),
    "[TCP:flags:A]-duplicate(,tamper{TCP:flags:replace:R}(tamper{IP:ttl:replace:10},))-|": (87, 0, 0),
    "[TCP:flags:A]-duplicate(,tamper{TCP:options-md5header:corrupt}(tamper{TCP:flags:replace:R},))-|": (86, 0, 0),
    "[TCP:flags:A]-duplicate(,tamper{TCP:flags:replace:RA}(tamper{TCP:chksum:corrupt},))-|": (80, 0, 0),
    "[TCP:flags:A]-duplicate(,tamper{TCP:flags:replace:RA}(tamper{IP:ttl:replace:10},))-|": (94, 0, 0),
    "[TCP:flags:A]-duplicate(,tamper{TCP:flags:replace:FRAPUEN}(tamper{TCP:chksum:corrupt},))-|": (89, 0, 0),
    "[TCP:flags:A]-duplicate(,tamper{TCP:flags:replace:FREACN}(tamper{IP:ttl:replace:10},))-|": (96, 0, 0),
    "[TCP:flags:A]-duplicate(,tamper{TCP:flags:replace:FRAPUN}(tamper{TCP:options-md5header:corrupt},))-|": (94, 0, 0),
    "[TCP:flags:PA]-fragment{tcp:8:False}-| [TCP:flags:A]-tamper{TCP:seq:corrupt}-|": (94, 100, 100),
    "[TCP:flags:PA]-fragment{tcp:8:True}(,fragment{tcp:4:True})-|": (98, 100, 100),
    "[TCP:flags:PA]-fragment{tcp:-1:True}-|": (3, 100, 100),
    "[TCP:flags:PA]-duplicate(tamper{TCP:flags:replace:F}(tamper{IP:len:replace:78},),)-|": (53, 0, 100),
    "[TCP:flags:S]-duplicate(tamper{TCP:flags:replace:SA},)-|": (3, 100, 0),
    "[TCP:flags:PA]-tamper{TCP:options-uto:corrupt}-|": (3, 0, 100),
    # of `library.py`, which has them for India alone
    "[TCP:options-mss:]-tamper{TCP:options-md5header:corrupt}-|": (None, None, 100),
    "[TCP:options-altchksum:]-tamper{TCP:options-uto:corrupt}(duplicate,)-|": (None, None, 100),
}
#: what no single mechanism explains, or the paper's own tables contradict; told in `docs/policies/`
UNEXPLAINED = {
    ("fragment{tcp:8", "china"), ("IP:len", "china"), ("IP:len", "kazakhstan-2019"), ("replace:SA", "kazakhstan-2019"),
    ("IP:len", "india-airtel"),
}  # fmt: skip
CELLS = [
    (strategy, policy, rate)
    for strategy, rates in RATES.items()
    for policy, rate in zip(HOSTS, rates, strict=True)
    if rate is not None and not any(part in strategy and policy == left for part, left in UNEXPLAINED)
]


@pytest.mark.parametrize(("strategy", "policy", "rate"), CELLS)
def test_a_strategy_evades_where_it_did(strategy: str, policy: str, rate: int) -> None:
    request = f"GET / HTTP/1.1\r\nHost: {HOSTS[policy]}\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n".encode()
    seeds = range(20 if "load:corrupt" in strategy else 3)  # one load of four is empty
    censor = load_policy(policy)
    evaded = sum(not is_censored(censor, strategy, request, seed=seed, timestamps=True) for seed in seeds)
    assert (evaded > len(seeds) / 2) is (rate > 50)
