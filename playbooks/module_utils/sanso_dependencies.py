"""What an app needs from Python's index: locked with hashes, however it was written down, and collected as wheels.

Nothing of a package's own code runs on this computer. What has no wheel for the server is built, or asked what it
needs, in a throwaway copy of the server's image: src/sanso/builder.py.
"""

from __future__ import annotations

import ast
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.sanso_trial import Failed
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name, parse_wheel_filename

FILES = ("uv.lock", "requirements.txt", "pyproject.toml")
INDEX_OPTIONS = ("--index-url", "-i", "--extra-index-url", "--find-links", "-f")
NEWEST_GLIBC = 39  # 2.39, of Ubuntu 24.04, the oldest target
LOCAL = re.compile(r"(-e|--editable)[\s=]|\.{0,2}/|\.$|file:")
NO_WHEEL = re.compile(r"No matching distribution found for ([A-Za-z0-9][A-Za-z0-9._-]*?)(?=[=<>~!\[ ;@]|$)", re.M)
NOT_BUILT = "building from source is disabled"  # uv's hint
UV_COMPILE = ("pip", "compile", "--quiet", "--generate-hashes", "--no-header", "--no-annotate")


@dataclass(frozen=True)
class Target:
    """The server that it is for. packages: those of its distribution with which wheels are built."""

    python_version: str
    architecture: str
    distribution: str = ""
    release: str = ""
    packages: tuple[str, ...] = ()

    @property
    def python(self):
        return ".".join(self.python_version.split(".")[:2])

    def digest(self, *parts):
        own = (self.python, self.architecture, self.distribution, self.release, *self.packages)
        return hashlib.sha256(json.dumps([own, parts]).encode()).hexdigest()[:16]


@contextlib.contextmanager
def alone(cache, name, seconds=900):
    """Be the only run that makes `name` in the cache; wait for the one that does."""
    path = cache / "locks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    file.seek(0)
                    who = file.read().strip() or "?"
                    raise Failed(f"process {who} has held {path} for {seconds} s; end it, then try again") from None
                time.sleep(0.1)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def write_whole(path, text):
    """A file is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        file.write(text)
    Path(file.name).replace(path)


# What is written down


def logical_lines(text):
    """A requirements file's lines, without comments, with continued ones joined."""
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        line = re.sub(r"(^|\s)#.*$", "", line).strip()
        if line:
            yield line


def written(file, source, above=()):
    """Lines of a requirements file and of those that it names: ([requirement], [option of the index], [constraint])."""
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Failed(f"{name_of(file, source)} can't be read: {error}") from None
    requirements, options, constraints = [], [], []
    for line in logical_lines(text):
        word, _, rest = re.sub(
            r"^(-[rcif])(?=\S)", r"\1 ", line.replace("=", " ", 1) if line[:2] == "--" else line
        ).partition(" ")
        if word in ("-r", "--requirement", "-c", "--constraint"):
            other = (file.parent / rest.strip()).resolve()
            if not other.is_relative_to(source.resolve()) or not other.is_file():
                raise Failed(f"{name_of(file, source)}: {line!r} names no file in {source}")
            if other in above:
                raise Failed(f"{name_of(file, source)}: {line!r} leads in a circle")
            found = written(other, source, (*above, file.resolve()))
            if word in ("-r", "--requirement"):
                requirements += found[0]
                constraints += found[2]
            else:
                constraints += found[0] + found[2]
            options += found[1]
        elif word in INDEX_OPTIONS:
            options.append(line)
        elif LOCAL.match(line):
            raise Failed(
                f"{name_of(file, source)}: {line!r} is a folder on this computer, which the server doesn't have. The "
                "app's own folder and its src/ are on Python's path without it"
            )
        elif line.startswith("-"):
            raise Failed(
                f"{name_of(file, source)}: {line!r} is an option; beside requirements, -r, -c, --index-url, "
                "--extra-index-url and --find-links are understood"
            )
        else:
            requirements.append(line)
    return requirements, options, constraints


def name_of(file, source):
    return file.relative_to(source) if file.is_relative_to(source) else file


