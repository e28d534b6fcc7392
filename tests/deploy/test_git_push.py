"""Code and models pushed from a development host: live when the push ends, or refused with the old version serving."""

import contextlib
import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.lab.cluster import Cluster
from tests.deploy.lab.hosts import Host
from tests.deploy.lab.releases import Releases
from tests.deploy.lab.site import Load
from tests.processes import wait_until

PUSH_S = 300
PAGE = "serving_site/templates/base.html"
WSGI = "serving_site/wsgi.py"
NOBODY = "git -c user.name=Tester -c user.email=tester@example.org"
REPOSITORY = "runuser -u deploy -- git -C /srv/serving-site/code.git"
MIGRATION = """\
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("mlmodels", "{latest}")]
    operations = [{operation}]
"""


UNDO_MIGRATION = """
ALTER TABLE mlmodels_mlmodel DROP COLUMN IF EXISTS mood;
DELETE FROM django_migrations WHERE name = '9998_adds';
"""


class Engineer:
    """Commits in a clone beside the tests, and pushes them from the development host."""

    def __init__(self, cluster: Cluster, releases: Releases) -> None:
        self.cluster, self.releases = cluster, releases
        self.host, self.production = cluster.development, cluster.production
        self.fetch()

    def fetch(self, clone: str = "/root/code") -> None:
        """Bring the newest commit to a clone on the development host."""
        bundle = self.releases.clone.parent / "bundle"
        self.releases.git("bundle", "create", "--quiet", str(bundle), "main")
        self.host.put(bundle, "/root/bundle")
        self.host.run(f"cd {clone} && git fetch --quiet /root/bundle main && git checkout --quiet -B main FETCH_HEAD")

    def push(self, what: str = "main", clone: str = "/root/code") -> subprocess.CompletedProcess[str]:
        """Push, as a person would; what git and the hook say is in `stdout`."""
        return self.host.attempt(f"cd {clone} && git push production {what} 2>&1", timeout_s=PUSH_S)

    def push_commit(self, changes: dict[str, str | None], message: str) -> subprocess.CompletedProcess[str]:
        self.releases.commit(changes, message)
        self.fetch()
        return self.push()

    def take_back(self) -> None:
        """Forget the newest commit, which was refused."""
        self.releases.back_to("HEAD~1")

    def with_line(self, name: str, line: str) -> dict[str, str | None]:
        return {name: f"{self.releases.read(name)}{line}\n"}

    @property
    def main(self) -> str:
        """The commit that the repository on production has."""
        return self.production.run(f"{REPOSITORY} rev-parse main || true").strip()

    def migration(self, name: str, operation: str) -> dict[str, str | None]:
        """A migration of mlmodels after the last one."""
        folder = self.releases.clone / "mlmodels" / "migrations"
        latest = max(path.stem for path in folder.glob("0*.py"))
        text = MIGRATION.format(latest=latest, operation=operation)
        return {f"mlmodels/migrations/{name}.py": text}


@pytest.fixture(scope="module")
def engineer(cluster: Cluster) -> Iterator[Engineer]:
    """Somebody whose clone and production hold the checkout's HEAD."""
    with tempfile.TemporaryDirectory() as folder:
        engineer = Engineer(cluster, Releases(Path(folder)))
        first = engineer.push()
        assert first.returncode == 0, first.stdout
        try:
            yield engineer
        finally:
            cluster.rows(UNDO_MIGRATION)


def live(host: Host) -> str:
    """The release that serves alone, to which `current` and the proxy lead."""
    status = json.loads(host.run("serving-site status --json"))
    release = str(status["current"])
    assert release in host.run("cat /etc/nginx/serving-site/upstream.conf")
    assert {name.partition("@")[2] for name in status["units"]} == {f"{release}.service"}, status
    assert set(status["units"].values()) == {"active"}, status
    assert status["health"] == "ok"
    return release


def at_rest(host: Host) -> bool:
    """Whether no push is being worked on."""
    running = host.run("systemctl list-units --plain --no-legend 'serving-site-push@*'; pgrep -u deploy || true")
    return running.strip() == ""


@contextlib.contextmanager
def nobody_notices(cluster: Cluster) -> Iterator[None]:
    """People open pages, submit and poll all the time, and none of them sees a failure."""
    with Load(cluster.site, [cluster.person(), cluster.person()], rate=6) as load:
        yield
    assert load.failures == []
    assert load.requests > 10
    assert set(load.outcomes()) == {"succeeded"}


def test_who_pushes_code_has_git_and_nothing_else(engineer: Engineer) -> None:
    said = engineer.host.attempt("ssh deploy@production id")
    assert (said.returncode, "unrecognized command" in said.stderr) == (128, True), said
    assert "Interactive git shell is not enabled" in engineer.host.attempt("ssh deploy@production").stderr
    there = engineer.production
    for forbidden in (
        "cat /etc/serving-site/site.env",
        "ls /etc/serving-site/secrets",
        "ls /var/lib/serving-site",
        "touch /srv/serving-site/code.git/hooks/post-receive",
        "touch /srv/serving-site/releases/x",
        "psql --no-psqlrc --command 'select 1' postgres",
        "systemctl stop nginx",
    ):
        assert there.attempt(f"cd / && runuser -u deploy -- {forbidden}").returncode != 0, forbidden
    assert there.run("id -Gn deploy").split() == ["deploy"]


