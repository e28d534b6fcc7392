"""A private Docker engine with compose and buildx, and stand-ins for the official images that deployments name.

It runs in a network namespace of the lab, as a machine of its own: ports that containers publish are reached at
`docker.address`, and neither its bridge nor its packet filter rules are this machine's.
"""

import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.local.ground import PATH
from tests.deploy.lab import depot
from tests.deploy.lab.template import authorities, debootstrap, kept, sources
from tests.processes import wait_until

if TYPE_CHECKING:
    from tests.deploy.lab.ground import Lab

GATEWAY = "172.17.0.1"
"""The engine itself, as containers see it; builds find the depot there."""
IMAGES = Path(__file__).parent / "images"
STAND_INS = {
    "python": "python:3.11-slim-bookworm",
    "postgres": "postgres:15",
    "rabbitmq": "rabbitmq:3.13",
    "nginx": "nginx:1.28",
}
"""What each folder of `images` stands in for. Each is tagged lab/NAME, too."""
BASE = "debian:bookworm-slim"
PLUGINS = ("docker-compose", "docker-buildx")
PLUGINS_SUITE = "trixie"
"""Debian 12 has no second version of compose; these two are programs in Go, which run there."""
# $1: control groups, $2: network namespace; then the engine's arguments. Mounts of its own, and folders of /run that
# an engine of this machine may have as well, go when it ends.
START = """
groups=$1 namespace=$2; shift 2
for group in $groups; do echo $$ > "$group/cgroup.procs"; done
exec nsenter --net="/run/netns/$namespace" unshare --mount --propagation slave sh -c '
    for folder in /run/docker /run/containerd; do mkdir -p $folder; mount -t tmpfs tmpfs $folder; done
    exec dockerd "$@"' dockerd "$@"
"""


