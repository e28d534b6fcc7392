"""A host in a folder, for the tests of deploy/host: what its systemd, nginx and site would do."""

import subprocess
from pathlib import Path
from typing import Any

from machine import Machine

State = tuple[str | None, str | None, set[str], bool]


class Fake(Machine):
    """A host in a folder: its systemd, nginx and site do what they are told, or what a test has them do."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        for folder in ("etc/serving-site", "etc/nginx/serving-site", "run/serving-site", "srv/serving-site/archives"):
            (root / folder).mkdir(parents=True)
        self.host_conf.write_text('UNITS="web worker"\nROLE=worker\n')
        self.site_env.write_text("SECRET_KEY=x\n")
        self.running: set[str] = set()
        self.fails: dict[str, str] = {}
        self.did: list[str] = []

    def built(self, *names: str) -> None:
        for name in names:
            (self.releases / name).mkdir(parents=True)

    def give(self, folder: Path, user: str) -> None:
        self.did.append(f"give {folder.name} to {user}")

    def attempt(self, *argv: Any, **options: Any) -> subprocess.CompletedProcess[str]:
        words = [Path(argv[0]).name, *map(str, argv[1:])]
        line = " ".join(words)
        self.did.append(line)
        found = next((text for part, text in self.fails.items() if part in line), None)
        said = found if found is not None else self._do(words)
        return subprocess.CompletedProcess(words, 0 if found is None else 1, said)

    def _do(self, words: list[str]) -> str:
        named = {word for word in words if word.endswith(".service") and "@" in word}
        match words[:2]:
            case ["systemctl", "start"]:
                self.running |= named
            case ["systemctl", "stop"]:
                self.running -= named
            case ["systemctl", "show"]:
                return f"ActiveState={'active' if named <= self.running else 'failed'}\nNRestarts=0\n"
            case ["systemctl", "list-units"]:
                return "".join(f"{unit} loaded active running\n" for unit in sorted(self.running))
        return ""

    @property
    def state(self) -> State:
        """The current and the previous release, the releases whose units run, whether the proxy leads to current."""
        current = self.named_by("current")
        leads = self.upstream.exists() and f"web-{current}.sock" in self.upstream.read_text()
        return current, self.named_by("previous"), {unit[:-8].partition("@")[2] for unit in self.running}, leads


def ends(fake: Fake, unit: str) -> None:
    """Let a unit end as soon as it is started."""
    do = fake._do

    def do_and_end(words: list[str]) -> str:
        said = do(words)
        fake.running.discard(unit)
        return said

    fake._do = do_and_end  # type: ignore[method-assign]
