"""Recipes: those that ship are right; what is wrong with one is said with its line and its mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed import shipped
from testbed.errors import InputError
from testbed.tools.recipe import load_recipe
from testbed.tools.render import Place, render

PLACE = Place("/w", "198.18.0.30", "100.64.1.1", "/w/cert", "/w/key", "/w/ca", "python3", 1)


@pytest.mark.parametrize("name", shipped.names("recipes"))
def test_shipped_recipes_are_right_and_can_be_filled_in(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.recipe == name
    rendered = render(recipe, PLACE, {})
    for text in rendered.files.values():
        assert "{{" not in text
    assert recipe.title


def problems(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "r.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_recipe(path)
    return [str(problem).replace(f"{path}", "r.yaml") for problem in caught.value.problems]


HEAD = "recipe: r\ntitle: T\n"
WRONG = {
    "use: {proxi: x}": "r.yaml:3: unknown key `proxi`; did you mean `proxy`?",
    "use: {proxy: 'socks5://127.0.0.1:{{ sock }}'}\noptions: {socks: 1}":
        "r.yaml:3: unknown variable `sock`; did you mean `socks`?",
    "use: {proxy: 'socks5://x', dns: 127.0.0.1}": "r.yaml:3: apps can't use it in 2 ways at once; keep one of",
    "use: {proxy: 'ss://x'}": "r.yaml:3: `ss://x` is no proxy that apps know; write `socks5://127.0.0.1:1080`",
    "use: {command: [curl, 'https://a.example/']}": "r.yaml:3: the command fetches nothing; put `{{ url }}` into it",
    "use: {}\nfiles: {a: '{{ cert }}'}": "r.yaml:4: `cert` needs the names of a certificate; add",
    "use: {}\nfiles: {a: '{{ oops'}": "r.yaml:4: not a template:",
    "use: {}\nfiles: {../a: x}": "r.yaml:4:",
    "use: {}\nserver: [{name: s, argv: [ss-server]}]":
        "r.yaml:4: the program `ss-server` is not among those it needs; add it to `needs: programs: {ss-server: …}`",
    "use: {}\nserver: [{name: s, argv: [sh]}]\nclient: [{name: s, argv: [sh]}]":
        "r.yaml:5: two programs are named `s`; give each program its own",
    "use: {}\nneeds: {programs: {x: 'go: example.org/x'}}": "r.yaml:4: `x`: no pinned Go module; write",
    "use: {}\nneeds: {programs: {x: 'pip: x'}}": "r.yaml:4: `x`: no pinned package; write `pip: name==1.2`",
    "use: {}\nneeds: {programs: {x: 'cargo: x'}}": "r.yaml:4: `x`: no pinned crate; write `cargo: name@1.2.3`",
    "use: {}\nneeds: {programs: {x: somehow}}": "r.yaml:4: `x`: no way to get it",
    "use: {}\nserver: [{name: s, argv: [sh], ready: {listens: 1080}}]": "r.yaml:4:",
    "use: {}\nserver: [{name: s, argv: [sh], ready: {listens: tcp/99999}}]": "r.yaml:4: `listens`: 'tcp/99999' is not",
    "use: {}\nserver: [{name: s, argv: [sh], ready: {says: '['}}]": "r.yaml:4: `says`: not a regular expression",
    "use: {}\nserver: [{name: s, argv: [sh], once: true, ready: {listens: tcp/1}}]":
        "r.yaml:4: a program that ends can't be listened to; drop `once` or `ready`",
    "use: {}\noptions: {server: x}": "r.yaml:4: the option `server` hides a variable; rename it",
    "use: {}\noptions: {key: x}\nclient: [{name: s, argv: [sh, '{{ key }}']}]":
        "r.yaml:4: the option `key` hides a variable; rename it",
    "use: {}\nextends: r.yaml": "r.yaml:4: `r.yaml` extends itself; break the circle",
    "use: {}\ndefeats: [magic]": "r.yaml:4: `defeats`: `magic` is not a word it knows; write 'dns', 'http',",
    "use: {}\nneeds: {features: [TUNN]}": "r.yaml:4: no feature `TUNN`; did you mean `TUN`?",
    "use: {}\nextends: sshh": "r.yaml:4: `sshh`: no such recipe; did you mean `ssh`?",
    "use: {}\nextends: no.yaml": "r.yaml:4: `no.yaml`: no such file; check the name",
    "use: {}\nextends: [ssh]": "r.yaml:4: `extends`: not text",
    "extends: ssh\noptions:": "r.yaml:4: `options`: not a mapping; write `key: value` lines",
    "extends: ssh\noptions: [a]": "r.yaml:4: `options`: not a mapping; write `key: value` lines",
    "use: {proxy: 'socks5://127.0.0.1'}": "r.yaml:3: `socks5://127.0.0.1` says no port; write",
    "use: {proxy: 'http://127.0.0.1:{{ p }}'}\noptions: {p: x}": "r.yaml:3: `http://127.0.0.1:x` says no port; write",
    "use: {dns: resolver}": "r.yaml:3: `resolver` is no IP address; write one, as `127.0.0.1`",
    "use: {}\noptions: {p: x}\nserver: [{name: s, argv: [sh], ready: {listens: 'tcp/{{ p }}'}}]":
        "r.yaml:5: 'tcp/x' is not a place to listen; write `tcp/1080`",
    "use: {}\nfiles: {a: \"{{ x25519('k').pub }}\"}":
        "r.yaml:4: can't be filled in: 'KeyPair object' has no attribute 'pub'; write x25519(name): a key pair",
    "use: {}\nfiles: {a: '{{ secret }}'}": "r.yaml:4: can't be filled in: it gives a function and no text; write",
    "use: {}\nfiles: {a: '{{ uuid() }}'}": "r.yaml:4: can't be filled in: uuid() missing 1 required",
    "use: {}\noptions: {p: 1}\nfiles: {a: \"{{ p + 'x' }}\"}": "r.yaml:5: can't be filled in: unsupported operand",
    "client: []": "r.yaml:1: the key `use` is missing; add `use: …`",
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), WRONG.items())
def test_what_is_wrong_has_its_line_and_its_mend(tmp_path: Path, text: str, message: str) -> None:
    assert any(found.startswith(message) for found in problems(tmp_path, HEAD + text)), problems(tmp_path, HEAD + text)


def test_all_problems_at_once(tmp_path: Path) -> None:
    text = HEAD + "files: {a: '{{ one }}', b: '{{ two }}'}\nserver: [{name: s, argv: [nope]}]\nuse: {}\n"
    assert len(problems(tmp_path, text)) == 3


def test_an_unknown_name_is_mended() -> None:
    with pytest.raises(InputError, match="no such recipe; did you mean `direct`"):
        load_recipe("dirct")


def test_extends_takes_over_what_is_not_said_again(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        HEAD + "options: {port: 1, name: a}\nuse: {proxy: 'http://127.0.0.1:{{ port }}'}\n"
    )
    (tmp_path / "more.yaml").write_text("recipe: more\nextends: base.yaml\noptions: {port: 2}\n")
    recipe = load_recipe(tmp_path / "more.yaml")
    assert (recipe.title, dict(recipe.options)) == ("T", {"port": 2, "name": "a"})
    assert render(recipe, PLACE, {}).proxy == "http://127.0.0.1:2"


def test_secrets_come_from_the_seed(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        HEAD + 'files: {k: \'{{ secret("a") }} {{ uuid("a") }} {{ x25519("a").public|urlsafe }}\'}\nuse: {}\n'
    )
    recipe = load_recipe(path)
    first, again = (render(recipe, PLACE, {}).files["k"] for _ in range(2))
    other = render(recipe, Place("/w", "s", "c", "", "", "", "python3", 2), {}).files["k"]
    assert first == again != other
    assert [len(word) for word in first.split()] == [32, 36, 43]


@pytest.mark.parametrize("name", ["a/b", "../x", "", "-x"])
def test_a_name_that_can_be_no_file_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(f"recipe: '{name}'\ntitle: T\nuse: {{}}\n")
    with pytest.raises(InputError, match=r"r\.yaml:1: `recipe`: .* can't be a name"):
        load_recipe(path)


def test_what_is_wrong_in_what_it_extends_is_told_there(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("recipe: b\ntitle: T\n\nfiles: {a: '{{ oops }}'}\nuse: {}\n")
    (tmp_path / "r.yaml").write_text("recipe: r\nextends: base.yaml\n")
    with pytest.raises(InputError, match=r"base\.yaml:4: unknown variable `oops`"):
        load_recipe(tmp_path / "r.yaml")


def test_the_functions_are_called_as_the_list_of_variables_says(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(HEAD + "files: {a: \"{{ secret('k', bytes=4) }} {{ base64('k', bytes=3) }}\"}\nuse: {}\n")
    assert [len(word) for word in render(load_recipe(path), PLACE, {}).files["a"].split()] == [8, 4]


def test_an_option_that_is_a_number_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(HEAD + "options: {port: 1000}\nfiles: {a: '{{ port + 1 }}'}\nuse: {}\n")
    recipe = load_recipe(path)
    assert render(recipe, PLACE, {"port": "2000"}).files["a"] == "2001"
    with pytest.raises(InputError, match="the option `port` is a whole number; write digits, as 1000"):
        render(recipe, PLACE, {"port": "x"})
    with pytest.raises(InputError, match="no option `prot`; did you mean `port`"):
        render(recipe, PLACE, {"prot": "1"})
