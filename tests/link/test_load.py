"""Links as people write them: what is read, and what every mistake gets: its line, the key, the mend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed import shipped
from testbed.documents import parse_text
from testbed.errors import InputError
from testbed.link import kernel
from testbed.link.load import check_link, load_link
from testbed.link.spec import USER_LIMIT_BPS, LinkSpec, plain


def read(text: str) -> LinkSpec:
    return check_link(parse_text(text, "f.yaml"))


def problems(text: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        read(text)
    return [str(problem) for problem in caught.value.problems]


def test_what_is_said_once_counts_for_both_directions_and_each_may_differ() -> None:
    link = read("rate: 0.5 Mbit/s\nrtt: 205 ms\nloss: 1 %\nup: {rate: 40 kbit/s, queue: 64 kB}\n")
    assert (link.down.rate, link.down.delay, link.down.loss) == (5e5, 0.1025, 0.01)
    assert (link.up.rate, link.up.delay, link.up.loss, link.up.queue.size) == (4e4, 0.1025, 0.01, 64_000)
    assert link.down.queue.limit_bytes(5e5) == 31_250  # 500 ms


@pytest.mark.parametrize("name", shipped.names("scenarios/links"))
def test_every_shipped_link_is_read_and_written_back_the_same(name: str) -> None:
    link = load_link(name)
    assert link is not None
    again = LinkSpec.model_validate(plain(link))
    assert (again.up, again.down) == (link.up, link.down)


def test_none_is_no_link() -> None:
    assert load_link("none") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("title: t\nrate: 500\n", "f.yaml:2: `rate`: 500 has no unit; write it like `0.5 Mbit/s` or `40 kbit/s`"),
        ("rate: 5 ms\n", "f.yaml:1: `rate`: 'ms' is not a unit of rate; write it like `0.5 Mbit/s` or `40 kbit/s`"),
        ("title: t\nrtt: 205\n", "f.yaml:2: `rtt`: 205 has no unit; write it like `205 ms`, `30 s` or `2 min`"),
        ("\nloss: 101 %\n", "f.yaml:2: `loss`: '101 %' is not between 0 % and 100 %"),
        ("rate: 1 Mbit/s\nqueue: 500\n", "f.yaml:2: `queue`: 500 is no bound of a queue; "
         "write it like `queue: 500 ms` or `queue: 64 kB`"),
        ("rate: 1 Mbit/s\nqueue: {size: 1 kB, tim: 1 s}\n", "f.yaml:2: unknown key `tim`; did you mean `time`?"),
        ("a: 1\nrat: 1 Mbit/s\n", "f.yaml:2: unknown key `rat`; did you mean `rate`?"),
        ("rtt: 1 ms\nby_clock:\n  - {from: 7 pm, to: '20:00', loss: 1 %}\n",
         "f.yaml:3: `from`: '7 pm' is not a time of day; write it like `18:00`"),
        ("rate: 1 Mbit/s\nby_clock:\n  - {from: '24:00', to: '00:00', loss: 1 %}\n",
         "f.yaml:3: `by_clock`: `from` is where a day ends; write `00:00`"),
        ("by_clock: [{from: '18:00', to: '20:00'}]\n", "f.yaml:1: `by_clock`: these hours change nothing; "
         "give `rate` or `loss`"),
        ("loss: 1 %\nbursts: {p: 1 %, r: 50 %}\n", "f.yaml:1: both `loss` and `bursts`; give one"),
        ("delay: 10 ms\njitter: 20 ms\n", "f.yaml:1: jitter is larger than the delay; "
         "a packet can't leave before it came"),
        ("delay: 10 ms\nqueue: 64 kB\n", "f.yaml:1: `queue` without a rate: nothing would wait in it; "
         "give `rate`"),
        ("reorder: true\n", "f.yaml:1: `reorder` without `jitter` changes nothing; give `jitter`"),
        ("rtt: 1 ms\ndelay: 1 ms\n", "f.yaml:1: both `rtt` and `delay`; give one"),
        ("backend: tc\n", "f.yaml:1: `backend`: `tc` is not a word it knows; write 'auto', 'user' or 'kernel'"),
    ],
)  # fmt: skip
def test_a_mistake_gets_its_line_and_its_mend(text: str, expected: str) -> None:
    assert expected in problems(text)


def test_all_mistakes_come_at_once() -> None:
    found = problems("rat: 1 Mbit/s\nrate: fast\nup: {delay: 1}\n")
    assert [place.split(": ")[0] for place in found] == ["f.yaml:1", "f.yaml:2", "f.yaml:3"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "backend: kernel\nrate: 1 Mbit/s\nby_clock: [{from: '18:00', to: '20:00', loss: 1 %}]\n",
            "f.yaml:3: `by_clock`",
        ),
        ("backend: kernel\ndelay: 10 ms\njitter: 2 ms\n", "f.yaml:3: `jitter`"),
        ("backend: kernel\nrate: 1 Mbit/s\nqueue: {time: 1 s, fair: true}\n", "f.yaml:3: `queue`"),
    ],
)
def test_what_the_kernel_cannot_do_is_refused(text: str, expected: str) -> None:
    (found,) = problems(text)
    assert found.startswith(expected)
    assert found.endswith("write `backend: user`, or leave it out")


def test_above_what_user_space_carries_the_kernel_takes_over_or_the_link_is_refused() -> None:
    assert not read("rate: 50 Mbit/s\n").uses_kernel
    assert read("rate: 51 Mbit/s\n").uses_kernel
    assert not read("rate: 51 Mbit/s\nbackend: user\n").uses_kernel
    (found,) = problems("rate: 100 Mbit/s\nqueue: {time: 1 s, fair: true}\n")
    assert found.startswith("f.yaml:2: `queue`: the kernel link has no fair queue; ask for 50 Mbit/s at most")
    assert USER_LIMIT_BPS == 50e6


def test_the_kernel_is_told_ip_bytes_a_small_burst_and_the_queue() -> None:
    link = read("backend: kernel\nrate: 100 Mbit/s\nup: {rate: 0.5 Mbit/s, queue: 64 kB}\n")
    up, down = kernel.shape_commands(link, "in", "out")
    stab = "handle 1: stab overhead -14 tbf rate"
    assert " ".join(up) == f"tc qdisc add dev out root {stab} 500000bit burst 3000 limit 67000"
    assert " ".join(down) == f"tc qdisc add dev in root {stab} 100000000bit burst 50000 limit 6300000"


def test_netem_stands_before_the_shaper_and_is_asked_for_each_fault() -> None:
    link = read(
        "backend: kernel\nrate: 1 Mbit/s\nrtt: 20 ms\nup: {bursts: {p: 1 %, r: 25 %, bad: 90 %}}\n"
        "down: {loss: 0.35 %, jitter: 2 ms, reorder: true, duplicate: 0.1 %}\n"
    )
    commands = [" ".join(argv) for argv in kernel.shape_commands(link, "in", "out")]
    assert (
        "dev out root handle 1: stab overhead -14 netem limit 100000 delay 10000us loss gemodel 1% 25% 90% 0%"
        in commands[0]
    )
    assert (
        "dev out parent 1:1 handle 10: tbf rate" in commands[1]
    )  # a size table below the root is refused by newer kernels
    assert commands[2].endswith("delay 10000us 2000us loss random 0.35% duplicate 0.1%")
    assert kernel.netem_keys(link) == ["delay", "jitter", "loss", "bursts", "duplicate"]


def test_a_link_in_a_scenario_has_the_same_errors(tmp_path: Path) -> None:
    from testbed.scenario.load import load_scenario

    path = tmp_path / "s.yaml"
    path.write_text("scenario: s\ntitle: t\nlink:\n  rate: 0.5 Mbit/s\n  los: 1 %\n  backend: kernel\n  jitter: 1\n")
    with pytest.raises(InputError) as caught:
        load_scenario(path)
    assert [str(problem).removeprefix(str(path)) for problem in caught.value.problems] == [
        ":5: unknown key `los`; did you mean `loss`?",
        ":7: `jitter`: 1 has no unit; write it like `205 ms`, `30 s` or `2 min`",
    ]


@pytest.mark.parametrize(
    ("link", "step", "word"),
    [
        ("none", "national-2021", "unshaped and can't change"),
        ("{rate: 60 Mbit/s}", "national-2021", "of the kernel"),
    ],
)
def test_a_link_that_cannot_change_is_not_asked_to(tmp_path: Path, link: str, step: str, word: str) -> None:
    from testbed.scenario.load import load_scenario

    path = tmp_path / "s.yaml"
    path.write_text(f"scenario: s\ntitle: t\nlink: {link}\ntimeline:\n  - {{at: 1 s, link: {step}}}\n")
    with pytest.raises(InputError, match=rf":5: .*{word}"):
        load_scenario(path)


sides: Any = st.fixed_dictionaries(
    {},
    optional={
        "rate": st.floats(1, 1e11).map(lambda value: f"{value:f} bit/s"),
        "delay": st.floats(0.001, 10).map(lambda value: f"{value:.9f} s"),
        "loss": st.floats(0, 1),
        "duplicate": st.floats(0, 1),
        "by_clock": st.just([{"from": "23:00", "to": "24:00", "rate": "1 kbit/s", "loss": 0.5}]),
    },
)


@given(sides, sides, st.floats(1e-9, 100))
def test_what_is_written_for_the_links_process_reads_back_exactly(up: Any, down: Any, queue_s: float) -> None:
    queued = {"queue": f"{queue_s:.12f} s"} if "rate" in up else {}
    link = LinkSpec.model_validate({"up": {**up, **queued}, "down": down})
    again = LinkSpec.model_validate(plain(link))
    assert (again.up, again.down) == (link.up, link.down)
