"""Versions delivered by a real `git push`: judged before it is accepted, live seconds later, or gone without trace."""

import hashlib
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests import levels
from tests.installs import Install
from tests.integration.pushing import Engineer, Server, SshServer, frozen, git
from tests.person import Person
from tests.processes import Process, Web, wait_until
from tests.rows import ended, query
from tests.services import PostgreSQL, RabbitMQ
from tests.session import GROUND, REPOSITORY

README = (REPOSITORY / "README.md").read_text()
SLUG = "zoo-ok"
SMALL_BYTES = 2000


@dataclass
class Site:
    """A running install with a released model, its repository, and Alice in front of it."""

    install: Install
    web: Web
    workers: list[Process]
    server: Server
    alice: Person

    def live(self) -> tuple[int, int]:
        """The number of the live release, and of its version."""
        (row,) = query(
            self.install,
            "SELECT r.number AS release, v.number AS version FROM mlmodels_mlmodel m "
            "JOIN mlmodels_release r ON r.id = m.live_release_id JOIN mlmodels_modelversion v ON v.id = r.version_id "
            "WHERE m.slug = %s",
            SLUG,
        )
        return row["release"], row["version"]

    def versions(self) -> int:
        (row,) = query(self.install, "SELECT count(*) AS n FROM mlmodels_modelversion")
        return int(row["n"])


def running(install: Install) -> Iterator[Site]:
    try:
        web, workers = install.start()
        install.shell("from tests import levels; levels.snapshot()")
        with tempfile.TemporaryDirectory(dir=GROUND.directory) as folder:
            levels.write(Path(folder))
            install.manage("import_version", folder, "--promote", "always")
        yield Site(install, web, workers, Server(install), install.log_in(web))
    finally:
        install.close()


@pytest.fixture(scope="module")
def site(rabbitmq: RabbitMQ, postgres: PostgreSQL) -> Iterator[Site]:
    yield from running(Install.distributed_on(rabbitmq, postgres))


@pytest.fixture(scope="module")
def embedded() -> Iterator[Site]:
    yield from running(Install.embedded())


@pytest.fixture(scope="module")
def ssh() -> Iterator[SshServer]:
    server = SshServer()
    yield server
    server.close()


@pytest.fixture
def erin(site: Site) -> Engineer:
    return Engineer(site.server.path)


fresh = iter(range(1, 1000))


def another_version(engineer: Engineer, subject: str = "A better one") -> str:
    """A version that was never seen before, as good as the others; returns its commit."""
    levels.write(engineer.clone, trained_at=f"2026-02-01T00:00:00.{next(fresh):06}Z")
    return engineer.commit(subject)


def assert_refused(site: Site, engineer: Engineer, *sentences: str, refspec: str = "main") -> str:
    """The push says all this, and leaves nothing but one audit event; returns the push's output."""
    before = site.server.everything()
    pushed = engineer.push(refspec)
    assert pushed.status == 1, pushed
    for sentence in sentences:
        assert sentence in pushed.text, pushed
    assert "pre-receive hook declined" in pushed.text
    assert site.server.everything() == before
    return pushed.text


def test_a_good_version_is_live_when_the_push_ends_and_answers(site: Site, erin: Engineer) -> None:
    (release, version), commit = site.live(), another_version(erin, "Better on\x1b[31m thin pens\n\nAnd more.")
    pushed = erin.push()
    assert pushed.status == 0, pushed
    assert f"zoo-ok@{version + 1} is live as release {release + 1}" in pushed.text
    assert site.live() == (release + 1, version + 1)
    row = ended(site.install, site.alice.submit(SLUG, x="1.5"))
    assert (row["status"], row["label"]) == ("succeeded", "high")
    (delivery,) = query(site.install, "SELECT * FROM mlmodels_delivery WHERE commit = %s", commit)
    assert delivery["landed_at"]
    assert delivery["done_at"]
    (kept,) = query(site.install, "SELECT reason FROM mlmodels_release WHERE id = %s", delivery["release_id"])
    assert kept["reason"] == "Better on [31m thin pens"


