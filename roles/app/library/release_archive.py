#!/usr/bin/python
"""Everything that a release of an app is made of, in one archive that a server without internet can install."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_archive
short_description: Put an app's code, wheels and settings together, on this computer
description:
  - The archive holds C(app/) (the source folder; in a git work tree what git tracks or would), C(lib/) (that of the
    libraries), C(wheels/), C(requirements.txt) with their hashes, C(source.json) (where it comes from), and C(files).
  - The release's id is the digest of the code, the locked dependencies, the files, and the server's Python, machine
    type and distribution. An archive that is there is kept; made anew from the same, it is the same to the byte.
options:
  name: {description: The app., type: str, required: true}
  source: {description: "Folder of the app, or a git URL.", type: str, required: true}
  version: {description: "Branch, tag or commit, for a git URL.", type: str, default: HEAD}
  dependencies:
    description:
      - "File in the source that says what the app needs: uv.lock, pyproject.toml, requirements with hashes or without."
      - Empty is the first of uv.lock, requirements.txt and pyproject.toml that is there.
    type: str
    default: ""
  root: {description: Where the path of a folder counts from., type: path, required: true}
  libraries: {description: Folders with modules that the project brings., type: list, elements: path, default: []}
  public:
    description: Folders below source that a web server may read. Those that begin with $APP_BUILD aren't in the source.
    type: list
    elements: str
    default: []
  files: {description: Further files of the release (name to content)., type: dict, default: {}}
  python_version: {description: "The server's, say 3.14.2.", type: str, required: true}
  architecture: {description: "The server's machine type, say x86_64.", type: str, required: true}
  distribution: {description: "The server's, say Ubuntu.", type: str, required: true}
  distribution_release: {description: "Its code name, say resolute.", type: str, required: true}
  build_packages:
    description: The distribution's packages with which wheels are built, where the index has none.
    type: list
    elements: str
    default: []
  catalogue: {description: "Images of local machines, as machine_images has them.", type: dict, default: {}}
  machine_directory: {description: Where these images are kept., type: path, default: /var/lib/sanso}
  cache_directory: {description: Where wheels and archives are kept., type: path, required: true}
requirements: [packaging, pip, uv]
"""

RETURN = r"""
id: {description: The release, twelve hex digits., type: str, returned: always}
path: {description: The archive., type: str, returned: always}
"""

import contextlib
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.sanso_dependencies import Builder, Dependencies, Target, alone, exactly, wheels
from ansible.module_utils.sanso_trial import Failed

# What no app needs, in a folder that git doesn't know.
LEFT_OUT = {
    ".git",
    ".hg",
    ".venv",
    "venv",
    "__pycache__",
    "node_modules",
    ".pytest_cache",
    ".ruff_cache",
    ".mypy_cache",
}
GIT_URL = re.compile(r"(https?|ssh|git|file)://|[^/]+@[^/]+:")
BUILD = "$APP_BUILD"  # the folder of a release that its `build` fills, on the server


def source_files(source):
    """The files that belong to the app, as sorted paths relative to `source`."""
    if not source.is_dir():
        raise Failed(f"its source {source} is not a folder")
    command = ["git", "-C", source, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True) if shutil.which("git") else None
    if listed and listed.returncode == 0:
        names = [PurePosixPath(name) for name in listed.stdout.split("\0") if name]
    else:
        found = (path.relative_to(source) for path in source.rglob("*"))
        names = [PurePosixPath(name) for name in found if not LEFT_OUT.intersection(name.parts)]
    for name in names:
        if (link := source / name).is_symlink():
            leads = link.readlink()
            if leads.is_absolute() or not link.resolve().is_relative_to(source.resolve()):
                raise Failed(f"{name} is a link to {leads}, which leads out of {source}")
    return sorted({name for name in names if (source / name).is_file() or (source / name).is_symlink()})


def digest_of(trees, requirements, params):
    """The release's id: of content, not of dates, so that the same release is the same on every computer."""
    digest = hashlib.sha256()

    def add(*parts):
        for part in parts:
            data = part if isinstance(part, bytes) else str(part).encode()
            digest.update(b"%d:" % len(data) + data)

    add(
        requirements,
        ".".join(params["python_version"].split(".")[:2]),
        params["architecture"],
        params["distribution"],
        params["distribution_release"],
        *sorted(params["public"]),
    )
    for prefix, folder, names in trees:
        for name in names:
            path = folder / name
            content = str(path.readlink()) if path.is_symlink() else path.read_bytes()
            add(f"{prefix}/{name}", path.is_symlink() or os.access(path, os.X_OK), content)
    for name, content in sorted(params["files"].items()):
        add(name, content)
    return digest.hexdigest()[:12]