class Docker:
    """The engine. `run("compose", "up", …)` is the docker command; `environment` is what makes others use it."""

    name = "docker"

    def __init__(self, lab: "Lab") -> None:
        self.lab = lab
        self.address = lab.address(2)
        self.folder = lab.folder / "docker"
        self.folder.mkdir()
        self.log = self.folder / "dockerd.log"
        socket = f"unix://{self.folder}/docker.sock"
        self.environment = {
            "PATH": f"/usr/bin:{PATH}",  # Debian's own client, should there be another
            "HOME": str(self.folder),
            "DOCKER_HOST": socket,
            "DOCKER_CONFIG": str(_plugins()),
            "DOCKER_BUILDKIT": "1",
        }
        namespace = lab.namespace(self.name, f"lab{lab.number}docker", self.address)
        groups = " ".join(str(group) for group in lab.join(self.name))
        engine = [
            *(f"--data-root={self.folder}/data", f"--exec-root={self.folder}/exec", f"--host={socket}"),
            *(f"--pidfile={self.folder}/pid", f"--bip={GATEWAY}/16", "--exec-opt=native.cgroupdriver=cgroupfs"),
            f"--cgroup-parent=/{lab.name}/{self.name}/containers",
        ]
        argv = ["bash", "-c", START, "start", groups, namespace, *engine]
        self._pid = lab.keeper.start(argv, env={"PATH": PATH}, log=self.log)
        wait_until(self._answers, 60, self.report)
        lab.start_depot("0.0.0.0", "nsenter", f"--net=/run/netns/{namespace}")
        self._take_images()
        lab.machines.append(self)

    def run(
        self,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        stdin: str | bytes = b"",
        timeout_s: float = 600,
    ) -> str:
        """Run docker and return what it printed on standard output; raises AssertionError with all that it said."""
        done = self.attempt(*arguments, environment=environment, folder=folder, stdin=stdin, timeout_s=timeout_s)
        if done.returncode != 0:
            raise AssertionError(f"docker {shlex.join(arguments)[:300]}: {done.stdout[-3000:]}{done.stderr[-6000:]}")
        return done.stdout

    def attempt(
        self,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        stdin: str | bytes = b"",
        timeout_s: float = 600,
    ) -> subprocess.CompletedProcess[str]:
        """Run docker where it may fail."""
        given = stdin.encode() if isinstance(stdin, str) else stdin
        every = {**self.environment, **(environment or {})}
        done = subprocess.run(
            ["docker", *arguments],
            env=every,
            cwd=folder,
            input=given,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
        out, err = (part.decode(errors="replace") for part in (done.stdout, done.stderr))
        return subprocess.CompletedProcess(arguments, done.returncode, out, err)

    def report(self) -> str:
        """Every container, what it said last, and the engine's own last words."""
        try:
            parts = [self.attempt("ps", "--all", timeout_s=20).stdout]
            for container in self.attempt("ps", "--all", "--format", "{{.Names}}", timeout_s=20).stdout.split():
                done = self.attempt("logs", "--tail", "40", container, timeout_s=20)
                parts.append(f"--- {container}\n{done.stdout}{done.stderr}")
        except subprocess.TimeoutExpired as error:
            parts = [str(error)]
        engine = self.log.read_text(errors="replace")[-1500:] if self.log.exists() else ""
        return "\n".join([*parts, f"--- dockerd\n{engine}"])

    def _answers(self) -> bool:
        return self.attempt("version", timeout_s=20).returncode == 0

    def _take_images(self) -> None:
        """Load the stand-ins, or make them and keep them for the next time."""
        files = sorted(path for path in IMAGES.rglob("*") if path.is_file())
        recipe = f"2 {sources()} {authorities()} {STAND_INS} " + "".join(path.read_text() for path in files)
        made = kept("images", recipe, self._make_images)
        if self.attempt("image", "inspect", BASE).returncode != 0:
            self.run("load", "--quiet", "--input", str(made))

    def _make_images(self, target: Path) -> None:
        base = kept("base-image", f"2 {sources()} {authorities()}", _make_base)
        trust = "ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt"
        self.run("import", "--change", trust, "--change", "CMD bash", str(base), BASE)
        tags = [BASE]
        for name, official in STAND_INS.items():
            self.run("build", "--quiet", "--tag", official, "--tag", f"lab/{name}", str(IMAGES / name))
            tags += [official, f"lab/{name}"]
        self.run("save", "--output", str(target), *tags)


def _make_base(target: Path) -> None:
    files = {
        "apt/apt.conf.d/01lab": depot.apt_configuration(GATEWAY),
        "apt/apt.conf.d/02small": 'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb"; };\n',
        "dpkg/dpkg.cfg.d/small": "".join(f"path-exclude /usr/share/{name}/*\n" for name in ("doc", "man", "locale")),
        "pip.conf": depot.pip_configuration(GATEWAY),
    }
    hooks = [f'printf %s {shlex.quote(text)} > "$1/etc/{name}"' for name, text in files.items()]
    debootstrap(target, "ca-certificates", *hooks)


def _plugins() -> Path:
    """A DOCKER_CONFIG folder with compose and buildx."""
    return kept("docker-plugins", f"1 {PLUGINS_SUITE} {PLUGINS} {sources()[0]}", _fetch_plugins)


def _fetch_plugins(target: Path) -> None:
    state = target.with_name(f"{target.name}.apt")
    for name in ("lists/partial", "cache/archives/partial"):
        (state / name).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    uri = sources()[0].split()[1]
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (state / "list").write_text(f"deb [signed-by={keyring}] {uri} {PLUGINS_SUITE} main\n")
    settings = {
        "Dir::Etc::SourceList": "list",
        "Dir::State::Lists": "lists",
        "Dir::State::status": "status",
        "Dir::Cache": "cache",
    }
    lines = [f'{name} "{state}/{place}";' for name, place in settings.items()]
    (state / "conf").write_text("\n".join([*lines, 'Dir::Etc::SourceParts "-";', 'APT::Sandbox::User "root";', ""]))
    environment = {**os.environ, "APT_CONFIG": str(state / "conf")}
    for argv in (["apt-get", "-qq", "update"], ["apt-get", "-qq", "download", *PLUGINS]):
        subprocess.run(argv, env=environment, cwd=state, check=True, timeout=300)
    for deb in state.glob("*.deb"):
        subprocess.run(["dpkg-deb", "--extract", deb, state / "files"], check=True)
    target.mkdir()
    (target / "config.json").write_text("{}\n")
    (state / "files/usr/libexec/docker/cli-plugins").rename(target / "cli-plugins")
    subprocess.run(["rm", "-rf", state], check=True)