def test_the_first_version_of_a_new_model_is_live_at_once_on_an_embedded_site(embedded: Site) -> None:
    engineer = Engineer(embedded.server.path)
    engineer.write("poison")
    engineer.commit("The first of its kind")
    pushed = engineer.push()
    assert "zoo-poison@1 is live as release 1" in pushed.text, pushed
    assert ended(embedded.install, embedded.alice.submit("zoo-poison", x="2"))["label"] == "high"


def test_what_an_embedded_site_refuses_leaves_nothing(embedded: Site) -> None:
    engineer = Engineer(embedded.server.path)
    engineer.write("nan")
    engineer.commit()
    assert_refused(embedded, engineer, "zoo-nan@1 is refused", "Refused: nothing of this push is kept.")


def test_the_steps_of_the_readme_ship_a_version(embedded: Site, tmp_path: Path) -> None:
    (steps,) = re.findall(r"^## Ship a version by git push\n.*?^```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    install, *rest = steps.splitlines()
    assert install.startswith("deploy/git-hooks/install ")
    script = "\n".join(rest).replace("USER@HOST:PATH/data/models.git", str(embedded.server.path))
    script = script.replace(".venv/bin/python manage.py", f"{sys.executable} {REPOSITORY}/manage.py")
    environment = embedded.install.environment | Engineer(embedded.server.path).environment
    done = subprocess.run(
        ["bash", "-euc", script.replace("digits", SLUG)], cwd=tmp_path, env=environment,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, "zoo-ok@1 is live already." in done.stderr) == (0, True), done.stderr


def test_a_version_is_delivered_over_ssh_and_the_key_says_who_pushed(site: Site, ssh: SshServer) -> None:
    engineer = Engineer(ssh.url(site.server.path), **ssh.way_in("frida"))
    commit = another_version(engineer)
    release, version = site.live()
    pushed = engineer.push()
    assert f"zoo-ok@{version + 1} is live as release {release + 1}" in pushed.text, pushed
    (delivery,) = query(site.install, "SELECT pushed_by FROM mlmodels_delivery WHERE commit = %s", commit)
    assert delivery["pushed_by"].startswith("frida (as ")


def test_what_is_refused_over_ssh_leaves_nothing(site: Site, ssh: SshServer) -> None:
    engineer = Engineer(ssh.url(site.server.path), **ssh.way_in("gustav"))
    engineer.write("wrong_shape")
    engineer.commit()
    assert_refused(site, engineer, "is refused")
    assert site.server.last_refusal()["pushed_by"].startswith("gustav (as ")


def test_who_comes_by_ssh_gets_no_shell(ssh: SshServer) -> None:
    done = ssh.run("heidi", "id")
    assert (done.returncode, done.stdout) == (128, "")
    assert "fatal: unrecognized command 'id'" in done.stderr


def test_people_are_answered_while_a_push_is_judged_and_goes_live(site: Site, erin: Engineer) -> None:
    another_version(erin)
    bob, keys, is_over = site.install.log_in(site.web, "bob"), [], threading.Event()

    def ask() -> None:
        while not is_over.is_set():
            keys.append(bob.submit(SLUG, x="1"))
            time.sleep(0.05)

    asking = threading.Thread(target=ask)
    asking.start()
    pushed = erin.push()
    is_over.set()
    asking.join()
    assert pushed.status == 0, pushed
    assert len(keys) > 10
    assert {ended(site.install, key)["status"] for key in keys} == {"succeeded"}


def test_the_setting_of_a_model_leaves_what_is_pushed_as_a_candidate(site: Site, erin: Engineer) -> None:
    set_on_push(site, "candidate")
    try:
        another_version(erin)
        before, versions = site.live(), site.versions()
        pushed = erin.push()
        assert f"zoo-ok@{versions + 1} waits as a candidate. To release it: manage.py promote zoo-ok" in pushed.text
        assert (pushed.status, site.live(), site.versions()) == (0, before, versions + 1)
    finally:
        set_on_push(site, "release")


def set_on_push(site: Site, value: str) -> None:
    site.install.shell(
        f"from mlmodels.models import MLModel; MLModel.objects.filter(slug='{SLUG}').update(on_push='{value}')"
    )


def swapped(folder: Path) -> None:
    levels.write(folder, scale=-1.0)


def worse(folder: Path) -> None:
    levels.write(folder, shift=2.0)


def leaky(folder: Path) -> None:
    levels.write(folder, dataset={"rows": len(levels.ROWS), "row_hashes": levels.hashes(levels.ROWS)})


def silent(folder: Path) -> None:
    levels.write(folder, dataset={"rows": len(levels.ROWS)})


def not_a_number(folder: Path) -> None:
    """The weights alone, and what the manifest says about their bytes."""
    levels.write(folder)
    state = {"linear.weight": torch.full((2, 1), float("nan")), "linear.bias": torch.zeros(2)}
    save_file(state, folder / "weights.safetensors")
    data, path = (folder / "weights.safetensors").read_bytes(), folder / "manifest.json"
    entry = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"files": {"weights.safetensors": entry}}))


