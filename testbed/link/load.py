"""Links by name or file."""

from __future__ import annotations

import difflib
from pathlib import Path

from testbed import shipped
from testbed.documents import read_document, validate
from testbed.errors import InputError, Problem
from testbed.link.spec import LinkSpec


def load_link(reference: str | Path) -> LinkSpec | None:
    """Load a link by shipped name or path, None for `none`; `InputError` names what is wrong."""
    if reference == "none":
        return None
    path = shipped.find(reference, "scenarios/links")
    if not path.exists() and path.parent == shipped.folder("scenarios/links"):
        known = ["none", *shipped.names("scenarios/links")]
        near = difflib.get_close_matches(str(reference), known, 1)
        mend = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(known)}"
        raise InputError([Problem(str(reference), "no such link", mend)])
    return validate(read_document(path), LinkSpec)