def requirements_for(text, target, name="requirements.txt"):
    """The requirements that hold on the server, without their markers, after the options of the index.

    pip evaluates markers for the Python it runs on, which here isn't the server's.
    """
    environment = {
        "implementation_name": "cpython",
        "implementation_version": target.python_version,
        "os_name": "posix",
        "platform_machine": target.architecture,
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": target.python_version,
        "python_version": target.python,
        "sys_platform": "linux",
        "extra": "",
    }
    options, kept = [], []
    for line in logical_lines(text):
        if line.startswith(INDEX_OPTIONS):
            options.append(line)
            continue
        if LOCAL.match(line):
            raise Failed(
                f"{name}: {line!r} is a folder on this computer, which the server doesn't have; publish that package, "
                "or move its modules into the app's folder or its src/"
            )
        specifier, *hashes = re.split(r"\s+(?=--)", line, maxsplit=1)
        if specifier.startswith("-"):
            raise Failed(f"{name}: {specifier!r} is an option; a locked file holds requirements only")
        try:
            requirement = Requirement(specifier)
        except InvalidRequirement as error:
            raise Failed(f"{name}: {specifier!r}: {error}") from error
        if requirement.marker is None or requirement.marker.evaluate(environment):
            if requirement.url and requirement.url.startswith(("git+", "hg+", "svn+", "bzr+", "file:")):
                raise Failed(
                    f"{name}: {requirement.name} comes from {requirement.url}, of which there is no hash; take it from "
                    "an index, or name an archive by its https:// URL"
                )
            requirement.marker = None
            kept.append(" ".join([str(requirement), *hashes]))
    return "\n".join([*dict.fromkeys(options), *kept]) + "\n"


# From there to a lock


class Dependencies:
    """What the app in `source` needs. named: the file that says so; empty is the first of FILES that is there."""

    def __init__(self, source, named, target, cache, builder):
        self.source, self.target, self.cache, self.builder = source, target, cache, builder
        self.file = self.find(named)
        self.name = str(self.file.relative_to(source))

    def find(self, named):
        if named:
            file = self.source / named
            if not file.resolve().is_relative_to(self.source.resolve()) or not file.is_file():
                raise Failed(f"dependencies: {named} is no file in {self.source}")
            return file
        for name in FILES:
            if (self.source / name).is_file():
                return self.source / name
        raise Failed(
            f"{self.source} has none of {', '.join(FILES)}: one of them says which packages the app needs (where it "
            "needs none: an empty requirements.txt), or `dependencies` names another file"
        )

    def locked(self):
        """Requirements with hashes, those of the server alone."""
        if self.file.name == "uv.lock":
            text = self.exported()
        elif self.file.suffix == ".toml":
            project = self.project(self.file)
            if not project.get("dependencies"):
                return "\n"
            text = self.compiled(self.file.read_text(), "pyproject.toml")
        else:
            requirements, options, constraints = written(self.file, self.source)
            hashed = [line for line in requirements if "--hash" in line]
            if hashed and len(hashed) < len(requirements):
                bare = next(line for line in requirements if "--hash" not in line)
                raise Failed(
                    f"{self.name}: {bare!r} has no hash while others have one; with all of them, it is taken as it "
                    "is, with none, it is locked here"
                )
            if hashed or not requirements:
                text = "\n".join([*options, *requirements])
            else:
                text = self.compiled("\n".join([*options, *requirements]) + "\n", "requirements.in", constraints)
        locked = requirements_for(text, self.target, self.name)
        for line in locked.splitlines():
            if line and not line.startswith("-") and "--hash" not in line:
                raise Failed(f"{self.name}: {line} has no hash, so nobody could tell whether it is what was locked")
        return locked

    def project(self, file):
        """The table [project], if it fits."""
        try:
            described = tomllib.loads(file.read_text())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise Failed(f"{self.name}: {error}") from None
        project = described.get("project")
        if project is None:
            raise Failed(
                f"{self.name} has no table [project], which says what the app needs; let its tool write a "
                "requirements.txt with hashes, and name that in `dependencies`"
            )
        if "dependencies" in project.get("dynamic", []):
            raise Failed(
                f"{self.name} says that its dependencies are dynamic; name the file where they stand in `dependencies`"
            )
        self.check_python(project)
        return project

    def check_python(self, project):
        wanted = project.get("requires-python", "")
        try:
            fits = SpecifierSet(wanted).contains(self.target.python_version, prereleases=True)
        except InvalidSpecifier as error:
            raise Failed(f"{self.name}: requires-python: {error}") from None
        if not fits:
            raise Failed(f"it wants Python {wanted}, and the server has {self.target.python_version}")

    def exported(self):
        """What uv.lock says, where it still says what pyproject.toml wants."""
        folder = self.file.parent
        if not (folder / "pyproject.toml").is_file():
            raise Failed(f"{self.name} has no pyproject.toml beside it")
        described = tomllib.loads((folder / "pyproject.toml").read_text())
        self.check_python(described.get("project", {}))
        own = {"index", "index-url", "extra-index-url", "find-links"} & described.get("tool", {}).get("uv", {}).keys()
        words = ["export", "--quiet", "--no-emit-project", "--no-default-groups", "--no-header", "--no-annotate"]
        words += ["--format=requirements.txt", f"--directory={folder}", f"--python={sys.executable}"]
        words += ["--emit-index-url", "--emit-find-links"] * bool(own)
        done = uv(*words, "--locked")
        if done.returncode and "needs to be updated" in done.stderr:
            raise Failed(f"{self.name} doesn't say any more what pyproject.toml wants; run: uv lock")
        if done.returncode:  # this computer's Python may not be one that the project takes: then as it is
            done = uv(*words, "--frozen")
        if done.returncode:
            raise Failed(f"{self.name} can't be read; uv said:\n{done.stderr.strip()}")
        return done.stdout

    def compiled(self, text, name, constraints=()):
        """Locked once: what is there is taken again as long as what was asked is the same."""
        constraints = "\n".join(constraints) + "\n" if constraints else ""
        digest = self.target.digest(text, constraints)
        path = self.cache / "locked" / f"{digest}.txt"
        with alone(self.cache, f"locked-{digest}"):
            if not path.is_file():
                write_whole(path, self.compile({name: text, "constraints.txt": constraints}, name))
        return path.read_text()

    def compile(self, files, name):
        with tempfile.TemporaryDirectory() as scratch:
            for each, text in files.items():
                Path(scratch, each).write_text(text)
            words = [*UV_COMPILE, f"--python-version={self.target.python_version}", "--constraints=constraints.txt"]
            words += [f"--python-platform={self.target.architecture}-manylinux_2_{NEWEST_GLIBC}"]
            if any(line.startswith(INDEX_OPTIONS) for line in files[name].splitlines()):
                words += ["--emit-index-url", "--emit-find-links"]
            done = uv(*words, "--no-build", f"--python={sys.executable}", name, cwd=scratch)
            if done.returncode and NOT_BUILT in done.stderr:
                # Some package says what it needs only when it is built.
                (Path(scratch) / "out").mkdir()
                self.builder.lock(Path(scratch, "out"), files, [*words, "--python=python3", name])
                return Path(scratch, "out/locked.txt").read_text()
        if done.returncode:
            raise Failed(
                f"{self.name} can't be locked for Python {self.target.python_version}; uv said:\n{done.stderr.strip()}"
            )
        return done.stdout