UNFIT = {
    "worse": (worse, "FAIL  accuracy"),
    "swapped classes": (swapped, "FAIL  accuracy"),
    "trained on what is held out": (leaky, "rows that are held out to judge it."),
    "says nothing of its rows": (silent, "FAIL  leak"),
    "not a number": (not_a_number, "is refused: "),
}


@pytest.mark.parametrize("name", UNFIT)
def test_an_unfit_candidate_is_refused_with_the_report_and_leaves_nothing(
    site: Site, erin: Engineer, name: str
) -> None:
    before = site.live()
    write, sentence = UNFIT[name]
    write(erin.clone)
    commit = erin.commit(name)
    text = assert_refused(site, erin, sentence, "Refused: nothing of this push is kept.")
    assert ("pass  admission" in text) == (name != "not a number"), text
    assert (site.live(), site.server.last_refusal()["commit"]) == (before, commit)


EVIL_NAMES = [
    "$(touch${IFS}x)", "`touch${IFS}x`", ";touch${IFS}x;", "-x", "--force", "main'", 'main"', "développement", "main/x"
]  # fmt: skip


def test_branches_of_other_names_are_refused_whatever_they_say(site: Site, erin: Engineer) -> None:
    another_version(erin)
    before = site.server.everything()
    pushed = erin.push(*(f"HEAD:refs/heads/{name}" for name in EVIL_NAMES))
    for name in EVIL_NAMES:
        assert f"{f'refs/heads/{name}'!a}: only refs/heads/main is accepted here." in pushed.text
    assert (pushed.status, site.server.everything()) == (1, before)
    assert not list(site.server.path.rglob("x"))


def test_a_tag_or_a_second_branch_beside_main_refuses_the_whole_push(site: Site, erin: Engineer) -> None:
    another_version(erin)
    erin.git("tag", "v1")
    before = site.server.everything()
    assert "'refs/tags/v1': only refs/heads/main is accepted here" in erin.push("main", "v1").text
    assert site.server.everything() == before


def test_main_moves_forward_only(site: Site, erin: Engineer) -> None:
    another_version(erin)
    assert erin.push().status == 0
    erin.git("commit", "--quiet", "--amend", "-m", "Another history")
    assert_refused(site, erin, "refs/heads/main only moves forward", refspec="+main")
    before = site.server.everything()
    assert erin.push(":main").status == 1
    assert site.server.everything() == before


def beside(name: str, content: str = "x") -> Callable[[Engineer], None]:
    def spoil(engineer: Engineer) -> None:
        path = engineer.clone / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)

    return spoil


def linked(engineer: Engineer) -> None:
    (engineer.clone / "weights.safetensors").unlink()
    (engineer.clone / "weights.safetensors").symlink_to("/etc/passwd")


def executable(engineer: Engineer) -> None:
    (engineer.clone / "weights.safetensors").chmod(0o755)


def pointer(engineer: Engineer) -> None:
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n"
    (engineer.clone / "weights.safetensors").write_text(text)


