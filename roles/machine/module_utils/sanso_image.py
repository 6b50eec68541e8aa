"""Base images for local machines: which one to take, and how it is built once and kept."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import tempfile
import urllib.parse
from pathlib import Path

from ansible.module_utils.sanso_host import MachineError, lock, run, succeeds

# What any cloud image has, and no more: the layers install the rest. apt is optional on Ubuntu, hence named.
PACKAGES = [
    "apt",
    "ca-certificates",
    "dbus",
    "iproute2",
    "libpam-systemd",
    "openssh-server",
    "python3",
    "python3-apt",
    "sudo",
    "systemd",
    "systemd-sysv",
]
# Settings of this computer's apt that a machine needs to reach the same mirrors.
INHERITED = ("Acquire::http::Proxy", "Acquire::https::Proxy", "Acquire::Check-Valid-Until", "Acquire::Check-Date")
NEEDED_BYTES = 2 * 1024**3  # an image takes 0.4 GB, its building twice that, a built machine 1.2 GB


def host_apt_options():
    """This computer's own apt settings that concern reaching a mirror, as lines of apt.conf."""
    lines = run("apt-config", "dump").splitlines()
    return [line for line in lines if line.split(" ", 1)[0] in INHERITED and not line.endswith(' "";')]


def host_mirror(distribution):
    """The mirror of `distribution` (debian, ubuntu) that this computer itself uses, or an empty string."""
    uris = run("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages").split()
    same = (uri.rstrip("/") for uri in uris if urllib.parse.urlsplit(uri).path.strip("/").endswith(distribution))
    return next(same, "")


def choose(wanted, catalogue, directory):
    """Resolve `wanted` (a name of the catalogue, or auto) to (name, notice).

    auto takes the first image that is built already or whose mirror answers; the last one is taken untried.
    The notice is empty unless auto had to pass over a better image.
    """
    if wanted != "auto":
        if wanted not in catalogue:
            raise MachineError(f"there is no image {wanted!r}; the catalogue has: auto, {', '.join(catalogue)}")
        return wanted, ""
    passed = []
    for name, recipe in catalogue.items():
        if not recipe.get("auto", False):
            continue
        if image_path(name, recipe, directory).exists() or reachable(recipe):
            notice = f"The archive of {', '.join(passed)} can't be reached from here: taking {name}." if passed else ""
            return name, notice
        passed.append(name)
    raise MachineError(
        f"no image can be built: the archives of {', '.join(passed)} can't be reached; check the network"
    )


def reachable(recipe):
    """Tell whether this computer's apt gets the recipe's release file. No mirror named: none to ask."""
    mirror = mirror_of(recipe)
    if not mirror:
        return True
    with tempfile.TemporaryDirectory() as scratch:
        options = ("-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=5")
        release = f"{mirror}/dists/{recipe['suite']}/InRelease"
        return succeeds("/usr/lib/apt/apt-helper", *options, "download-file", release, f"{scratch}/InRelease")


def mirror_of(recipe):
    """The mirror to build from: this computer's own, else the recipe's, else "" (mmdebstrap knows Debian's)."""
    return host_mirror(recipe["distribution"]) or recipe.get("mirror", "")


def image_path(name, recipe, directory):
    """Where the image of a recipe lies: whatever is built differently is another image."""
    identity = "\n".join(mmdebstrap({**recipe, "keyring": Path(recipe["keyring"]).name}, "image"))
    return directory / "images" / f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


def require_space(directory):
    """Refuse to start what a full disk would break off."""
    directory.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(directory).free
    if free < NEEDED_BYTES:
        raise MachineError(
            f"{directory} has {free / 1024**3:.1f} GB free, and a machine needs {NEEDED_BYTES / 1024**3:.0f}; "
            "free some, or set machine_directory to a larger disk"
        )


def ensure(name, recipe, directory):
    """Build the image unless it is there, and return its path.

    It is built under a temporary name and renamed when it is whole, so that a build that breaks off leaves no image.
    """
    image = image_path(name, recipe, directory)
    with lock(directory / "images" / f"{name}.lock"):
        if image.exists():
            return image
        require_space(directory)
        for stale in image.parent.glob(f".{name}-*"):  # of a build that was killed: the lock says that none is running
            shutil.rmtree(stale)
        building = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=image.parent))
        try:
            building.chmod(0o755)
            # apt reads it as a user of its own, who can't look into a home folder.
            keyring = shutil.copy(recipe["keyring"], building)
            run(
                *mmdebstrap({**recipe, "keyring": keyring}, str(building / "root")),
                env={**os.environ, "TMPDIR": str(building)},
            )
            (building / "root").rename(image)
        finally:
            shutil.rmtree(building, ignore_errors=True)
        return image


def mmdebstrap(recipe, target):
    """The command line that makes `target` out of a recipe (its keys are documented in the role's defaults)."""
    mirror = mirror_of(recipe)
    listed = '"$1/etc/apt/sources.list"'
    command = ["mmdebstrap", "--variant=minbase", "--format=directory", f"--keyring={recipe['keyring']}"]
    command += ["--skip=cleanup/apt/lists"]  # with them, a check of a virgin machine knows what could be installed
    command += [f"--components={','.join(recipe['components'])}", f"--include={','.join(PACKAGES)}"]
    command += [f"--aptopt={line}" for line in (*host_apt_options(), 'Acquire::Languages "none";')]
    if recipe.get("pins"):
        command.append(f'--setup-hook=echo {shlex.quote(recipe["pins"])} > "$1/etc/apt/preferences.d/sanso"')
    # Further suites are on the same mirror: their lines are the first line with another suite in it.
    command += [
        f"--setup-hook=sed -n '1s/ {recipe['suite']} / {suite} /p' {listed} >> {listed}"
        for suite in recipe.get("more_suites", [])
    ]
    command += [
        # Every machine makes its own; a shared one would be known to whoever has the image.
        '--customize-hook=rm -f "$1"/etc/ssh/ssh_host_*',
        '--customize-hook=: > "$1/etc/machine-id"',
        '--customize-hook=systemctl --root="$1" enable systemd-networkd ssh',
    ]
    return [*command, recipe["suite"], target, *([mirror] if mirror else [])]
