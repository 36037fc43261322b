"""A country that is asked for its counters while it dies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from testbed.run.country import Country


def _country(monkeypatch: pytest.MonkeyPatch, deaths: Iterator[list[str]], stats: Any) -> Country:
    country = Country.__new__(Country)
    monkeypatch.setattr(country, "check_alive", lambda: next(deaths))
    monkeypatch.setattr(country, "stats", stats)
    return country


def _gone() -> dict[str, Any]:
    raise ConnectionRefusedError("nobody listens")


def test_a_box_whose_socket_is_gone_is_dead_as_soon_as_its_parent_hears_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    died = ["gateway ended with status -9: "]
    country = _country(monkeypatch, iter([[], [], died]), _gone)
    assert country.stats_or_deaths() == ({}, died)


def test_who_lives_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    country = _country(monkeypatch, iter([[]]), lambda: {"gateway": {"packets": 1}})
    assert country.stats_or_deaths() == ({"gateway": {"packets": 1}}, [])
