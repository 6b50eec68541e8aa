"""Pages that stand alone: a template filled with text that nobody trusts, and a policy that lets nothing in."""

from __future__ import annotations

import base64
import functools
import hashlib
import unicodedata
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

SHARED = Path(__file__).parent  # page.css, which pages include


@functools.cache
def template(path: Path, **filters) -> Template:
    """The template of a page: all that it prints is escaped, and `csp_hash` among its filters."""
    environment = Environment(
        loader=FileSystemLoader([path.parent, SHARED]),
        autoescape=True,
        finalize=visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"csp_hash": csp_hash, **filters}
    return environment.get_template(path.name)


def csp_hash(text: str) -> str:
    """What a Content-Security-Policy calls a script or a style of this text."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def visible(value):
    """What a template prints: characters that can't be seen, or that turn the line around them, become escapes."""
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "".join(map(_visible, value))


def _visible(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
        return character
    if "\udc80" <= character <= "\udcff":  # a byte that was not UTF-8, as surrogateescape keeps it
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode()
