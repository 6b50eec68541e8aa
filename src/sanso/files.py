"""What the roles say of files, as a server is told it; whichever engine tells."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

# What `render` knows of a file beside its path, template and content; and what `access` does.
RENDERED = {"state": "present", "owner": "root", "group": "root", "mode": "0644", "validate": ""}
ON_TRIAL = {"state": "present", "mode": "0644", "validate": "", "within": ""}


def told(
    files: dict,
    defaults: dict,
    render: Callable[[str], str],
    kept: Iterable[str] = (),
    read: Callable[[str], str] = str,
) -> list[dict]:
    """The files, a dictionary of target path to what is said of it, with all values and their contents.

    render(name) makes the text of a template below the role's templates/, read(name) has that of a file below its
    files/. kept: what may be said, but isn't told there. Raises ValueError with a message for a person.
    """
    return [_told(path, how or {}, defaults, (render, read), set(kept)) for path, how in files.items()]


def _told(path: str, how: dict, defaults: dict, sources: tuple, kept: set[str]) -> dict:
    render, read = sources
    known = {"template", "content", "copy", *defaults, *kept}
    if unknown := how.keys() - known:
        raise ValueError(f"{path} has no key {', '.join(sorted(unknown))}; known are {', '.join(sorted(known))}")
    file = {"path": path, "content": "", **{key: how.get(key, default) for key, default in defaults.items()}}
    if file["state"] not in ("present", "absent"):
        raise ValueError(f"{path} can't be {file['state']}; its state is one of present, absent")
    if not isinstance(file["mode"], str):
        raise ValueError(f"the mode of {path} wants quotes: without them YAML reads 0644 as another number")
    if file["state"] == "present":
        name = path.lstrip("/")
        if how.get("copy"):
            file["content"] = read(name)
        else:
            file["content"] = how["content"] if "content" in how else render(how.get("template", f"{name}.j2"))
    return file


def joined(paths: Iterable[str], real: Callable[[str], str] = str) -> str:
    """The texts of files on this computer, one behind the other. real(path) is where a vault's file can be read."""
    return "".join(_text(path, real) for path in paths)


def _text(path: str, real: Callable[[str], str]) -> str:
    try:
        text = Path(real(str(Path(path).expanduser()))).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error
    return text if text.endswith("\n") else f"{text}\n"
