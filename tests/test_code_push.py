"""The hook of the repository of code: hands one commit over, and the push ends as the program behind it says."""

import contextlib
import json
import os
import select
import socket
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import wait_until
from tests.session import REPOSITORY

HOOK = REPOSITORY / "deploy" / "git-hooks" / "code-pre-receive"
CONFIG = REPOSITORY / "deploy" / "ansible" / "roles" / "code_push" / "files" / "config"
AS_SOMEBODY = ("-c", "user.name=Tester", "-c", "user.email=tester@example.org", "-c", "commit.gpgsign=false")


class Door:
    """Stands in for the program that builds: keeps what it is given if it `reads`, and says `answer`."""

    def __init__(self, path: Path) -> None:
        self.answer, self.reads = "Live: it\naccepted\n", True
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.given: list[tuple[str, bytes]] = []
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(path))
        self.listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                visitor, _ = self.listener.accept()
            except OSError:
                return
            with visitor, visitor.makefile("rb") as stream:
                if self.reads:
                    said = json.loads(stream.readline())
                    self.given.append((said["release"], stream.read(said["bytes"])))
                self.visitor = visitor
                self.may_answer.wait(20)
                with contextlib.suppress(BrokenPipeError):
                    visitor.sendall(self.answer.encode())

    def is_left(self) -> bool:
        """Whether the hook has gone while it was to wait."""
        poll = select.poll()
        poll.register(self.visitor.fileno(), select.POLLHUP)
        return bool(poll.poll(0))

    def close(self) -> None:
        self.may_answer.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class Code:
    """A repository as the role makes it, with its hook, and a clone that pushes to it."""

    def __init__(self, folder: Path) -> None:
        self.repository, self.clone, self.door_path = folder / "code.git", folder / "clone", folder / "door"
        git(folder, "init", "--quiet", "--bare", "--template=", "--initial-branch=main", str(self.repository))
        hooks = self.repository / "hooks"
        hooks.mkdir()
        config = CONFIG.read_text().replace("/srv/serving-site/code.git", str(self.repository))
        (self.repository / "config").write_text(config)
        hook = HOOK.read_text()
        assert '"/run/serving-site-push.sock"' in hook
        (hooks / "pre-receive").write_text(hook.replace("/run/serving-site-push.sock", str(self.door_path)))
        (hooks / "pre-receive").chmod(0o755)
        git(folder, "clone", "--quiet", "--origin", "production", str(self.repository), str(self.clone))
        git(self.clone, "checkout", "--quiet", "-B", "main")

    def commit(self, text: str, size: int = 10) -> str:
        (self.clone / "file").write_text(text)
        (self.clone / "noise").write_bytes(os.urandom(size))
        git(self.clone, "add", "--all")
        git(self.clone, "commit", "--quiet", "--message", text)
        return git(self.clone, "rev-parse", "HEAD").stdout.strip()

    def push(self, *what: str, clone: Path | None = None) -> subprocess.CompletedProcess[str]:
        return git(clone or self.clone, "push", "production", *(what or ["main"]), may_fail=True)

    @property
    def main(self) -> str:
        return git(self.repository, "rev-parse", "--verify", "--quiet", "main", may_fail=True).stdout.strip()