def modes(names, public):
    """Folder or file name to mode: the app's group reads; everyone reads what is public and passes through to it."""
    public = [PurePosixPath(folder.strip("/")) for folder in public]

    def is_public(name):
        return any(folder == name or folder in name.parents for folder in public)

    folders = {parent for name in names for parent in name.parents}
    leads_there = {parent for folder in public for parent in folder.parents}
    table = {folder: 0o755 if is_public(folder) else 0o751 if folder in leads_there else 0o750 for folder in folders}
    return table | {name: 0o644 if is_public(name) else 0o640 for name in names}


def write_archive(path, trees, wheel_folder, origin, params):
    """The archive, under its final name only when it is whole; readable by its owner alone, for it holds settings."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    extra = {"requirements.txt": exactly(wheel_folder), "source.json": json.dumps(origin), **params["files"]}
    # What has no date of the source's own gets its newest one: made anew, the archive is the same.
    newest = int(max(((folder / name).lstat().st_mtime for _, folder, names in trees for name in names), default=0))
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as temporary:
        try:
            with (
                gzip.GzipFile(filename="", fileobj=temporary, mode="wb", compresslevel=1, mtime=0) as packed,
                tarfile.open(fileobj=packed, mode="w") as archive,
            ):
                for prefix, folder, names in trees:
                    table = modes(names, params["public"] if prefix == "app" else [])
                    for name in sorted(table):
                        info = archive.gettarinfo(folder / name, str(PurePosixPath(prefix, name)))
                        info.mode = table[name] | (0o110 if info.isfile() and info.mode & 0o100 else 0)
                        info.mtime = newest if info.isdir() else int(info.mtime)
                        add(archive, info, folder / name)
                for wheel in sorted(wheel_folder.glob("*.whl")):
                    info = archive.gettarinfo(wheel, f"wheels/{wheel.name}")
                    info.mode, info.mtime = 0o644, newest
                    add(archive, info, wheel)
                for name, content in extra.items():
                    info = tarfile.TarInfo(name)
                    info.size, info.mode, info.mtime = len(content.encode()), 0o640, newest
                    archive.addfile(info, io.BytesIO(content.encode()))
            Path(temporary.name).rename(path)
        except BaseException:
            Path(temporary.name).unlink()
            raise


def add(archive, info, path):
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    if info.isfile():
        with path.open("rb") as file:
            archive.addfile(info, file)
    else:
        archive.addfile(info)


def git(folder, *words):
    # In a session of its own there is no terminal that ssh could ask at: what needs an answer fails, and says why.
    command, environment = ["git", "-C", folder, *words], {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    options = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "start_new_session": True}
    return subprocess.run(command, env=environment, **options)


def checkout(url, version, folder):
    """Let `folder` hold what `url` has as `version`, and nothing else. What was fetched before is not fetched again."""
    folder.mkdir(parents=True, exist_ok=True)
    branches, tags, head = "refs/remotes/origin/", "refs/tags/", "refs/sanso/head"
    # By URL and reference, which also holds where the URL has become another; "--": neither can be taken for an option.
    fetch = ["fetch", "--quiet", "--force", "--prune", "--no-tags", "--", url, f"+HEAD:{head}"]
    fetch += [f"+refs/heads/*:{branches}*", f"+refs/tags/*:{tags}*"]
    for words in (["init", "--quiet"], fetch):
        if (done := git(folder, *words)).returncode:
            raise Failed(f"its source {url} can't be fetched; git said:\n{done.stderr.strip()}")
    names = [head] if version == "HEAD" else [branches + version, tags + version]
    if re.fullmatch("[0-9a-f]{4,64}", version):
        names.append(version)
    for name in names:
        found = git(folder, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").stdout.strip()
        if found:
            break
    else:
        raise Failed(f"its source {url} has no branch, tag or commit {version!r}")
    for words in (["checkout", "--quiet", "--force", "--detach", found], ["clean", "--quiet", "-ffdx"]):
        if (done := git(folder, *words)).returncode:
            raise Failed(f"its source {url} can't be checked out in {folder}; git said:\n{done.stderr.strip()}")


@contextlib.contextmanager
def source_of(params):
    """Where the source is, which is fetched first if it is a git repository's; no other run touches it meanwhile."""
    if not GIT_URL.match(params["source"]):
        if params["version"] != "HEAD":
            raise Failed(
                f"its source {params['source']} is a folder, which is released as it is; a version "
                f"({params['version']!r}) can be had of a git URL, as file:// and that folder is one"
            )
        yield Path(params["root"], Path(params["source"]).expanduser())
        return
    cache = Path(params["cache_directory"])
    with alone(cache, f"source-{params['name']}"):
        folder = cache / "sources" / params["name"]
        checkout(params["source"], params["version"], folder)
        yield folder


