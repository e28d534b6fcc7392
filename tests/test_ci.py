"""When the tests of the deployments run: always, but for a change that no deployment can notice."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.session import REPOSITORY

AUTHOR = {
    "GIT_AUTHOR_NAME": "Tester",
    "GIT_AUTHOR_EMAIL": "tester@example.org",
    "GIT_COMMITTER_NAME": "Tester",
    "GIT_COMMITTER_EMAIL": "tester@example.org",
}


class Checkout:
    """A repository with the script in it, and a file of green commits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "checkout"
        self.green_file = folder / "green"
        (self.folder / ".ci").mkdir(parents=True)
        shutil.copy(REPOSITORY / ".ci" / "deploy-tests-due", self.folder / ".ci")
        self._git("init", "--quiet", "--initial-branch", "main")
        self.commit(".ci/run")

    def commit(self, name: str) -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.read_text() + "more\n" if path.exists() else "some\n")
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", f"Change {name}")
        return self._git("rev-parse", "HEAD").strip()

    def is_green(self, *commits: str) -> None:
        with self.green_file.open("a") as green:
            green.writelines(f"{one}\n" for one in commits)

    def ask(self) -> tuple[bool, str]:
        script = self.folder / ".ci" / "deploy-tests-due"
        environment = {**os.environ, "CI_GREEN": str(self.green_file)}
        done = subprocess.run([script], env=environment, capture_output=True, text=True, check=False)
        assert (done.stderr, done.returncode in (0, 1)) == ("", True)
        return done.returncode == 0, done.stdout

    def set_ref(self, commit: str) -> None:
        self._git("update-ref", "refs/ci/green", commit)

    def start_over(self) -> None:
        """Lose the history so far, as a rewritten one does."""
        self._git("checkout", "--quiet", "--orphan", "other")
        self._git("commit", "--quiet", "--message", "Start over")

    def _git(self, *arguments: str) -> str:
        environment = {**os.environ, **AUTHOR}
        argv = ["git", "-c", "commit.gpgsign=false", *arguments]
        return subprocess.run(argv, cwd=self.folder, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_they_run_where_no_earlier_commit_is_known_to_be_green(checkout: Checkout) -> None:
    assert checkout.ask() == (
        True,
        "The tests of the deployments run: there is no earlier green commit to compare with.\n",
    )


@pytest.mark.parametrize("name", ["predictions/views.py", "README.md", "tests/test_new.py"])
def test_they_do_not_run_for_a_change_that_no_deployment_notices(checkout: Checkout, name: str) -> None:
    checkout.is_green(checkout.commit("deploy/unit"))
    checkout.commit(name)
    assert checkout.ask()[0] is False


@pytest.mark.parametrize(
    "name",
    [
        "deploy/nginx/site.conf",
        "requirements/web.txt",
        "serving_site/settings.py",
        "serving_site/jobs/migrations/0002_more.py",
        "mlmodels/migrations/0002_more.py",
        "tests/deploy/test_new.py",
        ".ci/run",
    ],
)
def test_they_run_for_a_change_to_what_they_test(checkout: Checkout, name: str) -> None:
    green = checkout.commit("README.md")
    checkout.is_green(green)
    checkout.commit(name)
    checkout.commit("README.md")
    assert checkout.ask() == (
        True,
        f"The tests of the deployments run: since {green[:12]} there are changes to\n    {name}\n",
    )


def test_the_newest_green_commit_counts(checkout: Checkout) -> None:
    old = checkout.commit("README.md")
    checkout.is_green(old, checkout.commit("deploy/unit"))
    assert checkout.ask()[0] is False


def test_a_ref_that_the_checkout_has_counts_as_well(checkout: Checkout) -> None:
    checkout.set_ref(checkout.commit("deploy/unit"))
    checkout.commit("README.md")
    assert checkout.ask()[0] is False


def test_green_commits_of_another_history_do_not_count(checkout: Checkout) -> None:
    checkout.is_green(checkout.commit("README.md"), "0" * 40)
    checkout.start_over()
    assert checkout.ask()[0] is True
