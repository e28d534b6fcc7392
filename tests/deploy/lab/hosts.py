"""Machines of a lab: Debian 12 with systemd, sshd and cloud-init, each with a network, processes and files of its own.

Real but for the kernel and the boot loader, which they share with this machine (systemd-nspawn).
"""

import json
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.local.ground import PATH
from deploy.local.keeper import is_alive, wait_gone
from tests.deploy.lab import depot
from tests.deploy.lab.metadata import ADDRESS as METADATA_ADDRESS
from tests.processes import wait_until

if TYPE_CHECKING:
    from tests.deploy.lab.ground import Lab

BOOT_TIMEOUT_S = 60.0
LANDLOCK = "landlock_create_ruleset landlock_add_rule landlock_restrict_self"
"""What a real machine lets its processes call, and nspawn does not."""
WANTS_REBOOT = 133
"""What systemd-nspawn ends with when the machine inside asked to be started again."""
# $1: the control groups; then the machine. A reboot from inside boots the same machine again, as hardware would.
BOOT = f"""
groups=$1; shift
for group in $groups; do echo $$ > "$group/cgroup.procs"; done
while :; do "$@"; [ $? = {WANTS_REBOOT} ] || break; done
"""
SSH = (
    *("ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
    *("-o", "LogLevel=ERROR", "-o", "ConnectTimeout=5", "-o", "ServerAliveInterval=15"),
)
NO_NETWORK = "network: {config: disabled}\n"
NO_CLOUD = NO_NETWORK + "datasource_list: [NoCloud, None]\n"
EC2 = NO_NETWORK + (
    "datasource_list: [Ec2]\n"
    "datasource: {Ec2: {strict_id: false, max_wait: 30, timeout: 5}}\n"  # a guest has no BIOS that names Amazon
)


class CommandFailed(AssertionError):
    """A command on a host ended with another status than 0; says which and what it printed."""


class Host:
    """One machine. `address` is its own; `run()` is root over ssh, `inside()` works without a network too."""

    def __init__(self, lab: "Lab", name: str, address: str, template: Path) -> None:
        self.lab, self.name, self.address, self.template = lab, name, address, template
        self.folder = lab.folder / "hosts" / name
        self.root = self.folder / "root"
        self.console = self.folder / "console.log"
        self._link = f"lab{lab.number}h{address.rpartition('.')[2]}"
        self._pid = 0

    def prepare(self, *, seed: Mapping[str, str] | None, metadata: str, names: Mapping[str, str]) -> None:
        """Make its files and its place in the network."""
        for name in ("upper", "work", "root"):
            (self.folder / name).mkdir(parents=True)
        layers = f"lowerdir={self.template},upperdir={self.folder}/upper,workdir={self.folder}/work"
        self.lab.command("mount", "-t", "overlay", "overlay", "-o", layers, str(self.root))
        self._namespace = self.lab.namespace(self.name, self._link, self.address)
        known = {"localhost": "127.0.0.1", self.name: self.address, **names}
        self._write("etc/hostname", f"{self.name}\n")
        self._write("etc/hosts", "".join(f"{address} {name}\n" for name, address in known.items()))
        self._write("etc/resolv.conf", _resolvers())
        self._write("etc/machine-id", "")
        self._write("etc/apt/apt.conf.d/01lab", depot.apt_configuration(self.lab.gateway))
        self._write("etc/pip.conf", depot.pip_configuration(self.lab.gateway))
        self._write("root/.ssh/authorized_keys", self.lab.key.with_suffix(".pub").read_text(), mode=0o600)
        host_key = self.root / "etc/ssh/ssh_host_ed25519_key"
        self.lab.command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", str(host_key))
        if seed is not None:
            self._write("etc/cloud/cloud.cfg.d/99-lab.cfg", NO_CLOUD)
            for name, text in seed.items():
                self._write(f"var/lib/cloud/seed/nocloud/{name}", text, mode=0o600)
        if metadata:
            self._write("etc/cloud/cloud.cfg.d/99-lab.cfg", EC2)
            self.lab.command("ip", "-n", self._namespace, "route", "add", METADATA_ADDRESS, "via", metadata)

    def start(self) -> None:
        """Switch it on and wait until root can log in."""
        machine = [
            *("systemd-nspawn", "--quiet", "--boot", f"--directory={self.root}", f"--machine={self.name}"),
            *("--register=no", "--keep-unit", f"--network-namespace-path=/run/netns/{self._namespace}"),
            *("--resolv-conf=off", "--timezone=off", "--console=pipe", "--capability=CAP_NET_ADMIN"),
            f"--system-call-filter={LANDLOCK}",
        ]
        groups = " ".join(str(group) for group in self.lab.join(self.name))
        argv = ["bash", "-c", BOOT, "boot", groups, *machine]
        self._pid = self.lab.keeper.start(argv, env={"PATH": PATH}, log=self.console)
        self._await_login()

    def run(self, line: str, *, stdin: str | bytes = "", timeout_s: float = 300, user: str = "root") -> str:
        """Run a shell command over ssh and return its standard output; raises CommandFailed."""
        done = self.attempt(line, stdin=stdin, timeout_s=timeout_s, user=user)
        if done.returncode != 0:
            raise CommandFailed(f"{self.name}: {line[:300]} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def attempt(
        self, line: str, *, stdin: str | bytes = "", timeout_s: float = 300, user: str = "root"
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command over ssh that may fail."""
        return _run([*self.ssh(user), line], stdin, timeout_s)

    def ssh(self, user: str = "root") -> list[str]:
        """The beginning of an ssh command to this host: root has the lab's key, everybody else that of its owners."""
        key = self.lab.key if user == "root" else self.lab.owners_key
        return [*SSH, "-i", str(key), f"{user}@{self.address}"]

    def inside(self, line: str, *, stdin: str | bytes = "", timeout_s: float = 120) -> str:
        """Run a shell command as root from the machine's own console: needs no network and no sshd."""
        enter = ["nsenter", "--target", str(self._init()), "--all", "env", "-i", "HOME=/root", "LANG=C.UTF-8"]
        done = _run([*enter, f"PATH={PATH}", "sh", "-c", line], stdin, timeout_s)
        if done.returncode != 0:
            raise CommandFailed(f"{self.name}: {line[:300]} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def put(self, content: str | bytes | Path, target: str, *, mode: str = "0644", owner: str = "root:root") -> None:
        """Write a file on the host, with its folders; a Path is a file of this machine."""
        owned_by, _, group = owner.partition(":")
        place = shlex.quote(target)
        line = (
            f"mkdir -p $(dirname {place}) && install -m {mode} -o {owned_by} -g {group or owned_by} /dev/stdin {place}"
        )
        self.run(line, stdin=content.read_bytes() if isinstance(content, Path) else content)

    def get(self, source: str) -> bytes:
        """The content of a file on the host."""
        done = subprocess.run([*self.ssh(), f"cat {shlex.quote(source)}"], capture_output=True, check=False, timeout=60)
        if done.returncode != 0:
            raise CommandFailed(f"{self.name}: {source}: {done.stderr.decode()}")
        return done.stdout

    def reboot(self) -> None:
        """Restart it as an operator does, and wait until root can log in again."""
        before = self._boot()
        self.attempt("systemctl reboot", timeout_s=30)
        wait_until(lambda: self._boot() not in ("", before), BOOT_TIMEOUT_S, self.report)

    def settle(self, timeout_s: float = 60) -> str:
        """Wait until systemd has done what starting asks for; "running", or "degraded" if a unit failed."""
        return self.attempt("systemctl is-system-running --wait", timeout_s=timeout_s).stdout.strip()

    def kill(self) -> None:
        """Cut the power. `start()` boots it again with what was on its disk."""
        for group in self.lab.join(self.name):
            for listing in group.rglob("cgroup.procs"):
                for pid in listing.read_text().split():
                    _signal(int(pid), signal.SIGKILL)
        wait_gone(self._pid)

    def stop(self) -> None:
        """Shut it down in order; `start()` boots it again."""
        self.attempt("systemctl poweroff", timeout_s=30)
        wait_gone(self._pid, 60)

    def unplug(self) -> None:
        """Pull its network cable."""
        self.lab.command("ip", "link", "set", self._link, "down")

    def plug(self) -> None:
        """Put the cable back."""
        self.lab.command("ip", "link", "set", self._link, "up")

    def await_cloud_init(self, timeout_s: float = 600) -> None:
        """Wait until cloud-init has finished; raises with its log if anything failed."""

        def is_over() -> bool:
            return self.attempt("test -e /var/lib/cloud/instance/boot-finished", timeout_s=30).returncode == 0

        log = "tail -n 200 /var/log/cloud-init-output.log"
        wait_until(is_over, timeout_s, lambda: self.inside(log) + self.report())
        errors = json.loads(self.run("cat /run/cloud-init/result.json"))["v1"]["errors"]
        if errors:
            raise CommandFailed(f"{self.name}: cloud-init failed: {errors}\n{self.run(log)}")

    def report(self) -> str:
        """What a person would look at first when a test failed: the failed units and the end of the journal."""
        if not self._pid or not is_alive(self._pid):
            return f"{self.name} is off; the end of its console:\n{_tail(self.console)}"
        try:
            journal = "journalctl --boot --no-pager --lines 150 --output short-monotonic"
            said = self.inside(f"systemctl --failed --plain --no-legend; {journal} | grep -v ' sshd'", timeout_s=20)
            return f"{self.name}:\n{said}"
        except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
            return f"{self.name} cannot be asked ({error}); the end of its console:\n{_tail(self.console)}"

    def _await_login(self) -> None:
        def answers() -> bool:
            return not is_alive(self._pid) or bool(self._boot())

        wait_until(answers, BOOT_TIMEOUT_S, self.report)
        if not is_alive(self._pid):
            raise AssertionError(self.report())

    def _boot(self) -> str:
        """The id of the running boot; empty while nobody can log in."""
        try:
            return self.attempt("cat /proc/1/stat | cut -d' ' -f22", timeout_s=10).stdout.strip()
        except subprocess.TimeoutExpired:
            return ""

    def _init(self) -> int:
        """The first process of the machine: the only child of the only child of what was started."""
        pid = self._pid
        for _ in range(2):
            (pid,) = [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return pid

    def _write(self, name: str, text: str, mode: int = 0o644) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.touch(mode=mode)
        path.write_text(text)


def _run(argv: list[str], stdin: str | bytes, timeout_s: float) -> subprocess.CompletedProcess[str]:
    given = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(argv, input=given, capture_output=True, timeout=timeout_s, check=False)
    return subprocess.CompletedProcess(argv, done.returncode, _text(done.stdout), _text(done.stderr))


def _text(output: bytes) -> str:
    return output.decode(errors="replace")


def _signal(pid: int, number: signal.Signals) -> None:
    subprocess.run([shutil.which("kill") or "kill", f"-{number.value}", str(pid)], capture_output=True, check=False)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-60:]) if log.exists() else ""


def _resolvers() -> str:
    """This machine's name servers, as a host of the lab can reach them."""
    text = Path("/etc/resolv.conf").read_text()
    behind = Path("/run/systemd/resolve/resolv.conf")  # where a server on loopback asks
    return behind.read_text() if "nameserver 127." in text and behind.exists() else text
