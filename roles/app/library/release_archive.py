#!/usr/bin/python
"""Everything that a release of an app is made of, in one archive that a server without internet can install."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_archive
short_description: Put an app's code, wheels and settings together, on this computer
description:
  - The archive holds C(app/) (the source folder; in a git work tree what git tracks or would), C(lib/) (that of the
    libraries), C(requirements.txt) with what the server's Python needs of it, C(wheels/), and C(files).
  - The release's id is the digest of all that, the server's Python and machine type. An archive that is there is kept.
options:
  name: {description: The app., type: str, required: true}
  source:
    description: Folder of the app, or a git URL; requirements.txt with hashes lies in it.
    type: str
    required: true
  version: {description: "Branch, tag or commit, for a git URL.", type: str, default: HEAD}
  root: {description: Where the path of a folder counts from., type: path, required: true}
  libraries: {description: Folders with modules that the project brings., type: list, elements: path, default: []}
  public: {description: Folders below source that a web server may read., type: list, elements: str, default: []}
  files: {description: Further files of the release (name to content)., type: dict, default: {}}
  python_version: {description: "The server's, say 3.14.2.", type: str, required: true}
  architecture: {description: "The server's machine type, say x86_64.", type: str, required: true}
  cache_directory: {description: Where wheels and archives are kept., type: path, required: true}
requirements: [packaging, pip]
"""

RETURN = r"""
id: {description: The release, twelve hex digits., type: str, returned: always}
path: {description: The archive., type: str, returned: always}
"""

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path, PurePosixPath

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.sanso_trial import Failed
from packaging.requirements import InvalidRequirement, Requirement

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
NEWEST_GLIBC = 39  # 2.39, of Ubuntu 24.04, the oldest target


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
    return sorted({name for name in names if (source / name).is_file()})


def logical_lines(text):
    """A requirements file's lines, without comments, with continued ones joined."""
    for line in re.sub(r"\\\n", " ", text).splitlines():
        line = re.sub(r"(^|\s)#.*$", "", line).strip()
        if line:
            yield line


def requirements_for(text, python_version, architecture):
    """The requirements that hold on the server, without their markers.

    pip evaluates markers for the Python it runs on, which here isn't the server's.
    """
    environment = {
        "implementation_name": "cpython",
        "implementation_version": python_version,
        "os_name": "posix",
        "platform_machine": architecture,
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": python_version,
        "python_version": ".".join(python_version.split(".")[:2]),
        "sys_platform": "linux",
    }
    kept = []
    for line in logical_lines(text):
        specifier, *options = re.split(r"\s(?=--)", line, maxsplit=1)
        if specifier.startswith("-"):
            raise Failed(f"requirements.txt: {specifier!r} is an option; a locked file holds requirements only")
        try:
            requirement = Requirement(specifier)
        except InvalidRequirement as error:
            raise Failed(f"requirements.txt: {specifier!r}: {error}") from error
        if requirement.marker is None or requirement.marker.evaluate(environment):
            requirement.marker = None
            kept.append(" ".join([str(requirement), *options]))
    return "\n".join(kept) + "\n"


def wheels(requirements, python_version, architecture, cache):
    """The folder with the wheels of `requirements`, collected from the index that pip is set up for here."""
    digest = hashlib.sha256(f"{python_version} {architecture}\n{requirements}".encode()).hexdigest()[:16]
    folder = cache / "wheels" / digest
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    short = "".join(python_version.split(".")[:2])
    platforms = [f"manylinux_2_{minor}_{architecture}" for minor in range(NEWEST_GLIBC, 4, -1)]
    platforms += [f"manylinux2014_{architecture}", f"linux_{architecture}"]
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        locked, collected = Path(scratch, "requirements.txt"), Path(scratch, "wheels")
        locked.write_text(requirements)
        collected.mkdir()
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--require-hashes", "--only-binary=:all:", f"--python-version={short}", "--implementation=cp"]
        command += [f"--abi={abi}" for abi in (f"cp{short}", "abi3", "none")]
        command += [f"--platform={platform}" for platform in platforms]
        command += [f"--dest={collected}", f"--requirement={locked}"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"its wheels for Python {python_version} can't be collected; pip said:\n{done.stderr.strip()}")
        collected.chmod(0o755)
        collected.rename(folder)
    return folder


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
        *sorted(params["public"]),
    )
    for prefix, folder, names in trees:
        for name in names:
            add(f"{prefix}/{name}", os.access(folder / name, os.X_OK), (folder / name).read_bytes())
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


def write_archive(path, trees, wheel_folder, requirements, params):
    """The archive, under its final name only when it is whole; readable by its owner alone, for it holds settings."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    extra = {"requirements.txt": requirements, **params["files"]}
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as temporary:
        try:
            with tarfile.open(fileobj=temporary, mode="w:gz", compresslevel=1) as archive:
                for prefix, folder, names in trees:
                    table = modes(names, params["public"] if prefix == "app" else [])
                    for name in sorted(table):
                        info = archive.gettarinfo(folder / name, str(PurePosixPath(prefix, name)))
                        info.mode = table[name] | (0o110 if info.isfile() and info.mode & 0o100 else 0)
                        add(archive, info, folder / name)
                for wheel in sorted(wheel_folder.iterdir()):
                    add(archive, archive.gettarinfo(wheel, f"wheels/{wheel.name}"), wheel)
                for name, content in extra.items():
                    info = tarfile.TarInfo(name)
                    info.size, info.mode, info.mtime = len(content.encode()), 0o640, time.time()
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


def folder_of(params):
    """Where the source is, which is fetched first if it is a git repository's."""
    if not GIT_URL.match(params["source"]):
        return Path(params["root"], Path(params["source"]).expanduser())
    folder = Path(params["cache_directory"], "sources", params["name"])
    checkout(params["source"], params["version"], folder)
    return folder


def run(arguments, checking):
    """Put the release together. `checking` makes no difference: what is written is a cache on this computer."""
    try:
        return {**build(arguments), "diff": []}
    except (Failed, OSError) as error:
        raise Failed(f"{arguments['name']}: {error}") from error


def build(params):
    source, cache = folder_of(params), Path(params["cache_directory"])
    # Where in the archive, from which folder, which files
    trees = [
        ("app", source, source_files(source)),
        *(("lib", Path(folder), source_files(Path(folder))) for folder in params["libraries"]),
    ]
    locked = source / "requirements.txt"
    if not locked.is_file():
        raise Failed(
            f"{locked} is missing: it locks the dependencies, with hashes "
            "(uv export --no-emit-project -o requirements.txt makes one)"
        )
    for folder in params["public"]:
        if not (source / folder.strip("/")).is_dir():
            raise Failed(f"static names the folder {folder!r}, which isn't in {source}")
    requirements = requirements_for(locked.read_text(), params["python_version"], params["architecture"])
    release = digest_of(trees, requirements, params)
    path = cache / "releases" / f"{params['name']}-{release}.tar.gz"
    if not path.exists():
        collected = wheels(requirements, params["python_version"], params["architecture"], cache)
        write_archive(path, trees, collected, requirements, params)
        return {"id": release, "path": str(path), "changed": True}
    return {"id": release, "path": str(path), "changed": False}


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "source": {"type": "str", "required": True},
            "version": {"type": "str", "default": "HEAD"},
            "root": {"type": "path", "required": True},
            "libraries": {"type": "list", "elements": "path", "default": []},
            "public": {"type": "list", "elements": "str", "default": []},
            "files": {"type": "dict", "default": {}},
            "python_version": {"type": "str", "required": True},
            "architecture": {"type": "str", "required": True},
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