def git(folder: Path, *arguments: str, may_fail: bool = False) -> subprocess.CompletedProcess[str]:
    """Run git; what it says to people is in `stderr`."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        ["git", *AS_SOMEBODY, *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert may_fail or done.returncode == 0, done.stderr
    return done


@pytest.fixture
def code() -> Iterator[Code]:
    with tempfile.TemporaryDirectory() as folder:
        yield Code(Path(folder))


@pytest.fixture
def door(code: Code) -> Iterator[Door]:
    door = Door(code.door_path)
    yield door
    door.close()


def test_an_accepted_commit_is_handed_over_whole_and_becomes_main(code: Code, door: Door, tmp_path: Path) -> None:
    first = code.commit("one")
    done = code.push()
    assert done.returncode == 0, done.stderr
    assert "remote: Live: it" in done.stderr
    assert "accepted" not in done.stderr
    second = code.commit("two")
    assert code.push().returncode == 0
    assert code.main == second
    assert [name for name, _ in door.given] == [first[:12], second[:12]]
    (tmp_path / "archive").write_bytes(door.given[1][1])
    with tarfile.open(tmp_path / "archive") as tar:
        assert tar.pax_headers["comment"] == second
        file = tar.extractfile("file")
        assert file
        assert file.read() == b"two"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("It is broken.\nrefused\n", "It is broken."),
        ("It is broken.\naccepted \n", "accepted"),
        ("accepted\nNot at all.\nrefused\n", "Not at all."),
        ("Checking …\n", "Checking …"),
        ("", "ended without a verdict"),
    ],
)
def test_every_other_verdict_refuses_the_push(code: Code, door: Door, answer: str, said: str) -> None:
    code.commit("one")
    door.answer = answer
    done = code.push()
    assert done.returncode == 1
    assert said in done.stderr
    assert "Refused: what ran before goes on." in done.stderr
    assert code.main == ""


def test_a_refusal_that_comes_before_all_is_sent_is_heard(code: Code, door: Door) -> None:
    code.commit("large", size=4_000_000)
    door.reads, door.answer = False, "This host is busy.\nrefused\n"
    done = code.push()
    assert (done.returncode, "This host is busy." in done.stderr) == (1, True), done.stderr


def test_without_the_program_behind_it_nothing_is_accepted(code: Code) -> None:
    code.commit("one")
    done = code.push()
    assert (done.returncode, "does not listen" in done.stderr) == (1, True), done.stderr
    assert code.main == ""


@pytest.mark.parametrize(
    "what",
    [
        ["main:refs/heads/$(touch${IFS}evil)"],
        ["main:refs/heads/`touch${IFS}evil`"],
        ["main:refs/heads/main;evil"],
        ["main:refs/heads/メイン"],
        ["main:refs/heads/Main"],
        ["main:refs/tags/v1"],
        ["main", "main:other"],
        [":main"],
        ["+main~1:main"],
        ["+orphan:main"],
    ],
)
def test_anything_but_main_moving_forward_is_refused_before_it_is_handed_over(
    code: Code, door: Door, what: list[str]
) -> None:
    code.commit("one")
    code.commit("two")
    assert code.push().returncode == 0
    git(code.clone, "branch", "orphan", git(code.clone, "commit-tree", "-m", "of nobody", "main^{tree}").stdout.strip())
    before = code.main
    code.commit("three")
    if what == ["+main~1:main"]:
        what = ["+main~2:main"]
    done = code.push(*what)
    assert done.returncode == 1
    assert "main" in done.stderr
    assert (code.main, len(door.given)) == (before, 1)
    refs = git(code.repository, "for-each-ref", "--format=%(refname)").stdout.split()
    assert refs == ["refs/heads/main"]
    assert not list(code.repository.rglob("evil*"))


def test_when_git_is_killed_the_program_behind_the_hook_sees_that_nobody_waits(code: Code, door: Door) -> None:
    code.commit("one")
    door.may_answer.clear()
    push = threading.Thread(target=code.push)
    push.start()
    wait_until(lambda: len(door.given) == 1, 20, "the push is handed over")
    assert not door.is_left()
    subprocess.run(["pkill", "-KILL", "-f", f"receive-pack.*{code.repository}"], check=True)
    wait_until(door.is_left, 5, "the hook has gone too")
    push.join()
    assert code.main == ""


def test_one_push_at_a_time_and_the_next_starts_from_where_main_is_then(code: Code, door: Door) -> None:
    code.commit("one")
    assert code.push().returncode == 0
    other = code.clone.parent / "other"
    git(code.clone.parent, "clone", "--quiet", "--origin", "production", str(code.repository), str(other))
    (other / "file").write_text("of somebody else")
    git(other, "commit", "--quiet", "--all", "--message", "other")
    mine = code.commit("two")
    door.may_answer.clear()
    ended: list[subprocess.CompletedProcess[str]] = []
    first = threading.Thread(target=lambda: ended.append(code.push()))
    first.start()
    wait_until(lambda: len(door.given) == 2, 20, "the first push is handed over")
    second = code.push(clone=other)
    assert (second.returncode, "Another push is being tried" in second.stderr) == (1, True), second.stderr
    door.may_answer.set()
    first.join()
    assert ended[0].returncode == 0, ended[0].stderr
    assert code.main == mine
    assert code.push(clone=other).returncode == 1
    assert len(door.given) == 2