def index_settings():
    """What pip is told here of an index, by its options' names."""
    command = [sys.executable, "-m", "pip", "config", "--disable-pip-version-check", "list"]
    listed = subprocess.run(command, capture_output=True, text=True)
    found = {}
    for line in listed.stdout.splitlines():
        key, _, value = line.partition("=")
        section, _, option = key.rpartition(".")  # an environment variable comes last, and wins
        if section in ("global", "download", ":env:"):
            found[option] = str(ast.literal_eval(value))
    kept = ("index-url", "extra-index-url", "find-links", "no-index", "cert", "trusted-host", "proxy", "timeout")
    return {option: found[option] for option in kept if option in found}


def uv_environment(settings):
    """uv asks the same index as pip, unless it is told another one."""
    names = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "find-links": "UV_FIND_LINKS"}
    given = {names[option]: value for option, value in settings.items() if option in names}
    given = {name: value for name, value in given.items() if name not in os.environ}
    if "UV_FIND_LINKS" in given:
        given["UV_FIND_LINKS"] = ",".join(given["UV_FIND_LINKS"].split())
    if "UV_INDEX" in given:
        # It gives up at a folder that isn't there, where pip goes on.
        urls = given["UV_INDEX"].split()
        given["UV_INDEX"] = " ".join(url for url in urls if url[:7] != "file://" or Path(url[7:]).is_dir())
    if "cert" in settings:
        given["SSL_CERT_FILE"] = settings["cert"]
    ours = {"UV_PYTHON_DOWNLOADS": "never", "UV_SYSTEM_CERTS": "true", "UV_INDEX_STRATEGY": "unsafe-best-match"}
    return {**ours, **given}


def uv_program():
    try:
        from uv import find_uv_bin  # it is one program, in a package of Python's

        return find_uv_bin()
    except (ImportError, FileNotFoundError):
        if found := shutil.which("uv"):
            return found
        raise Failed("uv isn't installed here, which locks dependencies; ./sanso installs it") from None


def uv(*words, cwd=None):
    environment = {**os.environ, **uv_environment(index_settings())}
    environment.pop("VIRTUAL_ENV", None)
    return subprocess.run([uv_program(), *words], cwd=cwd, env=environment, capture_output=True, text=True)


# From a lock to wheels


def wheels(requirements, target, cache, builder):
    """The folder with the wheels of `requirements`, collected from the index that pip is set up for here."""
    digest = target.digest(requirements)
    folder = cache / "wheels" / digest
    with alone(cache, f"wheels-{digest}"):
        if folder.is_dir():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            collected = Path(scratch, "wheels")
            collected.mkdir()
            if missing := download(requirements, target, collected):
                for wheel in built(missing, requirements, target, cache, builder):
                    shutil.copy(wheel, collected)
            collected.chmod(0o755)
            collected.rename(folder)
    return folder


