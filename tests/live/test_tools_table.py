"""The part of `docs/tools.md` that every change is held to: tools small enough to be installed by `make setup`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from testbed.tools.recipe import load_recipe
from testbed.tools.runner import missing
from tests.live.conftest import Testbed

pytestmark = pytest.mark.live
KEPT = json.loads((Path(__file__).parents[2] / "docs" / "tools.json").read_text(encoding="utf-8"))
POLICIES = ("tm-2022",)
#: one of each way in: no tool, resolvers, hellos, a packet filter, odd requests, proxies, TUN, pings
RECIPES = (
    "direct", "resolver-public", "dot", "fronting", "geneva", "http-newline", "ssh", "shadowsocks", "obfs4",
    "openvpn-tls-crypt", "wireguard", "ptunnel-ng",
)  # fmt: skip


def test_the_tools_of_ci_are_installed() -> None:
    lacking = {name: lacks for name in RECIPES if (lacks := missing(load_recipe(name)))}
    assert not lacking, f"run `make setup`: {lacking}"


def test_the_table_holds(testbed: Testbed) -> None:
    def verdicts(recipes: Sequence[str]) -> dict[str, dict[str, str]]:
        policies = [word for policy in POLICIES for word in ("--policy", policy)]
        done = testbed("tool", *recipes, *policies, "--link", "none", "--soak", "0", "--connections", "2", "--json",
                       timeout_s=240)  # fmt: skip
        assert done.stdout, done.stderr
        tools = json.loads(done.stdout)["tools"]
        return {tool["recipe"]: {item["policy"]: item["verdict"] for item in tool["policies"]} for tool in tools}

    with ThreadPoolExecutor(2) as pool:  # two sandboxes, since each mostly waits
        halves = list(pool.map(verdicts, (RECIPES[::2], RECIPES[1::2])))
    found = {**halves[0], **halves[1]}
    wanted = {
        name: {policy: KEPT[name]["policies"][policy]["verdict"] for policy in ("open", *POLICIES)} for name in RECIPES
    }
    assert found == wanted
