"""The pytest plugin: a test stands behind a censor. pytest loads it by itself where the testbed is installed.

::

    @pytest.mark.behind("tm-2022", "tm-2023-08", link="none")
    def test_gets_through(censored_net): ...        # once for each policy

    def test_by_hand(behind):
        with behind("tm-2022") as net: ...

A test that proves nothing must not pass. Before it the censor and the net are shown to be alive, else it is an *error*;
after it the link must have been faithful and nothing dead, else it *fails*; `xfail` hides neither. What this machine
lacks is an error too, or a skip if `--testbed-missing=skip` says so.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from testbed.errors import InputError, MachineError, Problem, TestbedError, UnfaithfulError

if TYPE_CHECKING:
    from testbed.session import CensoredNet

_SCOPES = {"test": "function", "module": "module", "session": "session"}
_DEFAULTS = {"link": "national-2021", "scenario": "", "seed": "1", "scope": "session", "missing": "error", "keep": ""}
_KEYS = ("link", "scenario", "control")
_HELP = {
    "link": "the national link by name or file; `none`: unshaped, quick",
    "scenario": "the scenario that gives the net, its boxes and its link",
    "seed": "where all chances begin",
    "scope": "how long a net lives, test, module or session; its policy is set anew for each test in any case",
    "missing": "what becomes of a test if the machine lacks something: error or skip",
    "keep": "keep run directories (captures, decisions, reports) below this folder",
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse a mark that came too late to bring the test its net: it would pass without any censor."""
    if item.get_closest_marker("behind") is not None and "censored_net" not in getattr(item, "fixturenames", ()):
        pytest.fail("behind(…) was added to a test that has no net; let the test ask for `censored_net`", pytrace=False)


class Kind(NamedTuple):
    """What nets are told apart by: a test gets one of its kind."""

    link: str | None
    scenario: str | None


@dataclass
class Use:
    """A net in a test: from which item of its history on, and whether it is judged when the test has ended."""

    net: CensoredNet
    since: int
    judged: bool


