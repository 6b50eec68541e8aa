"""Run a package's own code in a throwaway copy of a server's image: to build its wheel, or to ask what it needs.

A program: roles/app's release_archive runs it as root, with a JSON object on its standard input, whose keys Asked has.
What it makes is laid into the folder `output`, and belongs to that folder's owner.

The copy is an overlay of the cached image that local machines are made from, and a chroot in namespaces of its own: of
mounts, so that none is seen outside of it, and of processes. However this program ends, be it killed, the kernel ends
all that runs inside and takes the mounts away; a folder that is left is removed by the next one. Inside, only the
distribution's packages are installed by root; what comes from Python's index runs as nobody.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import ansible.module_utils
import yaml

ROOT = Path(__file__).resolve().parents[2]
ansible.module_utils.__path__.append(str(ROOT / "roles/machine/module_utils"))

from ansible.module_utils.sanso_host import MachineError, run  # noqa: E402 -- found there
from ansible.module_utils.sanso_image import ensure, require_space  # noqa: E402

# What most packages are built with, beside their own. venv brings pip along.
PACKAGES = ["build-essential", "ca-certificates", "pkg-config", "python3-dev", "python3-venv"]
# Of an image's recipe, what the releases of a distribution have in common.
SHARED = ("distribution", "mirror", "components", "keyring")
NODES = ("null", "zero", "full", "random", "urandom")
NOBODY = 65534
LINES = 40  # of what a failed command said


@dataclass
class Asked:
    """What is asked.

    what: build (wheels of `requirements`, whose packages have these `names`) or lock (run the program `uv` with `words`
    on `files`, in `environment`); python, architecture, distribution, release: the server's; packages: of its
    distribution; catalogue, directory: as a machine's; pip: what it is told of the index, by its options' names.
    """

    what: str
    output: str
    python: str
    architecture: str
    distribution: str
    release: str
    packages: list[str]
    pip: dict[str, str]
    catalogue: dict
    directory: str
    requirements: str = ""
    names: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    uv: str = ""
    environment: dict[str, str] = field(default_factory=dict)


def call(*command: str, **options) -> str:
    """What a command says on its standard output; a failure is what it said, whose end alone may not say why."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise MachineError("\n".join(said[-LINES:]) or f"{command[0]} failed with {done.returncode}")
    return done.stdout


# Outside


def recipe_of(asked: Asked) -> tuple[str, dict]:
    """The image that is like the server: (its name, its recipe)."""
    if asked.architecture != os.uname().machine:
        raise MachineError(f"the server is {asked.architecture}, and this computer {os.uname().machine}")
    ours = yaml.safe_load((ROOT / "roles/machine/defaults/main.yml").read_text())["machine_images"]
    for name, recipe in (asked.catalogue or ours).items():
        if (recipe["distribution"], recipe["suite"]) == (asked.distribution, asked.release):
            return name, with_keyring(recipe)
    alike = next((recipe for recipe in ours.values() if recipe["distribution"] == asked.distribution), None)
    if not (alike and asked.release):
        raise MachineError(f"there is no image of {asked.distribution} {asked.release}; machine_images may have one")
    recipe = {**{name: alike[name] for name in SHARED if name in alike}, "suite": asked.release}
    return f"{asked.distribution}-{asked.release}", with_keyring(recipe)


def with_keyring(recipe: dict) -> dict:
    keyring = recipe["keyring"]
    return recipe if keyring.startswith("/") else {**recipe, "keyring": str(ROOT / "roles/machine/files" / keyring)}


