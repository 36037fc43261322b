"""`CensoredNet`: one sandbox with a country in it, from outside. Commands enter it, the censor is changed meanwhile."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from testbed import control, proc
from testbed.dpi.policy import load_policy, refuse_program
from testbed.errors import InputError, Problem, UnfaithfulError
from testbed.run.directory import read_lines
from testbed.run.scratch import scratch
from testbed.session.controls import Controlled, Controls
from testbed.session.holder import Holder
from testbed.session.programs import Program, end_group, entering, environment
from testbed.session.seen import Decided, Done, Page, fell_on, first_address, page_of, resolver_of
from testbed.session.using import Using

_TOOL_S, _SPARE_S, _POLL_S, _TIMED_OUT = 120.0, 5.0, 0.01, 124


class CensoredNet:
    """A live net, a context manager; `close` ends it, and so does the end of this process, however it comes.

    `policy`, `link`, `scenario`, `seed` mean what they mean for `testbed exec`; a scenario gives the net, its link and
    its boxes' policies, its timeline is not played. With `keep` the whole run directory stays there, else nothing does.
    `InputError` for a wrong name or file, `MachineError` if the machine lacks something.
    """

    def __init__(
        self, *, policy: str | Path | None = None, link: str | Path | None = None,
        scenario: str | Path | None = None, seed: int = 1, keep: Path | None = None, folder: Path | None = None,
        capture: bool = True, allow_plugins: bool = False, title: str = "A live net",
    ) -> None:  # fmt: skip
        self._stack = contextlib.ExitStack()
        place = keep or folder or self._stack.enter_context(scratch())
        place.mkdir(parents=True, exist_ok=True)
        self._record = keep is not None
        first = None if policy is None and scenario is not None else _reference(policy or "open")
        job = {
            "scenario": _reference(scenario), "policy": first, "link": _reference(link), "seed": seed,
            "capture": capture, "plugins": allow_plugins, "title": title,
        }  # fmt: skip
        try:
            self._holder = Holder(job, place)
        except BaseException:
            self._stack.close()
            raise
        self.run_dir = self._holder.directory.path
        self.link = str(link or (f"of {scenario}" if scenario else "national-2021"))
        self.seed = seed
        about = self._holder.about
        self._t0, self._ca = float(about["t0"]), str(about["ca"])
        self.boxes: tuple[str, ...] = tuple(about["boxes"])
        self._policies: dict[str, str] = about["policies"]
        plan = json.loads(self._holder.directory.plan.read_text(encoding="utf-8"))
        self._addresses = {node["name"]: first_address(node) for node in plan["nodes"] if node["kind"] == "host"}
        inside = [n["name"] for n in plan["nodes"] if (n["kind"], n["side"]) == ("host", "inside")]
        self.clients: tuple[str, ...] = tuple(name for name in inside if name != "resolver")
        self._resolver = resolver_of(plan["nodes"])
        self._events: dict[str, list[Decided]] = {}
        self._programs: list[Program] = []
        self._tools: list[Using] = []
        self._number = 0
        self._link_changed, self._judging = False, False
        self._dead, self._closed = False, False
        self.history: list[Done | Page | Controlled | str] = []
        """What was done and seen, in order."""
        self._controls = Controls(self._fetch_as_control, self.set_policy)
        self.fidelity: dict[str, Any] | None = None
        """How faithful the link was, known when the net is closed."""

    def __enter__(self) -> CensoredNet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # what there is

    @property
    def alive(self) -> bool:
        """Whether the sandbox is there, and nothing of the country was found dead."""
        return not (self._closed or self._dead) and self._holder.alive

    @property
    def policy(self) -> str:
        """The policy of the first box."""
        return self._policies[self.boxes[0]]

    def elapsed(self) -> float:
        """Return the seconds since the net came up, by which decisions are timed."""
        return time.monotonic() - self._t0

    def address(self, node: str) -> str:
        """Return a host's IPv4 address."""
        if node not in self._addresses:
            raise InputError([Problem(node, "no such host", f"choose one of {', '.join(sorted(self._addresses))}")])
        return self._addresses[node]

    def captures(self) -> dict[str, Path]:
        """Return the captures that grow while the net is up, `gateway-inside` and `gateway-outside` for each box."""
        work = self.run_dir / "work"
        found = {
            f"{box}-{side}": work / f"{box}-{side}.pcap" for box in self._policies for side in ("inside", "outside")
        }
        return {name: path for name, path in found.items() if path.exists()}

    def decisions(self, since: float = 0.0) -> list[Decided]:
        """Return what the censors decided since a moment (`elapsed`), what the kernel dropped for them included."""
        for box in sorted(self._policies):
            with contextlib.suppress(OSError):  # a dead box has said what it had to say; `prove` tells of its death
                control.call(self._holder.directory.control(box), {"op": "stats"})
            known = self._events.setdefault(box, [])
            lines = list(read_lines(self._holder.directory.box_events(box)))
            known += [Decided.of(event) for event in lines[len(known) :]]
        found = [decided for own in self._events.values() for decided in own if decided.t >= since]
        return sorted(found, key=lambda decided: decided.t)

    # what can be changed

    def set_policy(self, policy: str | Path, box: str | None = None) -> None:
        """Give a box (the first one) another policy; blocks that run and names that resolvers know are forgotten.

        Nothing is controlled: whoever wants a verdict uses `behind`.
        """
        self._take(policy, self._box(box or self.boxes[0]), forget=True)

    def _take(self, policy: str | Path, box: str, *, forget: bool, fresh: bool = False) -> None:
        reference = str(_reference(policy))
        refuse_program(load_policy(reference), "be switched in while packets flow")
        self._holder.ask("policy", box=box, policy=reference, forget=forget, fresh=fresh)
        self._policies[box] = str(policy)

    def set_rule(self, rule: str, enabled: bool, box: str | None = None) -> None:
        """Switch a rule of a box's policy on or off, until the next policy comes."""
        self._holder.ask("rule", box=self._box(box or self.boxes[0]), rule=rule, enabled=enabled)
        self.history.append(f"rule {rule} {'on' if enabled else 'off'}")

    def set_link(self, link: str | Path | Mapping[str, Any]) -> None:
        """Change the national link while packets flow: by name or file, or written out (`{"rate": "1 Mbit/s"}`)."""
        if link == "none" or not self._holder.directory.control("link").exists():
            mend = "start another net with that link"
            raise InputError([Problem(str(link), "a link can't be shaped or unshaped while packets flow", mend)])
        self._holder.ask("link", link=link if isinstance(link, Mapping) else _reference(link))
        self._link_changed = True
        self.history.append(f"link {link}")

    def _box(self, box: str) -> str:
        if box not in self._policies:
            raise InputError([Problem(box, "no such box", f"there are {', '.join(sorted(self._policies))}")])
        return box

    # what runs in it

    def run(
        self, *argv: str, node: str | None = None, timeout_s: float = 60.0, input: str | None = None,
        env: Mapping[str, str] | None = None, cwd: Path | None = None, check: bool = False,
    ) -> Done:  # fmt: skip
        """Run a command in a host (the first client) to its end; `CommandError` on another status than 0 if `check`."""
        host, t = node or self.clients[0], self.elapsed()
        pipes = {"stdin": subprocess.DEVNULL if input is None else subprocess.PIPE, "stdout": subprocess.PIPE}
        process = self._popen(host, argv, env or {}, cwd, {**pipes, "stderr": subprocess.PIPE})
        sent, timed_out = (None if input is None else input.encode()), False
        try:
            out, err = process.communicate(sent, timeout_s)
        except subprocess.TimeoutExpired:
            timed_out = True
            end_group(process)
            out, err = process.communicate()
        finally:
            end_group(process)  # what it left behind in its group; and itself, if this was interrupted
        ended = process.returncode if process.returncode >= 0 else 128 - process.returncode
        done = Done(
            argv, host, _TIMED_OUT if timed_out else ended, out.decode(errors="replace"), err.decode(errors="replace"),
            t, self.elapsed() - t, self._fallen_on(host, t), timed_out,
        )  # fmt: skip
        self._note(done)
        if check and not done.ok:
            raise proc.CommandError(proc.Completed(argv, done.status, done.stdout, done.stderr))
        return done

    def start(
        self, *argv: str, node: str | None = None, name: str | None = None, listens: str | None = None,
        says: str | None = None, within_s: float = 20.0, env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Program:  # fmt: skip
        """Start a program in a host and wait until it is ready: `listens="tcp/8443"`, or has written a line that
        `says` finds. `CommandError` with its last words if it isn't within the time, or ends before."""
        host = node or self.clients[0]
        self._number += 1
        called = name or f"{argv[0].rpartition('/')[2]}-{self._number}"
        log = self._holder.directory.log(called)
        command = entering(self.run_dir, host, argv, (cwd or Path.cwd()).resolve())
        process = proc.spawn(command, log_path=log, env=environment(self.run_dir, host, env or {}))
        program = Program(called, host, argv, log, process)
        self._programs.append(program)
        if listens is not None:
            program.wait_until(lambda: listens in self.listening(host), f"listening on {listens}", within_s)
        if says is not None:
            program.wait_until(lambda: program.says(says), f"saying {says!r}", within_s)
        return program

    def listening(self, node: str) -> set[str]:
        """Return the ports that something listens on in a host, as `tcp/443`."""
        self.address(node)
        return set(self._holder.ask("listening", node=node)["ports"])

    @contextlib.contextmanager
    def tool(
        self, recipe: str | Path, *, node: str | None = None, server: str = "tools",
        options: Mapping[str, str | int] | None = None,
    ) -> Iterator[Using]:  # fmt: skip
        """Run a recipe's tool, its server in the world and its client in a host, for a `with` block.

        `MachineError` if it is not installed; `CommandError` with its last words if a side of it doesn't start.
        """
        self._number += 1
        name, host = f"tool{self._number}", node or self.clients[0]
        spec = {"recipe": _reference(recipe), "name": name, "server": server, "on": host, "options": options or {}}
        used = self._holder.ask("tool", _TOOL_S, spec=spec)
        if "broken" in used:
            raise proc.CommandError(proc.Completed((str(recipe),), 1, "", used["broken"]))
        using = Using(str(recipe), name, host, used["proxy"], tuple(used["wrapper"]), tuple(used["command"]))
        self._tools.append(using)
        try:
            yield using
        finally:
            if using in self._tools:
                self._tools.remove(using)
                died = self._holder.ask("untool", name=name)["died"]
                self.history += [f"the tool {recipe} had ended: {last}" for last in died]

    def fetch(
        self, url: str, *, node: str | None = None, proxy: str | None = None, through: Using | None = None,
        address: str | None = None, timeout_s: float = 10.0,
    ) -> Page:  # fmt: skip
        """Fetch a page from a host, as the testbed's own client does: OONI's word for its failure, and times.

        `proxy`: `socks5://…` or `http://…`; `through`: what `tool` gave; `address`: instead of looking the name up.
        """
        host = node or self.clients[0]
        spec: dict[str, Any] = {"proxy": proxy, "address": address}
        wrapper: tuple[str, ...] = ()
        if through is not None:
            spec, wrapper = (
                {"proxy": through.proxy, "address": address, "command": list(through.command)},
                through.wrapper,
            )
        page = self._measured(host, [page_of(url)], spec, timeout_s, wrapper)[0]
        self._note(page)
        return page

    def _fetch_as_control(self, urls: Sequence[str], timeout_s: float) -> list[Page]:
        return self._measured(self.clients[-1], urls, {}, timeout_s) if urls else []

    def _measured(
        self, node: str, urls: Sequence[str], access: Mapping[str, Any], timeout_s: float, wrapper: Sequence[str] = ()
    ) -> list[Page]:  # fmt: skip
        self._number += 1
        work = self.run_dir / "work"
        path, out = work / f"fetch-{self._number}.json", work / f"fetch-{self._number}.jsonl"
        jobs = [{"name": "pages", "kind": "all", "urls": list(urls)}]
        spec = {**access, "ca": self._ca, "timeout_s": timeout_s, "out": str(out), "jobs": jobs}
        path.write_text(json.dumps(spec), encoding="utf-8")
        t = self.elapsed()
        log = self._holder.directory.log(f"fetch-{self._number}")
        argv = [*wrapper, *proc.module("testbed.tools.measure", str(path))]
        with log.open("ab") as stream:
            process = self._popen(node, argv, {}, work, {"stdout": stream, "stderr": stream})
            try:
                deadline = time.monotonic() + timeout_s + _SPARE_S
                # a look-up that nobody answers keeps the client long after it has said what it saw
                while not _has_line(out) and process.poll() is None and time.monotonic() < deadline:
                    time.sleep(_POLL_S)
            finally:
                end_group(process)
                process.wait()
        attempts = [attempt for line in read_lines(out) for attempt in line["attempts"]]
        if not attempts:
            raise UnfaithfulError(f"the client that fetches {urls[0]} said nothing: see {log}")
        fallen = self._fallen_on(node, t)
        return [Page.of(attempt, node, t, fallen) for attempt in attempts]

    def _popen(
        self, node: str, argv: Sequence[str], env: Mapping[str, str], cwd: Path | None, streams: Mapping[str, Any]
    ) -> subprocess.Popen[bytes]:  # fmt: skip
        command = entering(self.run_dir, node, argv, (cwd or Path.cwd()).resolve())
        return subprocess.Popen(
            command,
            env=environment(self.run_dir, node, env),
            process_group=0,
            **{"stdin": subprocess.DEVNULL, **streams},
        )

    def _fallen_on(self, node: str, t: float) -> tuple[Decided, ...]:
        return fell_on(self.decisions(t), self._addresses.get(node, ""), self._resolver, t, self.elapsed())

    def _note(self, seen: Done | Page) -> None:
        self.history.append(seen)
        path = self._holder.directory.app_results("session")
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(seen.as_attempt(), sort_keys=True) + "\n")

    # both sides

    @contextlib.contextmanager
    def behind(
        self, policy: str | Path, *, control: str | None = None, phase: str | None = None
    ) -> Iterator[CensoredNet]:
        """Put the net behind a policy for a `with` block, two-sided: nothing is believed that wasn't shown.

        Before: the policy keeps a host without a tool from a site (`control`, or one found by trying), and another
        passes. After: nothing of the net died, no packet was late or lost by the machine, the link was faithful.
        `UnfaithfulError` if one of these fails: what was seen proves nothing. Then the net is as it was before.
        """
        before, judging = self.policy, self._judging
        others = [*(program.name for program in self._programs), *(using.name for using in self._tools)]
        try:
            self.enter(policy, control=control, phase=phase)
            yield self
            self.prove()
        finally:
            self.leave(before, but=others)
            self._judging = judging

    def enter(self, policy: str | Path, *, control: str | None = None, phase: str | None = None) -> Controlled:
        """Take a policy and show both sides: the first half of `behind`."""
        if self._judging:  # what was seen up to now is judged now, for a new part begins
            self.prove()
        reference = str(_reference(policy))
        with self._holder.directory.steps.open("a", encoding="utf-8") as stream:
            step = {"phase": phase or f"behind {policy}", "policy": reference, "box": self.boxes[0]}
            stream.write(json.dumps({"t": round(self.elapsed(), 3), "step": step}) + "\n")
        controlled = self._controls.show(reference, control)
        self.history.append(controlled)
        self._holder.ask("begin")
        self._judging = True
        return controlled

    def prove(self) -> None:
        """`UnfaithfulError` if what was seen since `enter` proves nothing: the second half of `behind`."""
        found = self._holder.ask("doubts")
        self._dead = found["dead"]
        if found["why"]:
            raise UnfaithfulError("nothing is proven: " + "; ".join(found["why"]))

    def leave(self, policy: str | Path = "open", *, but: Sequence[str] = (), forget: bool = True) -> None:
        """End programs and tools, `but` those of these names, give the link its own values back, and take a policy.

        Whoever goes on with `enter`, which lets resolvers `forget` in any case, saves a moment without it.
        """
        for program in [program for program in self._programs if program.name not in but]:
            self._programs.remove(program)
            program.stop()
        self._judging = False
        if not self.alive:
            return
        try:
            for using in [using for using in self._tools if using.name not in but]:
                self._tools.remove(using)
                self._holder.ask("untool", name=using.name)
            if self._link_changed:
                self._holder.ask("link", link=None)
                self._link_changed = False
            self._take(policy, self.boxes[0], forget=forget, fresh=not (self._programs or self._tools))
        except UnfaithfulError:
            self._dead = True  # whoever wants to believe what was seen has asked `prove`, which tells it

    def close(self) -> None:
        """End the net; with `keep` its run directory is written first. `UnfaithfulError` if it had died before."""
        if self._closed:
            return
        self._closed = True
        try:
            for program in self._programs:
                program.stop()
            self.fidelity = self._holder.finish(record=self._record)
        finally:
            self._stack.close()


def _has_line(path: Path) -> bool:
    return path.exists() and path.read_bytes().endswith(b"\n")


def _reference(value: str | Path | None) -> str | None:
    """Return a name as it is and a file as an absolute path, for a program that stands elsewhere."""
    if value is None or not (isinstance(value, Path) or "/" in value or value.endswith((".yaml", ".yml", ".py"))):
        return value
    return str(Path(value).resolve())
