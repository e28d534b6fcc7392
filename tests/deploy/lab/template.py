"""The root file system that all lab hosts start from, and what else is made once and kept between runs.

Everything lies in one folder outside the repository (`LAB_CACHE`), under a name that is the hash of its recipe, and is
made anew when it is older than a week. Two runs at once make it once.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CACHE = Path(os.environ.get("LAB_CACHE", "/var/cache/serving-site-lab"))
KEPT_S = 7 * 24 * 3600
SUITE = "bookworm"
AUTHORITIES = Path("/usr/local/share/ca-certificates")
"""Certificate authorities that this machine trusts beside Debian's; hosts and images come to trust them as well."""
PACKAGES = (
    "systemd,systemd-sysv,dbus,openssh-server,python3,python3-apt,sudo,ca-certificates,iproute2,procps,cloud-init,"
    "gnupg,kmod,less,netbase,tzdata"
)
"""What Debian's own cloud image has, as far as anything here could notice."""


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Only one process of this machine at a time."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def kept(name: str, recipe: str, make: Callable[[Path], None]) -> Path:
    """The file or folder that `make` writes, made when there is none of this recipe that is younger than a week."""
    path = CACHE / f"{name}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    with locked(name):
        if not path.exists() or time.time() - path.stat().st_mtime > KEPT_S:
            _remove_unused(name)
            unfinished = path.with_name(f"{path.name}.new")
            _remove(unfinished)
            make(unfinished)
            if path.exists():
                _remove(path)
            unfinished.rename(path)
            os.utime(path)
    return path


def sources() -> list[str]:
    """This machine's own Debian sources, as lines of sources.list; empty if apt has none."""
    form = "$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)"
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", form, "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    lines = (line.split() for line in listed.splitlines())
    found = [f"deb {words[0]} {words[1]} main" for words in lines if words[2:] == ["main", "Debian"]]
    return [line for line in found if line.split()[2].startswith(SUITE)]


def authorities() -> str:
    """The extra certificate authorities as one text, to make recipes depend on them."""
    return "".join(path.read_text() for path in sorted(AUTHORITIES.glob("*.crt")))


def debootstrap(target: Path, packages: str, *hooks: str) -> None:
    """Make a minimal Debian with `packages` as a tar file at `target`."""
    trust = [
        "copy-in /usr/local/share/ca-certificates /usr/local/share",
        'chroot "$1" update-ca-certificates >/dev/null',
    ]
    quick = 'printf "force-unsafe-io\\n" > "$1/etc/dpkg/dpkg.cfg.d/unsafe-io"'
    every = [*(trust if AUTHORITIES.is_dir() else []), quick, *hooks]
    subprocess.run(
        [
            *("mmdebstrap", "--quiet", "--variant=minbase", "--format=tar", "--dpkgopt=force-unsafe-io"),
            f"--include={packages}",
            *(f"--customize-hook={hook}" for hook in every),
            *(SUITE, str(target), *sources()),
        ],
        check=True,
        timeout=600,
    )


def template() -> Path:
    """The folder with the root file system of a host that nobody has touched yet."""
    recipe = f"3 {PACKAGES} {sources()} {authorities()}"
    return kept("host", recipe, _make_template)


def _make_template(target: Path) -> None:
    archive = target.with_suffix(".tar")
    debootstrap(archive, PACKAGES)
    target.mkdir(mode=0o755)
    subprocess.run(["tar", "--extract", "--numeric-owner", "--file", archive, "--directory", target], check=True)
    archive.unlink()
    for key in (target / "etc/ssh").glob("ssh_host_*"):  # each host makes its own
        key.unlink()
    # An empty list of packages that is new would look fresh to Ansible's `cache_valid_time`.
    os.utime(target / "var/lib/apt/lists", (0, 0))


def _remove_unused(name: str) -> None:
    """Older ones that no running lab stands on."""
    mounted = Path("/proc/self/mounts").read_text()
    for path in CACHE.glob(f"{name}-*"):
        if f"{path}," not in mounted and f"{path}:" not in mounted and time.time() - path.stat().st_mtime > KEPT_S:
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
