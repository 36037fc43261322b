"""Reads the syntax. What Geneva's own reader takes silently or drops is an error here, with its column and a mend."""

from __future__ import annotations

from testbed.tools.geneva import packet
from testbed.tools.geneva.strategy import (
    Action,
    ChangeCase,
    Drop,
    Duplicate,
    Fragment,
    Insert,
    Node,
    Replace,
    Sleep,
    Strategy,
    Tamper,
    Trace,
    Tree,
    Trigger,
)

_ACTIONS = ("duplicate", "drop", "sleep", "tamper", "fragment", "trace")
_OF_REQUESTS = ("duplicate", "insert", "replace", "changecase")
_HOW = ("replace", "corrupt", "add", "compress")
_WHERE, _PARTS, _MOST_TIMES = ("start", "middle", "end"), ("name", "value"), 16384
_BRANCHING = (Duplicate, Fragment)


class StrategyError(ValueError):
    """A strategy that can't be read: `column N: what is wrong; how to mend it`."""


def parse(text: str) -> Strategy:
    """Read a strategy; without `\\/` all its trees are outbound. `StrategyError` if it isn't one."""
    return _Reader(text).strategy()


class _Reader:
    """A cursor over the text."""

    def __init__(self, text: str) -> None:
        self._text, self._at, self._inbound = text, 0, False
        self._protos: set[bool] = set()  # whether trees are about requests: all of them, or none

    def _error(self, what: str, mend: str, at: int | None = None) -> StrategyError:
        return StrategyError(f"column {(self._at if at is None else at) + 1}: {what}; {mend}")

    def _peek(self, token: str) -> bool:
        return self._text.startswith(token, self._at)

    def _take(self, token: str) -> bool:
        if self._peek(token):
            self._at += len(token)
            return True
        return False

    def _expect(self, token: str, after: str) -> None:
        if not self._take(token):
            found = self._text[self._at : self._at + 1] or "the end"
            raise self._error(f"`{found}` where `{token}` is due after {after}", f"write `{token}`")

    def _until(self, stop: str, what: str) -> str:
        end = self._text.find(stop, self._at)
        if end < 0:
            raise self._error(f"{what} has no `{stop}`", f"close it with `{stop}`")
        found, self._at = self._text[self._at : end], end + len(stop)
        return found

    def _skip_space(self) -> None:
        while self._text[self._at : self._at + 1] in (" ", "\t", "\n", '"') and self._at < len(self._text):
            self._at += 1

    def strategy(self) -> Strategy:
        outbound = self._forest()
        inbound: tuple[Tree, ...] = ()
        if self._take("\\/"):
            self._inbound = True
            inbound = self._forest()
        if self._at < len(self._text):
            raise self._error(
                f"`{self._text[self._at :][:12]}` begins no tree", "a tree begins with `[proto:field:value]-`"
            )
        return Strategy(outbound, inbound)

    def _forest(self) -> tuple[Tree, ...]:
        trees: list[Tree] = []
        self._skip_space()
        while self._take("["):
            trees.append(self._tree())
            self._skip_space()
        return tuple(trees)

    def _tree(self) -> Tree:
        trigger = self._trigger()
        self._expect("-", "a trigger")
        root = None if self._peek("|") else self._node()
        if root is not None:
            self._take("-")
        at_end = self._text[self._at :].strip(' "\n') in ("", "\\/")  # published lists leave the last `|` out
        if not self._take("|") and not at_end:
            self._expect("|", "a tree")
        return Tree(trigger, root)

    def _trigger(self) -> Trigger:
        at = self._at
        parts = self._until("]", "a trigger").split(":")
        if len(parts) not in (3, 4):
            raise self._error("a trigger has three or four parts", "write `[proto:field:value]` or `[…:value:gas]`", at)
        self._protos.add(parts[0] == "HTTP")
        if len(self._protos) > 1 or (parts[0] == "HTTP" and self._inbound):
            raise self._error("requests and packets in one strategy", "play them one after the other", at)
        if parts[0] == "HTTP":
            return self._request_trigger(parts, at)
        self._check_field(parts[0], parts[1], at)
        gas = self._whole(parts[3], "gas", at) if len(parts) == 4 else None
        if not parts[2].endswith("*"):
            self._check_value(parts[0], parts[1], parts[2], at)
        return Trigger(parts[0], parts[1], parts[2], gas)

    def _request_trigger(self, parts: list[str], at: int) -> Trigger:
        if len(parts) != 3 or parts[2] != "*" or not parts[1]:
            mend = "write `[HTTP:method:*]`, `[HTTP:path:*]`, `[HTTP:version:*]` or `[HTTP:host:*]` (any header)"
            raise self._error("a trigger on requests takes any value, and no gas", mend, at)
        return Trigger("HTTP", parts[1], "*")

    def _node(self) -> Node:
        at = self._at
        action = self._action()
        left = right = None
        if self._take("("):
            left = None if self._peek(",") else self._node()
            self._expect(",", "the left branch")
            right = None if self._peek(")") else self._node()
            self._expect(")", "the right branch")
        if right is not None and not isinstance(action, _BRANCHING):
            raise self._error(f"`{action}` has no second packet for a right branch", "leave the right branch empty", at)
        if isinstance(action, (Drop, Trace)) and left is not None:
            raise self._error(f"nothing comes after `{action}`", "end the branch there", at)
        return Node(action, left, right)

    def _action(self) -> Action:
        at = self._at
        while self._at < len(self._text) and self._text[self._at].isalpha():
            self._at += 1
        name = self._text[at : self._at]
        known = _OF_REQUESTS if True in self._protos else _ACTIONS
        if name not in known:
            raise self._error(f"unknown action `{name}`", f"known: {', '.join(known)}", at)
        given = self._until("}", f"`{name}{{`") if self._take("{") else None
        if self._inbound and name in ("duplicate", "fragment", "sleep", "trace"):
            raise self._error(f"`{name}` can't be done to packets that come in", "only drop and tamper can", at)
        if name in ("duplicate", "drop"):
            if given is not None:
                raise self._error(f"`{name}` takes no parameters", f"write `{name}`", at)
            return Duplicate() if name == "duplicate" else Drop()
        if name == "sleep":
            return self._sleep(given, at)
        parts = (given or "").split(":")
        if name == "trace":
            return self._trace(given or "1:64", at)
        if True in self._protos:
            return self._of_request(name, parts, at)
        return self._tamper(parts, at) if name == "tamper" else self._fragment(parts, at)

    def _of_request(self, name: str, parts: list[str], at: int) -> Action:
        if name == "changecase" and parts in (["upper"], ["lower"]):
            return ChangeCase(parts[0])
        if name == "insert" and len(parts) == 4 and parts[1] in _WHERE and parts[2] in _PARTS:
            return Insert(parts[0], parts[1], parts[2], self._times(parts[3], at))
        if name == "replace" and len(parts) == 3 and parts[1] in _PARTS:
            return Replace(parts[0], parts[1], self._times(parts[2], at))
        mend = "write `insert{%20:end:value:1}`, `replace{a:name:1}` or `changecase{upper}`"
        raise self._error(f"`{name}` with the wrong parts", mend, at)

    def _times(self, text: str, at: int) -> int:
        times = self._whole(text, "number of times", at)
        if not 0 <= times <= _MOST_TIMES:
            raise self._error(f"{times} times", f"from 0 to {_MOST_TIMES}", at)
        return times

    def _sleep(self, given: str | None, at: int) -> Sleep:
        try:
            seconds = float(given or "1")
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds <= 60:
            raise self._error(f"`sleep{{{given}}}` is no time", "write seconds from 0 to 60, `sleep{0.5}`", at)
        return Sleep(seconds)

    def _trace(self, given: str, at: int) -> Trace:
        first, _, last = given.partition(":")
        trace = Trace(self._whole(first, "first TTL", at), self._whole(last, "last TTL", at))
        if not 0 <= trace.first <= trace.last <= 255:
            raise self._error(f"`{trace}` is no range", "write `trace{1:64}`, from 0 to 255", at)
        return trace

    def _tamper(self, parts: list[str], at: int) -> Tamper:
        alone = parts[2:3] in (["corrupt"], ["compress"])
        if len(parts) not in (3, 4) or parts[2] not in _HOW or (len(parts) == 3) != alone:
            mend = "write `tamper{proto:field:replace:value}`, `…:add:value}` or `…:corrupt}`"
            raise self._error("`tamper` with the wrong parts", mend, at)
        proto, name, how, value = (*parts, "")[:4]
        self._check_field(proto, name, at)
        if (how == "compress") != (name == "qd"):
            raise self._error(f"`{how}` can't be done to {proto}:{name}", "write `tamper{DNS:qd:compress}`", at)
        if how == "replace":
            self._check_value(proto, name, value, at)
        elif how == "add" and (not packet.is_number(proto, name) or not value.lstrip("-").isdigit()):
            raise self._error(
                f"`{value}` can't be added to {proto}:{name}", "add a whole number to a numeric field", at
            )
        return Tamper(proto, name, how, value)

    def _fragment(self, parts: list[str], at: int) -> Fragment:
        if len(parts) not in (3, 4) or parts[0] not in ("tcp", "ip") or parts[2] not in ("True", "False"):
            mend = "write `fragment{tcp:8:True}`, `fragment{ip:3:False}` or `fragment{tcp:8:True:4}`"
            raise self._error("`fragment` with the wrong parts", mend, at)
        offset = self._whole(parts[1], "offset", at)
        overlap = self._whole(parts[3], "overlap", at) if len(parts) == 4 else 0
        if offset < -1 or overlap < 0 or (overlap and parts[0] == "ip"):
            raise self._error("`fragment` out of range", "the offset is -1 or more; only tcp segments overlap", at)
        return Fragment(parts[0], offset, parts[2] == "True", overlap)

    def _whole(self, text: str, what: str, at: int) -> int:
        try:
            return int(text)
        except ValueError:
            raise self._error(f"the {what} `{text}` is no whole number", "write one", at) from None

    def _check_field(self, proto: str, name: str, at: int) -> None:
        if proto not in packet.FIELDS:
            raise self._error(f"unknown protocol `{proto}`", f"known: {', '.join(packet.FIELDS)}", at)
        if name not in packet.FIELDS[proto]:
            raise self._error(f"{proto} has no field `{name}`", f"known: {', '.join(packet.FIELDS[proto])}", at)

    def _check_value(self, proto: str, name: str, value: str, at: int) -> None:
        if (why := packet.value_problem(proto, name, value)) is not None:
            raise self._error(f"`{value}` is no value of {proto}:{name}", why, at)