@contextlib.contextmanager
def scratch_in(folder: Path):
    """A folder of this run's own. Those of runs that were killed are removed: nobody holds their lock."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # between making one and locking it, it is nobody's
        for left in folder.glob("build-*"):
            with opened(left) as handle, contextlib.suppress(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
        scratch = Path(tempfile.mkdtemp(prefix="build-", dir=folder))
        ours = contextlib.ExitStack()
        fcntl.flock(ours.enter_context(opened(scratch)), fcntl.LOCK_EX)
    with ours:
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


@contextlib.contextmanager
def opened(folder: Path):
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield handle
    finally:
        os.close(handle)


def outside(asked: Asked):
    directory, output = Path(asked.directory), Path(asked.output)
    name, recipe = recipe_of(asked)
    image = ensure(name, recipe, directory)
    require_space(directory)
    with scratch_in(directory / "builds") as scratch:
        told = scratch / "asked.json"
        told.touch(mode=0o600)  # it may hold an index's password
        told.write_text(json.dumps(vars(asked)))
        command = ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--ipc", "--uts"]
        command = ["setpriv", "--pdeathsig=KILL", *command]  # what kills this program kills that
        call(*command, sys.executable, "-P", __file__, "inside", str(told), str(image))
        owner = output.stat()
        for made in (scratch / "upper/build/out").iterdir():
            shutil.copy(made, output)
            os.chown(output / made.name, owner.st_uid, owner.st_gid)


# Inside of the namespaces


def mount(*words: str):
    run("mount", *words)


def inside(asked: Asked, scratch: Path, image: Path):
    root = scratch / "root"
    for name in ("upper", "work", "root"):
        (scratch / name).mkdir()
    (scratch / "upper").chmod(0o755)
    layers = f"lowerdir={image},upperdir={scratch / 'upper'},workdir={scratch / 'work'}"
    mount("-t", "overlay", "overlay", "-o", layers, str(root))
    mount("-t", "proc", "proc", str(root / "proc"))
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(root / "dev"))
    for node in NODES:
        (root / "dev" / node).touch()
        mount("--bind", f"/dev/{node}", str(root / "dev" / node))
    for name, leads in {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1"}.items():
        (root / "dev" / name).symlink_to(leads)
    (root / "dev/shm").mkdir()
    mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", str(root / "dev/shm"))
    resolver = root / "etc/resolv.conf"
    resolver.unlink(missing_ok=True)
    shutil.copy("/etc/resolv.conf", resolver)
    (root / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")  # a package's daemon isn't started
    (root / "usr/sbin/policy-rc.d").chmod(0o755)
    prepare(asked, root)

    def within(*words: str, **more: str):
        return call("chroot", str(root), *words, env={**clean(), **more})

    apt = {"DEBIAN_FRONTEND": "noninteractive"}
    within("apt-get", "-qq", "update", **apt)
    within("apt-get", "-qq", "--yes", "--no-install-recommends", "install", *PACKAGES, *asked.packages, **apt)
    version = within("python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()
    if version != asked.python:
        raise MachineError(f"the server's Python is {asked.python}, and that of {image.name} is {version}")
    nobody = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs", "--")
    if asked.what == "build":
        within(*nobody, "python3", "-m", "venv", "/build/venv")
        pip = [*nobody, "/build/venv/bin/pip", "wheel", "--quiet", "--no-cache-dir", "--no-deps", "--require-hashes"]
        within(
            *[
                *pip,
                f"--no-binary={','.join(asked.names)}",
                "--wheel-dir=/build/out",
                "--requirement=/build/requirements.txt",
            ],
            PIP_CONFIG_FILE="/build/pip.conf",
            PIP_DISABLE_PIP_VERSION_CHECK="1",
        )
    else:
        words = ["sh", "-c", 'cd /build && exec ./uv "$@" >out/locked.txt', "sh", *asked.words]
        within(*nobody, *words, **asked.environment)


def prepare(asked: Asked, root: Path):
    """The folder /build, which is nobody's: what is to be built, and how the index is reached."""
    build = root / "build"
    build.mkdir()
    (build / "out").mkdir()
    (build / "requirements.txt").write_text(asked.requirements)
    settings = dict(asked.pip)
    authorities = asked.environment.get("SSL_CERT_FILE") or settings.get("cert") or os.environ.get("SSL_CERT_FILE")
    for candidate in (authorities, "/etc/ssl/certs/ca-certificates.crt"):
        if candidate and Path(candidate).is_file():  # whom this computer trusts
            shutil.copy(candidate, build / "ca.pem")
            settings["cert"] = asked.environment["SSL_CERT_FILE"] = "/build/ca.pem"
            break
    (build / "pip.conf").write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items()))
    (build / "pip.conf").chmod(0o600)
    for name, text in asked.files.items():
        (build / Path(name).name).write_text(text)
    if asked.uv:
        shutil.copy(asked.uv, build / "uv")
    for path in (build, *build.iterdir()):
        os.chown(path, NOBODY, NOBODY)
    for folder in folders_of(settings):
        (root / folder.relative_to("/")).mkdir(parents=True, exist_ok=True)
        mount("--bind", str(folder), str(root / folder.relative_to("/")))
        mount("-o", "remount,bind,ro", str(root / folder.relative_to("/")))


def folders_of(settings: dict[str, str]) -> list[Path]:
    """Where an index on this computer lies, which is to be read inside too."""
    indexes = f"{settings.get('index-url', '')} {settings.get('extra-index-url', '')}".split()
    # Beside the pages, which are in simple/, are the files.
    found = [Path(url.removeprefix("file://")).parent for url in indexes if url.startswith("file:///")]
    found += [Path(link.removeprefix("file://")) for link in settings.get("find-links", "").split()]
    return sorted({folder for folder in found if folder.is_absolute() and folder.is_dir() and folder != Path("/")})


def clean() -> dict[str, str]:
    """No setting of this computer's, but how the network is reached."""
    proxies = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/build", "LC_ALL": "C.UTF-8", **proxies}


def main():
    if sys.argv[1:2] == ["inside"]:
        told, image = map(Path, sys.argv[2:])
        inside(Asked(**json.loads(told.read_text())), told.parent, image)
    else:
        outside(Asked(**json.load(sys.stdin)))


if __name__ == "__main__":
    try:
        main()
    except (MachineError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(1)