def test_what_is_pushed_is_built_by_somebody_who_owns_nothing_that_runs(engineer: Engineer) -> None:
    release = f"/srv/serving-site/releases/{live(engineer.production)}"
    writable = "-writable ! -type l -print -quit"
    for user in ("serving-site", "serving-site-build", "deploy"):
        found = engineer.production.run(f"cd / && runuser -u {user} -- find {release}/ {release}/.venv/ {writable}")
        assert found == "", user


def test_good_code_is_live_when_the_push_ends(engineer: Engineer, cluster: Cluster) -> None:
    with nobody_notices(cluster):
        done = engineer.push_commit(engineer.with_line(PAGE, "<!-- pushed -->"), "Mark every page")
        assert done.returncode == 0, done.stdout
        assert "<!-- pushed -->" in cluster.site.person("", "").get("/accounts/login/").text
    assert f"Live: {engineer.releases.head[:12]}" in done.stdout
    assert live(engineer.production) == engineer.releases.head[:12]
    assert engineer.main == engineer.releases.head


def test_broken_code_is_refused_and_leaves_a_database_that_old_code_lives_with(
    engineer: Engineer, cluster: Cluster
) -> None:
    """It has a migration, and fails only when it is started: the migration stays, and the next push knows it not."""
    before, main = live(engineer.production), engineer.main
    operation = 'migrations.AddField("MLModel", "mood", models.CharField(max_length=9, null=True))'
    changes = engineer.migration("9998_adds", operation) | engineer.with_line(
        WSGI, "raise RuntimeError('broken on purpose')"
    )
    changes |= {"mlmodels/models.py": with_field(engineer.releases.read("mlmodels/models.py"))}
    with nobody_notices(cluster):
        done = engineer.push_commit(changes, "Break it")
    assert done.returncode == 1
    assert "broken on purpose" in done.stdout
    assert f"Rolled back: {before} has been running all the time." in done.stdout
    assert (live(engineer.production), engineer.main) == (before, main)
    assert cluster.rows("SELECT app FROM django_migrations WHERE name = '9998_adds'") == [["mlmodels"]]
    engineer.take_back()


def with_field(models: str) -> str:
    """The text of mlmodels/models.py with one more field in the class MLModel."""
    before, head, after = models.partition("class MLModel(")
    line, docstring_end, rest = after.partition('"""\n')
    return f"{before}{head}{line}{docstring_end}    mood = models.CharField(max_length=9, null=True)\n{rest}"


def test_a_migration_that_running_code_cannot_live_with_is_refused_before_anything_starts(
    engineer: Engineer, cluster: Cluster
) -> None:
    before = live(engineer.production)
    operation = 'migrations.RunSQL("ALTER TABLE mlmodels_mlmodel DROP COLUMN title")'
    changes = engineer.migration("9999_drops", operation)
    done = engineer.push_commit(changes, "Drop what is still read")
    assert done.returncode == 1
    assert "Running code cannot live with these changes of the database" in done.stdout
    assert "mlmodels.9999_drops" in done.stdout
    assert live(engineer.production) == before
    assert cluster.rows("SELECT count(title) > 0 FROM mlmodels_mlmodel") == [["t"]]
    engineer.take_back()


EVIL = (
    "main:refs/heads/'$(touch${IFS}/tmp/evil)'",
    "main:refs/heads/'`touch${IFS}/tmp/evil`;main'",
    "main:refs/heads/--upload-pack=touch",
    "main:refs/heads/släsh/メイン",
    "main:refs/tags/v1",
    "main:refs/heads/main main:refs/heads/other",
    ":main",
    "+main~1:main",
    f"+$({NOBODY} commit-tree -m 'of nobody' main^{{tree}}):main",
)


def test_anything_but_main_moving_forward_is_refused(engineer: Engineer) -> None:
    there, before, main = engineer.production, live(engineer.production), engineer.main
    engineer.fetch()
    for what in EVIL:
        done = engineer.push(what)
        assert (done.returncode, "[remote rejected]" in done.stdout) == (1, True), f"{what}: {done.stdout}"
    assert (live(there), engineer.main) == (before, main)
    assert there.run(f"{REPOSITORY} for-each-ref --format='%(refname)'") == "refs/heads/main\n"
    assert there.run("find /tmp /srv/serving-site/code.git -name evil") == ""


def test_a_push_whose_hook_is_killed_is_refused_and_may_be_repeated(engineer: Engineer, cluster: Cluster) -> None:
    """Killed while it is built; then pushed again, beside a push of somebody else that is told to wait."""
    there, before, main = engineer.production, live(engineer.production), engineer.main
    engineer.releases.commit(engineer.with_line(PAGE, "<!-- pushed again -->"), "Mark it again")
    engineer.fetch()
    with nobody_notices(cluster):
        with in_the_background(engineer) as push:
            await_unit(there, "serving-site-push@*")
            there.run("pkill -KILL -u deploy -f pre-receive")
        assert push[0].returncode == 1, push[0].stdout
        wait_until(lambda: at_rest(there), 120, "the program sees that nobody waits")
        assert (live(there), engineer.main) == (before, main)
        with in_the_background(engineer) as push:
            await_unit(there, "serving-site-push@*")
            second = engineer.push()
        assert push[0].returncode == 0, push[0].stdout
        assert second.returncode == 1
        assert "Another push is being tried" in second.stdout
    assert live(there) == engineer.releases.head[:12]
    assert engineer.main == engineer.releases.head