SPOILT: dict[str, tuple[Callable[[Engineer], None], str]] = {
    "folder": (beside("code/model.py"), "'code' is a folder: manifest.json and weights.safetensors stand at the root"),
    "pickle": (beside("model.pt"), "'model.pt': PyTorch pickles can run code when loaded and are refused"),
    "script": (beside("run.sh"), "'run.sh' does not belong here: push manifest.json and weights.safetensors"),
    "odd name": (beside("$(touch x);`id`\x1b[31m"), r"'$(touch x);`id`\x1b[31m' does not belong here"),
    "symlink": (linked, "'weights.safetensors' is a symbolic link: push the file itself."),
    "mode": (executable, "'weights.safetensors' is marked executable, and nothing executable is accepted."),
    "lfs": (pointer, "weights.safetensors is a Git LFS pointer, not the file. Push the file itself: git lfs untrack"),
    "no json": (beside("manifest.json", "{"), "manifest.json, line 1, column 2:"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_commit_that_holds_anything_else_is_refused_without_a_trace(site: Site, erin: Engineer, name: str) -> None:
    another_version(erin)
    spoil, sentence = SPOILT[name]
    spoil(erin)
    commit = erin.commit()
    assert_refused(site, erin, sentence)
    refusal = site.server.last_refusal()
    assert (refusal["target"], refusal["commit"]) == (f"push {commit[:12]}", commit)
    assert sentence in refusal["reason"]


def test_a_note_for_engineers_may_stand_beside_the_artifact(site: Site, erin: Engineer) -> None:
    beside("README.md", "What this model is for.")(erin)
    beside(".gitattributes", "*.safetensors -text\n")(erin)
    another_version(erin)
    assert erin.push().status == 0


@pytest.mark.parametrize("name", ["../evil", "..", "a/b", ".git"])
def test_a_tree_that_no_checkout_would_make_is_refused_by_git_itself(site: Site, erin: Engineer, name: str) -> None:
    """Made of raw objects, past what git would write; tests/mlmodels/test_pushes.py has the hook's own answer."""
    another_version(erin)
    blob = erin.git("rev-parse", "HEAD:manifest.json").strip()
    raw = f"100644 {name}\0".encode() + bytes.fromhex(blob)
    tree = erin.git("hash-object", "-t", "tree", "-w", "--stdin", "--literally", stdin=raw).strip()
    commit = erin.git("commit-tree", tree, "-p", "HEAD", "-m", "Evil").strip()
    before = site.server.everything()
    pushed = erin.push(f"{commit}:main")
    assert pushed.status == 1
    assert "fsck error" in pushed.text
    assert site.server.everything() == before


def test_a_submodule_is_refused(site: Site, erin: Engineer) -> None:
    head = another_version(erin)
    erin.git("update-index", "--add", "--cacheinfo", f"160000,{head},sub")
    erin.git("commit", "--quiet", "-m", "With another repository in it")
    assert_refused(site, erin, "'sub' is a submodule: push the files themselves.")


def test_a_file_that_is_too_large_is_refused_by_its_size(site: Site, tmp_path: Path) -> None:
    server = Server(site.install, tmp_path / "small.git", MAX_ARTIFACT_BYTES=str(SMALL_BYTES))
    engineer = Engineer(server.path)
    another_version(engineer)
    (engineer.clone / "weights.safetensors").write_bytes(bytes(SMALL_BYTES + 1))
    engineer.commit()
    assert "weights.safetensors has 2,001 bytes; at most 2,000 are accepted." in engineer.push().text
    git(server.path, "config", "receive.maxInputSize", "100")
    assert "pack exceeds maximum allowed size" in engineer.push().text
    assert not git(server.path, "for-each-ref")


def test_a_repository_of_known_models_makes_no_new_one(site: Site, tmp_path: Path) -> None:
    server = Server(site.install, tmp_path / "known.git", "--known-models-only")
    engineer = Engineer(server.path)
    engineer.write("ok", slug="zoo-unheard-of")
    engineer.commit()
    before = server.everything()
    assert "There is no model zoo-unheard-of here, and a push may not make one." in engineer.push().text
    assert server.everything() == before


def test_a_second_push_is_told_who_is_first_and_that_it_may_try_again(site: Site, erin: Engineer) -> None:
    paula = Engineer(site.server.path, "paula", SERVING_SITE_PUSHER="paula")
    oskar = Engineer(site.server.path, "oskar", SERVING_SITE_PUSHER="oskar")
    another_version(paula)
    another_version(oskar)
    with frozen([worker.pid for worker in site.workers]):
        end = paula.start_push()
        wait_until(lambda: bool((site.server.path / "push.lock").read_text()), 20)
        wait_until(lambda: "paula" in (site.server.path / "push.lock").read_text(), 20)
        told = oskar.push()
    assert told.status == 1
    assert "Another push is being judged since " in told.text, told
    assert " (by paula (as " in told.text
    assert "; try again when it is done." in told.text
    assert end().status == 0
    oskar.git("pull", "--quiet", "--rebase", "-X", "theirs")
    assert oskar.push().status == 0


def test_a_push_whose_hook_was_killed_works_when_it_is_repeated(site: Site, erin: Engineer) -> None:
    commit, versions = another_version(erin), site.versions()
    with frozen([worker.pid for worker in site.workers]):
        end = erin.start_push()
        wait_until(lambda: site.versions() == versions + 1, 20)
        site.server.kill_hook("pre-receive")
        assert end().status == 1
    assert commit not in git(site.server.path, "rev-list", "--all")
    pushed = erin.push()
    assert (pushed.status, site.versions()) == (0, versions + 1), pushed
    assert f"is live as release {site.live()[0]}" in pushed.text


def test_the_workers_finish_what_a_killed_post_receive_has_not_begun(site: Site, erin: Engineer) -> None:
    release, version = site.live()
    commit = another_version(erin)
    end = erin.start_push()
    site.server.kill_hook("post-receive")
    assert "is live as release" not in end().text
    assert git(site.server.path, "rev-parse", "main").strip() == commit
    wait_until(lambda: site.live() == (release + 1, version + 1), 15)


def test_the_workers_finish_a_release_in_the_middle_of_which_post_receive_was_killed(
    site: Site, erin: Engineer
) -> None:
    release, version = site.live()
    commit = another_version(erin)
    end = erin.start_push()
    wait_until(lambda: bool(site.server.hook_pids("post-receive")), 60)
    with frozen([worker.pid for worker in site.workers]):  # so that it waits until they are warm
        wait_until(lambda: bool(query(site.install, NEXT)), 20)
        site.server.kill_hook("post-receive")
    end()
    wait_until(lambda: site.live() == (release + 1, version + 1), 40)
    wait_until(lambda: not query(site.install, f"SELECT 1 FROM mlmodels_delivery WHERE {UNDONE}", commit), 10)
    assert not query(site.install, NEXT)


NEXT = "SELECT 1 FROM mlmodels_mlmodel WHERE next_version_id IS NOT NULL"
UNDONE = "done_at IS NULL AND commit = %s"


def test_the_same_commit_in_another_repository_is_the_same_delivery(site: Site, erin: Engineer, tmp_path: Path) -> None:
    another_version(erin)
    assert erin.push().status == 0
    before, versions = site.live(), site.versions()
    other = Server(site.install, tmp_path / "other.git")
    erin.git("remote", "set-url", "origin", str(other.path))
    pushed = erin.push()
    assert (pushed.status, site.live(), site.versions()) == (0, before, versions), pushed
    assert f"is live as release {before[0]}" in pushed.text


def test_without_a_worker_the_push_is_refused_with_a_sentence(site: Site, tmp_path: Path) -> None:
    server = Server(site.install, tmp_path / "patience.git", PUSH_WAIT_S="1")
    engineer = Engineer(server.path)
    another_version(engineer)
    with frozen([worker.pid for worker in site.workers]):
        before = server.everything()
        pushed = engineer.push()
        assert pushed.status == 1
        assert "No worker has answered within " in pushed.text
        assert server.everything() == before


def test_a_version_that_was_exported_is_pushed_with_three_commands(site: Site, erin: Engineer) -> None:
    another_version(erin)
    assert erin.push().status == 0
    first = (erin.clone / "manifest.json").read_bytes()
    another_version(erin)
    assert erin.push().status == 0
    _, version = site.live()
    site.install.manage("export_version", f"{SLUG}@{version - 1}", str(erin.clone), "--force")
    assert (erin.clone / "manifest.json").read_bytes() == first
    erin.commit("Back to the one before")
    pushed = erin.push()
    assert f"zoo-ok@{version - 1} is live as release" in pushed.text, pushed