def origin_of(source, version):
    """Where it comes from, for whoever looks at a release: the last commit that touched it, where git knows it."""
    last = git(source, "log", "-1", "--format=%H%n%s", "--", ".")
    commit, _, subject = last.stdout.strip().partition("\n") if last.returncode == 0 else ("", "", "")
    if version == "HEAD":
        version = git(source, "symbolic-ref", "--quiet", "--short", "HEAD").stdout.strip() if commit else ""
    dirty = bool(commit) and bool(git(source, "status", "--porcelain", "--", ".").stdout.strip())
    return {"version": version, "commit": commit, "subject": subject, "dirty": dirty}


def check_public(public, source, names):
    for folder in public:
        if folder.split("/")[0] == BUILD:
            continue
        path = PurePosixPath(folder.strip("/"))
        if not (source / path).is_dir():
            raise Failed(f"static names the folder {folder!r}, which isn't in {source}")
        if not any(path in name.parents for name in names):
            raise Failed(f"static names the folder {folder!r}, of which nothing is in a release: git ignores it, say")


def run(arguments, checking):
    """Put the release together. `checking` makes no difference: what is written is a cache on this computer."""
    try:
        with source_of(arguments) as source:
            return {**build(source, arguments), "diff": []}
    except (Failed, OSError) as error:
        raise Failed(f"{arguments['name']}: {error}") from error


def build(source, params):
    cache, root = Path(params["cache_directory"]), Path(params["root"])
    # Where in the archive, from which folder, which files
    trees = [
        ("app", source, source_files(source)),
        *(("lib", Path(folder), source_files(Path(folder))) for folder in params["libraries"]),
    ]
    check_public(params["public"], source, trees[0][2])
    target = Target(
        params["python_version"],
        params["architecture"],
        params["distribution"].lower(),
        params["distribution_release"],
        tuple(sorted(params["build_packages"])),
    )
    builder = Builder(root / "src/sanso/builder.py", target, params["catalogue"], params["machine_directory"])
    requirements = Dependencies(source, params["dependencies"], target, cache, builder).locked()
    release = digest_of(trees, requirements, params)
    origin = origin_of(source, params["version"])
    mark = hashlib.sha256(json.dumps(origin).encode()).hexdigest()[:8]
    path = cache / "releases" / f"{params['name']}-{release}-{mark}.tar.gz"
    if not path.exists():
        write_archive(path, trees, wheels(requirements, target, cache, builder), origin, params)
        return {"id": release, "path": str(path), "changed": True}
    return {"id": release, "path": str(path), "changed": False}


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "source": {"type": "str", "required": True},
            "version": {"type": "str", "default": "HEAD"},
            "dependencies": {"type": "str", "default": ""},
            "root": {"type": "path", "required": True},
            "libraries": {"type": "list", "elements": "path", "default": []},
            "public": {"type": "list", "elements": "str", "default": []},
            "files": {"type": "dict", "default": {}},
            "python_version": {"type": "str", "required": True},
            "architecture": {"type": "str", "required": True},
            "distribution": {"type": "str", "required": True},
            "distribution_release": {"type": "str", "required": True},
            "build_packages": {"type": "list", "elements": "str", "default": []},
            "catalogue": {"type": "dict", "default": {}},
            "machine_directory": {"type": "path", "default": "/var/lib/sanso"},
            "cache_directory": {"type": "path", "required": True},
        },
        supports_check_mode=True,  # what it writes is a cache on this computer
    )
    try:
        module.exit_json(**run(module.params, module.check_mode))
    except Failed as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