def download(requirements, target, folder):
    """Collect wheels. Returns the requirements that have none for the server."""
    short = target.python.replace(".", "")
    platforms = [f"manylinux_2_{minor}_{target.architecture}" for minor in range(NEWEST_GLIBC, 4, -1)]
    platforms += [f"manylinux2014_{target.architecture}", f"linux_{target.architecture}"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--require-hashes", "--only-binary=:all:", f"--python-version={short}", "--implementation=cp"]
    command += [f"--abi={abi}" for abi in (f"cp{short}", "abi3", "none")]
    command += [f"--platform={platform}" for platform in platforms]
    wanted, missing = requirements.splitlines(), []
    while True:
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("\n".join(wanted) + "\n")
            file.flush()
            words = [*command, f"--dest={folder}", f"--requirement={file.name}"]
            done = subprocess.run(words, capture_output=True, text=True)
        if not done.returncode:
            return missing
        named = {canonicalize_name(name) for name in NO_WHEEL.findall(done.stderr)}
        lacking = [line for line in wanted if not line.startswith("-") and named_in(line) in named]
        if not lacking:
            raise Failed(
                f"its wheels for Python {target.python_version} can't be collected; pip said:\n{done.stderr.strip()}"
            )
        missing += lacking
        wanted = [line for line in wanted if line not in lacking]


def named_in(line):
    return canonicalize_name(re.match(r"[A-Za-z0-9._-]+", line)[0])


def built(missing, requirements, target, cache, builder):
    """The wheels of requirements that have none, built once for such servers."""
    options = [line for line in requirements.splitlines() if line.startswith(INDEX_OPTIONS)]
    places = {line: cache / "built" / target.digest(line) for line in missing}
    with alone(cache, "built"):
        wanted = [line for line in missing if not places[line].is_dir()]
        if wanted:
            (cache / "built").mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=cache / "built") as scratch:
                out = Path(scratch, "out")
                out.mkdir()
                builder.build(out, "\n".join([*options, *wanted]) + "\n", [named_in(line) for line in wanted])
                by_name = {parse_wheel_filename(wheel.name)[0]: wheel for wheel in out.glob("*.whl")}
                for line in wanted:
                    if named_in(line) not in by_name:
                        raise Failed(f"{named_in(line)} was built, but no wheel of it came out: {sorted(by_name)}")
                    own = Path(scratch, "own")
                    own.mkdir()
                    by_name[named_in(line)].rename(own / by_name[named_in(line)].name)
                    own.rename(places[line])
    return [wheel for place in places.values() for wheel in place.glob("*.whl")]


def exactly(folder):
    """Requirements that say: these very wheels. Of one that was built, no lock knows the hash."""
    lines = []
    for wheel in sorted(folder.glob("*.whl")):
        name, version, *_ = parse_wheel_filename(wheel.name)
        lines.append(f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n")
    return "".join(lines)


class Builder:
    """A throwaway copy of the server's image on this computer, in which a package's own code may run.

    program: src/sanso/builder.py; catalogue: machine_images, where the inventory has some; directory: where images are.
    """

    def __init__(self, program, target, catalogue, directory):
        self.program, self.target = program, target
        self.asked = {"catalogue": catalogue, "directory": str(directory)}

    def build(self, out, requirements, names):
        self.run(
            "build", out, {"requirements": requirements, "names": names}, f"{', '.join(names)} has no wheel for it"
        )

    def lock(self, out, files, words):
        asked = {"files": files, "words": words, "uv": uv_program(), "environment": uv_environment(index_settings())}
        self.run("lock", out, asked, "some of what the app needs has no wheel for it")

    def run(self, what, out, more, why):
        asked = {
            "what": what,
            "output": str(out),
            "python": self.target.python,
            "architecture": self.target.architecture,
            "distribution": self.target.distribution,
            "release": self.target.release,
            "packages": list(self.target.packages),
            "pip": index_settings(),
            **self.asked,
            **more,
        }
        command = [sys.executable, "-P", str(self.program)]  # beside it lies an ansible.py
        if os.geteuid():
            keep = "--preserve-env=http_proxy,https_proxy,no_proxy,HTTP_PROXY,HTTPS_PROXY,NO_PROXY"
            command = ["sudo", "-n", keep, *command]
        try:
            done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True)
        except FileNotFoundError as error:
            raise Failed(f"{why}, and it can't be built: {error}") from None
        if done.returncode:
            said = done.stderr.strip()
            if "failed" in said or "error" in said:
                said += "\nWhat a build lacks (the -dev package of a library, say), build_packages of the app names."
            if os.geteuid() and "sudo:" in said:
                said += "\nA throwaway copy of the server's image takes root, or sudo without a password."
            server = f"the server ({self.target.distribution} {self.target.release}, Python {self.target.python})"
            raise Failed(f"{why.replace('for it', f'for {server}')}, and it can't be built here:\n{said}")
