"""What the hooks of a repository run: this installation's Python with the site's variables and none of the pusher's.

`install` writes hooks that call `main`. Standard library only, and no shell: git gives us an environment and standard
input that the person who pushes has a say in, and a name of a branch may hold `$(…)`.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

SITE = Path(os.path.abspath(__file__)).parent.parent.parent  # noqa: PTH100 - a link to it, such as `current`, stays one
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
FROM_GIT = ("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_QUARANTINE_PATH")
FROM_THE_WAY_IN = ("REMOTE_USER", "SERVING_SITE_PUSHER")
LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")


class BadEnvFile(Exception):
    """The file of variables cannot be used; the message is a sentence that names it."""


def read_env_file(path: Path) -> dict[str, str]:
    """NAME=value lines; `export` before and quotes around are taken off, # begins a line that is skipped."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadEnvFile(f"{path} cannot be read: {error}.") from None
    found = {}
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line or line.startswith("#"):
            continue
        match = LINE.fullmatch(line)
        if match is None:
            raise BadEnvFile(f"{path}, line {number}: expected NAME=value.")
        name, value = match[1], match[2].strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        found[name] = value
    return found


def environment(env_file: Path, given: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of the command: fixed names, the site's variables, and what git and the way in say."""
    passed = {name: given[name] for name in (*FROM_GIT, *FROM_THE_WAY_IN) if name in given}
    return {"PATH": PATH, "LC_ALL": "C.UTF-8", "PYTHONUNBUFFERED": "1", **read_env_file(env_file), **passed}


def main(hook: str, *, python: str, repository: str, env_file: str, options: list[str]) -> None:
    """Become `manage.py receive_push`; returns only by an exception."""
    try:
        variables = environment(Path(env_file), os.environ)
    except BadEnvFile as error:
        raise SystemExit(str(error)) from None
    os.chdir(SITE)  # relative names in the variables mean what they mean to the site
    command = [python, str(SITE / "manage.py"), "receive_push", hook, "--repository", repository, *options]
    os.execve(python, command, variables)
