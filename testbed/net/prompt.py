"""The prompt of `testbed shell`: Mininet's words (`client1 ping web`, `nodes`, `net`, `py`), over a plan's nodes.

Mininet's own prompt knows the cables that Mininet laid, and ours are not: it falls over the first node's name in a
command. Here a command gets the terminal itself, as in any shell; nothing a user types ends the country but `exit` or
the end of the input.
"""

from __future__ import annotations

import cmd
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from testbed.scenario.plan import TopologyPlan

Start = Callable[[str, Sequence[str]], "subprocess.Popen[bytes]"]

_HELP = """\
  NODE COMMAND …   run it in a node; other nodes' names become their addresses:  client1 ping -c1 web
  nodes            every node, what it is, its addresses
  net              which interface is joined to which
  pingall          ping every host from every other one, once
  sh COMMAND …     run it beside the nodes
  source FILE      do what a file's lines say
  py EXPRESSION    Python, with `net` (Mininet's) and the nodes by name
  exit             leave, and end the country (also quit, Ctrl-D)

Tab completes commands, nodes, programs and files. `testbed enter RUN NODE` opens a second terminal.
"""


class Prompt(cmd.Cmd):
    """Asks until the user leaves. `start` starts a command in a node, with the terminal; `names`: what `py` sees."""

    prompt = "mininet> "

    def __init__(self, plan: TopologyPlan, start: Start, names: Mapping[str, Any], out: TextIO | None = None) -> None:
        super().__init__(stdout=out or sys.stdout)
        self._plan, self._start, self._names = plan, start, dict(names)
        self._nodes = {node.name: node for node in plan.nodes}
        self._addresses = {
            node.name: next((a.partition("/")[0] for i in node.interfaces for a in i.addresses), "")
            for node in plan.nodes
        }  # fmt: skip
        self._listens = False
        """Ctrl-C is for the prompt: it asks, or evaluates Python; a command gets its own from the terminal."""
        self._cut = False
        """Ctrl-C came while the last line was done: what is left of it is not."""

    def run(self) -> None:
        """Ask until the user leaves, or do a script's lines. Ctrl-C ends what runs, or the line; a script it ends."""
        if not sys.stdin.isatty():
            self.prompt = ""  # what is printed is the commands' own
            self.cmdloop()
            return
        before = signal.signal(signal.SIGINT, self.interrupted)
        try:
            self._ask()
        finally:
            signal.signal(signal.SIGINT, before)

    def interrupted(self, number: int, frame: object) -> None:
        """Hear Ctrl-C: the line is left, or what a command leaves of it."""
        self._cut = True
        if self._listens:
            self._listens = False
            raise KeyboardInterrupt

    def _ask(self) -> None:
        with contextlib.suppress(ImportError):
            import readline

            readline.set_completer_delims(" \t\n")  # a path is one word
        while True:
            try:
                self._listens = True
                self.cmdloop()
                return
            except KeyboardInterrupt:
                self._say("")

    def default(self, line: str) -> None:
        """Run a command in a node."""
        first, _, rest = line.strip().partition(" ")
        if first not in self._nodes:
            self._say(f"no node or command {first!r}; `nodes` and `help` list them")
        elif not rest.strip():
            self._say(f"what shall {first} do? for example: {first} ping -c1 web")
        else:
            words = [self._addresses.get(word) or word for word in rest.split(" ")]
            self.stdout.flush()
            self._start(first, ["sh", "-c", " ".join(words)]).wait()

    def precmd(self, line: str) -> str:
        """Leave Ctrl-C to the command."""
        self._listens = self._cut = False
        return line

    def postcmd(self, stop: bool, line: str) -> bool:
        """Take it back."""
        self._listens = not stop
        return stop

    def onecmd(self, line: str) -> bool:
        """Do a line; True to leave."""
        if line == "EOF":  # what `cmd` makes of the end of the input
            self._say("")
            return True
        return bool(super().onecmd("" if line.lstrip().startswith("#") else line))

    def emptyline(self) -> bool:
        """Do nothing, instead of the last line again."""
        return False

    def do_help(self, arg: str) -> None:
        """List what can be typed."""
        self._say(_HELP)

    def do_nodes(self, arg: str) -> None:
        """List the nodes."""
        width = max(map(len, self._nodes), default=0)
        for node in self._nodes.values():
            addresses = [a.partition("/")[0] for i in node.interfaces for a in i.addresses]
            self._say(f"{node.name:<{width}}  {node.kind:<6}  {node.side:<7}  {' '.join(addresses)}".rstrip())

    def do_net(self, arg: str) -> None:
        """List the cables."""
        for cable in self._plan.cables:
            self._say(f"{cable.node_a} {cable.interface_a} - {cable.node_b} {cable.interface_b}")

    def do_pingall(self, arg: str) -> None:
        """Ping every host from every other one, those of one host side by side."""
        hosts = {name: self._addresses[name] for name, node in self._nodes.items() if node.kind == "host"}
        reached = 0
        for source in hosts:
            pings = {
                name: self._start(source, ["sh", "-c", f"ping -c1 -W2 {address} >/dev/null 2>&1"])
                for name, address in hosts.items()
                if name != source
            }
            answers = [name if process.wait() == 0 else "X" for name, process in pings.items()]
            if self._cut:
                return
            reached += sum(name != "X" for name in answers)
            self._say(f"{source} -> {' '.join(answers)}")
        asked = len(hosts) * (len(hosts) - 1)
        self._say(f"{asked - reached} of {asked} lost")

    def do_sh(self, arg: str) -> None:
        """Run a command beside the nodes."""
        self.stdout.flush()
        subprocess.run(["sh", "-c", arg], check=False)

    def do_source(self, arg: str) -> bool:
        """Do what a file's lines say."""
        try:
            lines = Path(arg.strip()).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeError) as error:
            self._say(f"can't read {arg.strip() or 'a file without a name'}: {error}")
            return False
        for line in lines:
            if self.onecmd(line):
                return True
            if self._cut:
                break
        return False

    def do_py(self, arg: str) -> None:
        """Evaluate a Python expression."""
        self._listens = True
        try:
            found = eval(arg, {}, self._names)  # what the user typed, with the user's rights
        except Exception as error:
            self._say(f"{type(error).__name__}: {error}")
            return
        if found is not None:
            self._say(found if isinstance(found, str) else repr(found))

    def do_exit(self, arg: str) -> bool:
        """Leave."""
        return True

    do_quit = do_exit

    def completenames(self, text: str, *ignored: Any) -> list[str]:
        """Complete the first word: a command or a node."""
        known = ("exit", "help", "net", "nodes", "pingall", "py", "quit", "sh", "source", *self._nodes)
        return sorted(name for name in known if name.startswith(text))

    def completedefault(self, text: str, line: str, begin: int, end: int) -> list[str]:
        """Complete a node's command: a program, then nodes and files."""
        words = line[:begin].split()
        found = _files(text)
        if len(words) > 1:
            found += [name for name in self._nodes if name.startswith(text)]
        elif text and "/" not in text:
            found = [name.rpartition("/")[2] for place in os.get_exec_path() for name in _files(f"{place}/{text}")]
        return sorted(set(found))

    def _say(self, text: str) -> None:
        print(text, file=self.stdout)


def _files(text: str) -> list[str]:
    """Return the paths that begin so."""
    folder, slash, stem = text.rpartition("/")
    try:
        return [f"{folder}{slash}{each.name}" for each in Path(f"{folder}{slash}" or ".").iterdir()
                if each.name.startswith(stem)]  # fmt: skip
    except OSError:
        return []
