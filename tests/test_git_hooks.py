"""deploy/git-hooks/install: a repository that a person understands, made again without harm, secrets in one file."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.session import REPOSITORY

INSTALL = REPOSITORY / "deploy" / "git-hooks" / "install"
SECRET = "a-secret-of-the-tests-that-is-not-used-elsewhere-0123456789"


def install(tmp_path: Path, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    known = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "DATA_DIR": str(tmp_path / "data"), **environment}
    return subprocess.run(
        [INSTALL, "--python", sys.executable, *arguments],
        env=known, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def config(repository: Path, name: str) -> str:
    done = subprocess.run(
        ["git", "config", "--file", repository / "config", name], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_makes_a_strict_repository_and_says_how_to_push(tmp_path: Path) -> None:
    done = install(tmp_path, SECRET_KEY=SECRET, MAX_ARTIFACT_BYTES="1000")
    assert done.returncode == 0, done.stderr
    repository = tmp_path / "data" / "models.git"
    assert f"Ready: {repository}\n" in done.stdout
    assert f"git clone {repository} models" in done.stdout
    assert "git push origin main" in done.stdout
    assert "MODEL_REPOSITORY" not in done.stdout
    assert (repository / "HEAD").read_text() == "ref: refs/heads/main\n"
    names = ("denyNonFastForwards", "denyDeletes", "fsckObjects", "maxInputSize")
    assert [config(repository, f"receive.{name}") for name in names] == ["true", "true", "true", str(1000 + 2**26)]
    assert config(repository, "transfer.fsckObjects") == "true"
    assert [mode(repository / "hooks" / name) for name in ("pre-receive", "post-receive")] == [0o755, 0o755]
    assert mode(repository / "site.env") == 0o600
    assert SECRET in (repository / "site.env").read_text()
    assert SECRET not in done.stdout + (repository / "hooks" / "pre-receive").read_text()


def test_it_repairs_what_is_there_and_keeps_what_it_was_told_before(tmp_path: Path) -> None:
    assert install(tmp_path, SECRET_KEY=SECRET).returncode == 0
    repository = tmp_path / "data" / "models.git"
    first = {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()}
    (repository / "hooks" / "post-receive").unlink()
    (repository / "site.env").chmod(0o644)
    subprocess.run(["git", "config", "--file", repository / "config", "receive.denyDeletes", "false"], check=True)
    assert install(tmp_path).returncode == 0
    assert {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()} == first
    assert mode(repository / "site.env") == 0o600


def test_a_repository_elsewhere_is_named_to_the_workers(tmp_path: Path) -> None:
    done = install(tmp_path, tmp_path / "with a space" / "here.git", "--known-models-only")
    assert done.returncode == 0, done.stderr
    assert f"set MODEL_REPOSITORY={tmp_path}/with a space/here.git for the site and its\nworkers too" in done.stdout
    assert f"git clone '{tmp_path}/with a space/here.git' models" in done.stdout
    assert "--known-models-only" in (tmp_path / "with a space" / "here.git" / "hooks" / "pre-receive").read_text()


@pytest.mark.parametrize(
    ("text", "file_mode", "sentence"),
    [
        ("", 0, "{file} cannot be read: "),
        ("DEBUG=0\n", 0o644, "{file} holds secrets and is open to others (mode 004 too much): chmod 600 {file}"),
        ("# fine\n\nDEBUG: 0\n", 0o600, "{file}, line 3: expected NAME=value."),
        ("export PORT='http'\n", 0o640, "The site does not start with "),
    ],
    ids=["missing", "open", "malformed", "wrong"],
)
def test_a_file_of_variables_that_cannot_be_used_is_refused_and_nothing_is_made(
    tmp_path: Path, text: str, file_mode: int, sentence: str
) -> None:
    file = tmp_path / "variables"
    if file_mode:
        file.write_text(text)
        file.chmod(file_mode)
    done = install(tmp_path, "--env-file", file)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(sentence.format(file=file))
    assert not (tmp_path / "data" / "models.git").exists()


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.png").touch()
    done = install(tmp_path, tmp_path / "photos")
    assert done.stderr.startswith(f"{tmp_path}/photos is there and is no bare repository: name another one")
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["one.png"]


def test_a_python_that_is_none_is_refused(tmp_path: Path) -> None:
    done = install(tmp_path, "--python", tmp_path / "nothing")
    assert done.stderr.startswith(f"{tmp_path}/nothing is no program: --python names the Python")


def test_a_repository_that_borrows_objects_is_refused(tmp_path: Path) -> None:
    assert install(tmp_path).returncode == 0
    alternates = tmp_path / "data" / "models.git" / "objects" / "info" / "alternates"
    alternates.parent.mkdir(exist_ok=True)
    alternates.write_text("/elsewhere\n")
    assert "borrows objects of another repository" in install(tmp_path).stderr


def test_help_has_examples() -> None:
    done = subprocess.run([INSTALL, "--help"], capture_output=True, text=True, check=True)
    assert "\n  deploy/git-hooks/install /srv/models.git --env-file /etc/serving-site.env\n" in done.stdout
