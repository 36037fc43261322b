"""Documents: every problem has its line and its mend, and all come at once."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from testbed import documents
from testbed.documents import Strict, parse_text, read_document, validate
from testbed.errors import InputError
from testbed.units import Duration, Rate


class Part(Strict):
    rate: Rate
    name: str = ""


class Whole(Strict):
    title: str
    wait: Duration = 0.0
    parts: list[Part] = []
    named: dict[str, Part] = {}


def problems(text: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        validate(parse_text(text, "f.yaml"), Whole)
    return [str(problem) for problem in caught.value.problems]


def test_a_right_document_becomes_its_model() -> None:
    whole = validate(parse_text("title: off\nparts:\n  - rate: 1 Mbit/s\n", "f.yaml"), Whole)
    assert whole.title == "off"  # YAML 1.1 would have made it False
    assert whole.parts[0].rate == 1e6


def test_all_problems_come_at_once_each_with_its_line() -> None:
    text = "titel: x\nwait: 5 parsecs\nparts:\n  - rate: 1 Mbit/s\n    nmae: y\n  - name: z\nnamed:\n  a: {rate: 7}\n"
    assert problems(text) == [
        "f.yaml:1: the key `title` is missing; add `title: …`",
        "f.yaml:1: unknown key `titel`; did you mean `title`?",
        "f.yaml:2: `wait`: 'parsecs' is not a unit of duration; write it like `205 ms`, `30 s` or `2 min`",
        "f.yaml:5: unknown key `nmae`; did you mean `name`?",
        "f.yaml:6: the key `rate` is missing; add `rate: …`",
        "f.yaml:8: `rate`: 7 has no unit; write it like `0.5 Mbit/s` or `40 kbit/s`",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\na: 2\n", "f.yaml:2: the key `a` stands twice; keep one of them"),
        ("a: [1\n", "f.yaml:2: not YAML"),
        ("- a\n", "f.yaml:1: not a mapping"),
        ("", "f.yaml:1: the file is empty; start with `key: value` lines"),
        ("a: &a [*a]\n", "f.yaml:1: too many parts, or anchors that hold each other"),
        ("a: " + "[" * 3000 + "]" * 3000, "f.yaml:1: nested too deeply"),
        ("a: " + "[" * 200 + "]" * 200, "f.yaml:1: too many parts"),
        ("a: " + "9" * 5000 + "\n", "f.yaml:1: not YAML: Exceeds the limit"),
        ("a:\n\tb: 1\n", "f.yaml:2: not YAML: found character '\\t' that cannot start any token; indent with spaces"),
        (
            "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9) if i else 'x'}]\n" for i in range(9)),
            "f.yaml:1: too many",
        ),
        ("a: !!python/name:os.system x\n", "f.yaml:1: not YAML"),
    ],
)
def test_what_is_not_a_document_is_refused(text: str, expected: str) -> None:
    assert problems(text)[0].startswith(expected)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (bytes(range(256)), "f.yaml:2: not UTF-8: the byte 0x80; save the file as UTF-8 text"),
        (b"a: \xe9\n", "f.yaml:1: not UTF-8: the byte 0xe9; save the file as UTF-8 text"),
        (b" " * ((16 << 20) + 1), "f.yaml:1: larger than 16 MiB; give a YAML file"),
        (b"\x7fELF\x00\x01", "f.yaml:1: not YAML: the character #x007f is not allowed; write plain text in UTF-8"),
    ],
)
def test_what_is_not_text_is_refused(
    content: bytes, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("f.yaml").write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_document("f.yaml")
    assert str(caught.value) == expected


def test_a_folder_and_an_unreadable_name_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1: can't be read: Is a directory; give a readable YAML file"):
        read_document(tmp_path)
    with pytest.raises(InputError, match="can't be read"):
        read_document("a\0b.yaml")


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_bytes(b"\xef\xbb\xbftitle: x\r\nwait: 5 s\r\n")
    assert validate(read_document(tmp_path / "f.yaml"), Whole).wait == 5


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_document(tmp_path / "none.yaml")


@given(st.text(max_size=200))
def test_no_text_escapes_as_another_error(text: str) -> None:
    try:
        parse_text(text, "f.yaml")
    except InputError as error:
        assert error.problems


ROOT = Path(__file__).parents[1]
FOLDERS = ("policies", "scenarios", "recipes", "matrices")
SHIPPED = sorted(path.relative_to(ROOT) for name in FOLDERS for path in (ROOT / name).rglob("*.yaml"))
PARTS = ("a", "- ", ": ", "\n", "  ", "{", "}", "[", "]", ",", "'", '"', "#", "&x", "*x", "|", "é")


@pytest.mark.parametrize("path", SHIPPED, ids=str)
def test_both_parsers_read_what_ships_alike(path: Path) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    assert documents._read(documents._FastLoader(text), "f") == documents._read(documents._Loader(text), "f")


@given(
    st.lists(
        st.sampled_from(["a", "- ", ": ", "\n", "  ", "{", "}", "[", "]", ",", "'", '"', "#", "&x", "*x", "|", "é"])
    )
)
def test_what_both_parsers_accept_is_read_alike(parts: list[str]) -> None:
    found = []
    for loader in (documents._FastLoader, documents._Loader):
        with contextlib.suppress(yaml.YAMLError, ValueError, InputError):
            found.append(documents._read(loader("".join(parts)), "f"))
    assert found[:1] * len(found) == found