_USES = pytest.StashKey[list[Use]]()
_RUNS = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add an option and an ini key for each setting."""
    group = parser.getgroup("testbed", "tests behind a censor (testbed)")
    for name, default in _DEFAULTS.items():
        choices = {"scope": list(_SCOPES), "missing": ["error", "skip"]}.get(name)
        said = f"{_HELP[name]} (default: {default or 'none'}; ini: testbed_{name})"
        group.addoption(f"--testbed-{name}", default=None, choices=choices, metavar=name.upper(), help=said)
        parser.addini(f"testbed_{name}", _HELP[name], default=default)


def _setting(config: pytest.Config, name: str) -> str:
    given = config.getoption(f"testbed_{name}")
    return str(config.getini(f"testbed_{name}") if given is None else given)


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known; refuse settings that mean nothing."""
    config.addinivalue_line(
        "markers",
        "behind(policy, ..., link=None, scenario=None, control=None): run the test behind each policy, two-sided; "
        "`control` is a page that the policies block",
    )
    config.stash[_RUNS] = []
    if not _setting(config, "seed").isdigit():
        raise pytest.UsageError(f"testbed_seed: {_setting(config, 'seed')!r} is no number")
    for name, known in (("scope", tuple(_SCOPES)), ("missing", ("error", "skip"))):
        if _setting(config, name) not in known:
            raise pytest.UsageError(f"testbed_{name}: {_setting(config, name)!r}; choose one of {', '.join(known)}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that is marked once for each policy, whether it asks for the net by name or not."""
    marker = metafunc.definition.get_closest_marker("behind")
    if marker is None:
        return
    if unknown := sorted(set(marker.kwargs) - set(_KEYS)):
        pytest.fail(f"behind({unknown[0]}=…): no such key; known: {', '.join(_KEYS)}", pytrace=False)
    if not marker.args or not all(isinstance(policy, (str, Path)) for policy in marker.args):
        pytest.fail('behind(…) names no policy; write `@pytest.mark.behind("tm-2022")`', pytrace=False)
    marked = [node for node, _ in metafunc.definition.iter_markers_with_node("behind")]
    if marked.count(marked[0]) > 1:  # only the last would count
        pytest.fail('behind(…) stands twice; name all policies in one: `behind("tm-2022", "china")`', pytrace=False)
    if "testbed_policy" not in metafunc.fixturenames:
        metafunc.fixturenames.append("testbed_policy")
    ids = [Path(policy).stem if str(policy).endswith((".yaml", ".yml")) else str(policy) for policy in marker.args]
    metafunc.parametrize("testbed_policy", marker.args, ids=ids, indirect=True, scope="function")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give a test that is marked its net, though it doesn't ask for it by name: it would pass without any censor."""
    if not isinstance(item, pytest.Function) or item.get_closest_marker("behind") is None:
        return
    if "censored_net" not in item.fixturenames:
        item.fixturenames.append("censored_net")


class Nets:
    """The nets of one scope, each brought up when a test asks for its kind the first time."""

    def __init__(self, config: pytest.Config, folder: Callable[[], Path]) -> None:
        self._config, self._folder = config, folder
        self._nets: dict[Kind, CensoredNet] = {}
        self._lacks: MachineError | None = None

    def get(self, kind: Kind) -> CensoredNet:
        """Return the net of a kind; one that died is replaced. What the machine lacks it lacks for all."""
        if self._lacks is not None:
            raise self._lacks
        net = self._nets.get(kind)
        if net is not None and net.alive:
            return net
        if net is not None:
            with contextlib.suppress(UnfaithfulError):  # the test that saw its end has failed
                net.close()
        try:
            net = self._nets[kind] = self._bring_up(kind)
        except MachineError as error:
            self._lacks = error
            raise
        self._config.stash[_RUNS].append(str(net.run_dir))
        return net

    def _bring_up(self, kind: Kind) -> CensoredNet:
        from testbed.run.directory import RunDirectory
        from testbed.session import CensoredNet

        kept = _setting(self._config, "keep")
        keep = None
        if kept:
            name = os.environ.get("PYTEST_XDIST_WORKER", "main")
            place = self._config.invocation_params.dir / kept
            keep = RunDirectory.create(place, name, datetime.datetime.now(datetime.UTC)).path
        seed = int(_setting(self._config, "seed"))
        # with a scenario its further boxes keep their policies; the first one's is set for each test
        return CensoredNet(
            link=kind.link, scenario=kind.scenario, policy="open", seed=seed, title="pytest", keep=keep,
            folder=None if keep else self._folder(),
        )  # fmt: skip

    def close(self) -> None:
        """End all; `UnfaithfulError` if a link of the kernel was not faithful, which is known only now."""
        why = []
        for net in self._nets.values():
            with contextlib.suppress(UnfaithfulError):
                net.close()
            if net.fidelity and net.fidelity["backend"] == "kernel" and not net.fidelity["faithful"]:
                why += [f"{net.run_dir}: {reason}" for reason in net.fidelity["why"]]
        if why:
            raise UnfaithfulError("nothing is proven by the tests of this scope: " + "; ".join(why))


def _scope(fixture_name: str, config: pytest.Config) -> Any:
    return _SCOPES[_setting(config, "scope")]


@pytest.fixture(scope=_scope)
def testbed_nets(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nets]:
    """Give the nets of this scope; the tests' own fixtures are `censored_net` and `behind`."""
    nets = Nets(request.config, lambda: tmp_path_factory.mktemp("testbed"))
    yield nets
    nets.close()


@pytest.fixture
def testbed_policy(request: pytest.FixtureRequest) -> str | None:
    """Give the policy that the marker `behind` puts this test under; None without the marker."""
    policy = getattr(request, "param", None)
    return None if policy is None else str(policy)


def _net_for(request: pytest.FixtureRequest, nets: Nets, asked: dict[str, Any]) -> CensoredNet:
    scenario = asked.get("scenario") or _setting(request.config, "scenario") or None
    given = asked.get("link") or request.config.getoption("testbed_link")
    # a scenario has a link of its own, which only a test's or the command line's word replaces
    link = given or (None if scenario else _setting(request.config, "link"))
    return nets.get(Kind(str(link) if link else None, str(scenario) if scenario else None))


def _only_policy(marker: pytest.Mark | None) -> str:
    """Return the policy of a test that could not be run once for each: of `unittest`, or marked after collection."""
    if marker is None:
        return "open"
    if len(marker.args) != 1:
        said = "a test of unittest, or one marked after collection, stands behind one policy"
        raise InputError([Problem(f"behind{marker.args}", said, "name one, or write a plain function")])
    return str(marker.args[0])


@pytest.fixture
def censored_net(
    request: pytest.FixtureRequest, testbed_nets: Nets, testbed_policy: str | None
) -> Iterator[CensoredNet]:
    """Give a live net (`testbed.session.CensoredNet`): behind the policy of the marker `behind`, else uncensored."""
    marker = request.node.get_closest_marker("behind")
    asked = dict(marker.kwargs) if marker else {}
    policy = testbed_policy or _only_policy(marker)
    with _missing(request.config):
        net = _net_for(request, testbed_nets, asked)
    request.node.stash.setdefault(_USES, []).append(Use(net, len(net.history), judged=True))
    try:
        net.enter(policy, control=asked.get("control"), phase=request.node.nodeid)
        yield net
    finally:
        net.leave(forget=False)


@pytest.fixture
def behind(
    request: pytest.FixtureRequest, testbed_nets: Nets
) -> Callable[..., contextlib.AbstractContextManager[CensoredNet]]:
    """Give `behind(policy, link=…, scenario=…, control=…)`, which puts a `with` block behind a policy, two-sided."""

    @contextlib.contextmanager
    def put(
        policy: str | Path, *, link: str | Path | None = None, scenario: str | Path | None = None,
        control: str | None = None,
    ) -> Iterator[CensoredNet]:  # fmt: skip
        net = _net_for(request, testbed_nets, {"link": link, "scenario": scenario})
        request.node.stash.setdefault(_USES, []).append(Use(net, len(net.history), judged=False))
        with net.behind(policy, control=control, phase=f"{request.node.nodeid} {policy}"):
            yield net

    return put


@contextlib.contextmanager
def _missing(config: pytest.Config) -> Iterator[None]:
    """Skip for what the machine lacks, if that was asked for; else it stays an error."""
    try:
        yield
    except MachineError as error:
        if _setting(config, "missing") == "skip":
            pytest.skip(f"this machine lacks something: {error}")
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Let a test pass only if what it saw proves something."""
    with _missing(item.config):
        result = yield
    for use in item.stash.get(_USES, []):
        if use.judged:
            use.net.prove()
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say in the report what the censor did and where the files are; let no `xfail` hide what proves nothing."""
    uses = item.stash.get(_USES, [])
    error = call.excinfo.value if call.excinfo is not None else None
    if uses and (call.when == "call" or (call.when == "setup" and error is not None)):
        item.user_properties += _properties(uses, error)
    report = yield
    # bad input and what proves nothing; a program that didn't start is the test's own affair
    if isinstance(error, TestbedError) and error.exit_status in (2, 3) and hasattr(report, "wasxfail"):
        report.outcome = "failed"
        del report.wasxfail
    if report.failed and uses:
        from testbed.session.story import story

        report.sections += [("testbed", story(use.net, use.since)) for use in uses]
    return report


def _properties(uses: list[Use], error: BaseException | None) -> list[tuple[str, str]]:
    """Return what JUnit shall hold of a test, in the words of OONI where these are."""
    from testbed.session.controls import Controlled
    from testbed.session.seen import Page

    found: list[tuple[str, str]] = []
    for use in uses:
        net, seen = use.net, use.net.history[use.since :]
        controlled = [item for item in seen if isinstance(item, Controlled)]
        found += [("testbed.policy", item.policy) for item in controlled]
        found += [("testbed.control", str(item)) for item in controlled]
        found += [("testbed.link", net.link), ("testbed.seed", str(net.seed)), ("testbed.run", str(net.run_dir))]
        for page in [item for item in seen if isinstance(item, Page)]:
            found.append(("testbed.page", str(page)))
            if not page.ok:
                found += [("testbed.failure", str(page.failure)), ("testbed.operation", str(page.operation))]
                found += [("testbed.blocking", page.blocking)] if page.blocking else []
        rules = sorted({d.rule for item in seen if hasattr(item, "decisions") for d in item.decisions})
        found += [("testbed.rules", ", ".join(rules))] if rules else []
    if isinstance(error, UnfaithfulError):
        found.append(("testbed.invalid", str(error)))
    return found


# where kept runs are, said at the end; under xdist each worker tells its own


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand a worker's run directories to the one who tells them."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["testbed_runs"] = session.config.stash[_RUNS]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take a worker's run directories."""
    node.config.stash[_RUNS] += getattr(node, "workeroutput", {}).get("testbed_runs", [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the run directories that are kept."""
    runs = config.stash.get(_RUNS, [])
    if runs and _setting(config, "keep"):
        terminalreporter.section("testbed: run directories")
        for run in sorted(runs):
            terminalreporter.line(run)