def test_a_change_that_is_killed_in_the_middle_is_undone(engineer: Engineer, cluster: Cluster) -> None:
    there, before, main = engineer.production, live(engineer.production), engineer.main
    engineer.releases.commit(engineer.with_line(PAGE, "<!-- killed -->"), "Mark it a third time")
    engineer.fetch()
    with nobody_notices(cluster):
        with in_the_background(engineer) as push:
            await_unit(there, f"serving-site-web@{engineer.releases.head[:12]}*")
            there.run("pkill -KILL -f '[s]erving-site receive'")
        assert push[0].returncode == 1, push[0].stdout
        wait_until(lambda: at_rest(there), 120, "what was killed is undone")
        assert (live(there), engineer.main) == (before, main)
    engineer.take_back()


def test_after_a_cut_connection_the_repository_and_the_site_agree(engineer: Engineer) -> None:
    """Git on production sees the cut when it says something: the push is undone, or accepted as a whole."""
    there, before = engineer.production, live(engineer.production)
    engineer.releases.commit(engineer.with_line(PAGE, "<!-- cut off -->"), "Mark it a fourth time")
    engineer.fetch()
    with in_the_background(engineer) as push:
        await_unit(there, "serving-site-push@*")
        engineer.host.run("pkill -KILL --exact ssh")
    assert push[0].returncode != 0
    wait_until(lambda: at_rest(there), 120, "the push has come to an end")
    assert live(there) == engineer.main[:12]
    assert live(there) in (before, engineer.releases.head[:12])
    if live(there) == before:
        engineer.take_back()


def test_on_a_full_disk_the_push_says_so(engineer: Engineer, cluster: Cluster) -> None:
    """The site's folder lies on a small disk for a while, with all that it holds, and that is filled."""
    there, before, main = engineer.production, live(engineer.production), engineer.main
    home, small = "/srv/serving-site", "/mnt/small"
    size = int(there.run(f"du --summarize --block-size=1M {home}").split()[0]) + 50
    there.run(f"mkdir -p {small} && mount -t tmpfs -o size={size}M,mode=755 tmpfs {small} && cp -a {home}/. {small}")
    there.run(f"mount --bind {small} {home}")
    try:
        there.run(f"head -c 1G /dev/zero > {home}/filler || true; truncate -s -300K {home}/filler")
        with nobody_notices(cluster):
            done = engineer.push_commit(engineer.with_line(PAGE, "<!-- too much -->"), "One more")
        assert done.returncode == 1
        assert "The disk is too full to build" in done.stdout
        assert (live(there), engineer.main) == (before, main)
    finally:
        there.run(f"umount --lazy {home} {small}")
        engineer.take_back()


def test_a_model_pushed_from_the_development_host_is_live(engineer: Engineer, cluster: Cluster) -> None:
    """One that production does not know yet, in the files of one that it knows."""
    host = engineer.host
    host.run("install -d -o serving-site -g serving-site /tmp/exported")
    host.run("serving-site manage export_version breast-cancer /tmp/exported/model --force")
    host.run("cp /tmp/exported/model/* /root/models/")
    host.run("""sed -i 's/"slug": "breast-cancer"/"slug": "tumours"/' /root/models/manifest.json""")
    host.run(f"cd /root/models && git checkout --quiet -B main && git add . && {NOBODY} commit --quiet -m 'By hand'")
    done = host.attempt("cd /root/models && git push production main 2>&1", timeout_s=PUSH_S)
    assert done.returncode == 0, done.stdout
    assert "pass  admission" in done.stdout
    assert "tumours@1 is live as release 1" in done.stdout
    cluster.site.predict(cluster.person(), "tumours")
    ((pushed_by,),) = cluster.rows("SELECT pushed_by FROM mlmodels_delivery d ORDER BY d.id DESC LIMIT 1")
    assert host.name in pushed_by


@contextlib.contextmanager
def in_the_background(engineer: Engineer) -> Iterator[list[subprocess.CompletedProcess[str]]]:
    """A push that goes on while the block runs; its end is in the list afterwards."""
    ended: list[subprocess.CompletedProcess[str]] = []
    thread = threading.Thread(target=lambda: ended.append(engineer.push()))
    thread.start()
    try:
        yield ended
    finally:
        thread.join()


def await_unit(host: Host, pattern: str) -> None:
    """Wait until a unit of this name is there, and a little longer."""
    shown = f"systemctl list-units --plain --no-legend '{pattern}'"
    wait_until(lambda: host.run(shown).strip() != "", 120, f"{pattern} starts")
    time.sleep(1)
