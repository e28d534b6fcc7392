"""One server with Docker, installed as deploy/compose/README.md says: what runs, what it may, and what survives."""

import json
import os
import re
import signal
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterable, Iterator

import pytest

from tests.deploy.lab.composed import NAME, SITE_SERVICES, Composed, Container, Process
from tests.deploy.lab.engine import Docker
from tests.deploy.lab.releases import Releases
from tests.deploy.lab.site import Load
from tests.person import Person
from tests.processes import wait_until

PASSWORD = "a harbour, seven gulls"
ROWS = "predictions_prediction"
DEMOS = ("breast-cancer", "diabetes-progression", "digits")
RECOVERED_S = 90
"""A lease of 30 s runs out, the sweeper frees its rows, another worker runs them; twice that on a busy machine."""


@pytest.fixture(scope="module")
def server(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    server = Composed(docker, Releases(tmp_path_factory.mktemp("compose")))
    server.install()
    server.site.await_ready()
    yield server
    server.remove()


@pytest.fixture(scope="module")
def ada(server: Composed) -> Person:
    """The first administrator, by the link that the installer has kept."""
    kept = server.configuration / "first-administrator"
    assert kept.stat().st_mode & 0o777 == 0o600
    found = re.search(rf"https://{NAME}/\S+", kept.read_text())
    assert found, kept.read_text()
    return server.site.set_password(found.group(), "admin", PASSWORD)


def test_the_demo_models_answer(server: Composed, ada: Person) -> None:
    server.site.predict(ada, "diabetes-progression")
    server.site.predict(ada, "breast-cancer")
    live = "SELECT slug FROM mlmodels_mlmodel WHERE live_release_id IS NOT NULL ORDER BY slug"
    assert server.rows(live) == [[slug] for slug in DEMOS]


def test_installing_again_changes_nothing(server: Composed) -> None:
    def everything() -> dict[str, str]:
        secrets = {path.name: path.read_text() for path in server.configuration.rglob("*") if path.is_file()}
        return {**secrets, **{one.name: one.facts["Id"] for one in server.containers()}}

    before = everything()
    server.install()
    assert everything() == before


def test_torch_is_in_the_workers_image_alone(server: Composed) -> None:
    web, worker = server.container("web"), server.container("worker")
    assert "No module named 'torch'" in web.attempt("python", "-c", "import torch").stderr
    assert worker.attempt("python", "-c", "import torch; print(torch.ones(2).sum())").stdout == "tensor(2.)\n"
    sizes = {
        one.service: server.docker.run("image", "inspect", "--format", "{{.Size}}", one.facts["Image"])
        for one in (web, worker)
    }
    assert int(sizes["web"]) < 450e6 < int(sizes["worker"]) < 1.7e9


def test_nothing_runs_as_root_but_the_proxys_first_process(server: Composed) -> None:
    for container in server.containers():
        for process in container.processes:
            if not (arguments := process.arguments):
                continue  # it has ended
            status, what = process.status, f"{container.name}: {arguments}"
            assert status["NoNewPrivs"] == "1", what
            is_proxys_first = container.service == "proxy" and "master" in arguments
            assert (status["Uid"].split()[0] == "0") == is_proxys_first, what
            if container.service in SITE_SERVICES:
                assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0, what


def test_nothing_is_written_outside_of_volumes(server: Composed) -> None:
    for container in server.containers():
        host = container.facts["HostConfig"]
        assert host["ReadonlyRootfs"], container.name
        assert not host["Privileged"], container.name
        assert host["Memory"] > 0, container.name
        assert host["LogConfig"]["Config"]["max-size"] == "10m", container.name
        for place in ("/here", "/srv/here", "/etc/here"):
            refused = container.attempt("sh", "-c", f"echo here > {place}", user="0")
            assert "Read-only file system" in refused.stderr, container.name
        assert container.attempt("sh", "-c", "echo here > /tmp/here && rm /tmp/here").returncode == 0, container.name


def test_secrets_are_seen_in_no_image_inspection_log_or_argument(server: Composed) -> None:
    secrets = server.secrets()
    assert all(len(value) >= 40 for value in secrets.values())
    docker, containers = server.docker, server.containers()
    images = {one.facts["Image"] for one in containers}
    seen = {
        "inspect": json.dumps([one.facts for one in containers]) + docker.run("image", "inspect", *images),
        "history": "".join(docker.run("history", "--no-trunc", image) for image in images),
        "arguments": " ".join(process.arguments for one in containers for process in one.processes),
        "configuration": server.compose("config") + (server.folder / ".env").read_text(),
        "logs": server.compose("logs", "--no-color"),
    }
    for place, text in seen.items():
        assert len(text) > 500, place
        assert [name for name, value in secrets.items() if value in text] == [], place
    for service in ("web", "worker"):
        image = server.container(service).facts["Image"]
        grep = ("grep", "-rlF", "--file=-", "/srv", "/etc", "/opt/venv/bin", "/var", "/root", "/home", "/tmp")
        once = ("run", "--rm", "--interactive", "--network=none", "--user=0", "--entrypoint=", image)
        found = docker.attempt(*once, *grep, stdin="\n".join(secrets.values()))
        assert (found.returncode, found.stdout) == (1, ""), found
    modes = {path.name: path.stat().st_mode & 0o777 for path in (server.configuration / "secrets").iterdir()}
    assert (server.configuration / "secrets").stat().st_mode & 0o777 == 0o700
    # A salted hash for whatever user the broker's image has.
    assert modes.pop("rabbitmq_definitions.json") == 0o644
    assert set(modes.values()) == {0o600}


def test_only_the_proxy_is_reached_and_workers_reach_nothing_outside(server: Composed) -> None:
    published = {one.service for one in server.containers() if one.facts["HostConfig"]["PortBindings"]}
    assert published == {"proxy"}
    outside = (
        "import socket, sys\n"
        f"try: socket.create_connection(({server.docker.lab.gateway!r}, 3142), 3)\n"
        "except OSError as error: sys.exit(str(error))"
    )
    for service in ("worker", "train"):
        assert server.container(service).attempt("python", "-c", outside).returncode == 1, service
    assert server.container("web").attempt("python", "-c", outside).returncode == 0, "it sends mail"
    reached = {
        name for one in server.containers("rabbitmq", "postgres") for name in one.facts["NetworkSettings"]["Networks"]
    }
    assert json.loads(server.docker.run("network", "inspect", *reached))[0]["Internal"]
    assert len(reached) == 1


def test_the_proxy_leads_to_https_and_keeps_what_is_internal(server: Composed) -> None:
    assert fetch(server, f"http://{NAME}/models/x") == (301, f"https://{NAME}/models/x")
    for path in ("/metrics", "/internal/files/artifacts/0123456789abcdef", "/protected/uploads/ab/abcdef"):
        assert fetch(server, f"https://{NAME}{path}")[0] == 404, path
    assert fetch(server, "https://elsewhere.example.org/")[0] == 400


def test_the_broker_and_the_database_know_the_site_alone(server: Composed) -> None:
    ctl = ("exec", "-T", "rabbitmq", "rabbitmqctl", "--quiet")
    assert server.compose(*ctl, "list_users", "--no-table-headers").split() == ["serving-site", "[]"]
    assert server.compose(*ctl, "list_vhosts", "--no-table-headers").split() == ["serving-site"]
    roles = "SELECT rolname, rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolcanlogin ORDER BY rolname"
    assert server.rows(roles) == [["postgres", "t", "t", "t"], ["serving-site", "f", "f", "f"]]
    assert server.rows("SELECT rolpassword IS NULL FROM pg_authid WHERE rolname = 'postgres'") == [["t"]]
    assert server.rows("SHOW idle_in_transaction_session_timeout") == [["10min"]]
    assert "{consumer_timeout,900000}" in server.compose(*ctl, "environment")
    # Seven tenths of its container's memory, not of the machine's.
    assert '"vm_memory_high_watermark_limit":358400000' in server.compose(*ctl, "status", "--formatter", "json")


def test_models_run_in_the_sandbox_at_its_base_level(server: Composed, ada: Person) -> None:
    server.site.predict(ada)
    levels = [level for (level,) in server.rows("SELECT DISTINCT info ->> 'sandbox' FROM jobs_worker")]
    assert set(levels) - {"not started"} <= {"base", "base+namespaces"}, levels
    assert set(levels) != {"not started"}


def test_three_workers_share_the_work(server: Composed, ada: Person) -> None:
    server.compose("up", "--detach", "--wait", "--scale", "worker=3")
    workers = server.containers("worker")
    assert len(workers) == 3
    loaded = "SELECT count(*) FROM jobs_worker WHERE queues ? 'infer.v1' AND jsonb_array_length(info -> 'loaded') = 3"
    wait_until(lambda: server.rows(loaded) == [["3"]], 60, "every worker has loaded every model")

    def woken() -> list[int]:
        return [sum(model.woken for model in models_of(worker)) for worker in workers]

    with Load(server.site, [ada], rate=8) as load:
        before = woken()
        wait_until(lambda: all(now > then + 5 for now, then in zip(woken(), before, strict=True)), 60, str(before))
    assert load.failures == []
    assert load.outcomes() == {"succeeded": len(load.accepted)}
    after = woken()
    time.sleep(1)
    assert woken() == after, "models that have nothing to do sleep, so the figures above are work"


def test_a_killed_workers_rows_finish_elsewhere(server: Composed, ada: Person) -> None:
    """Killed from outside of Docker, as a machine does that runs out of memory, while its model holds rows."""
    victim = server.containers("worker")[1]
    for model in models_of(victim):
        os.kill(model.pid, signal.SIGSTOP)
    keys: list[uuid.UUID] = []
    stuck = f"SELECT count(*) FROM {ROWS} WHERE status = 'running' AND started_at < now() - interval '1.5 seconds'"

    def holds_some() -> bool:
        keys.append(server.site.submit(ada))
        return server.rows(stuck) != [["0"]]

    wait_until(holds_some, 60, "the worker whose model stands still has claimed a row")
    os.kill(victim.process("runworker").pid, signal.SIGKILL)
    assert {server.site.await_outcome(ada, key, RECOVERED_S) for key in keys} == {"succeeded"}
    again = f"SELECT count(*) FROM {ROWS} WHERE id IN ({listed(keys)}) AND attempts > 1"
    assert server.rows(again) != [["0"]]
    wait_until(lambda: is_back(server, victim), 60, "the worker is started again")


def test_scaling_down_drains(server: Composed, ada: Person) -> None:
    server.compose("up", "--detach", "--wait", "--scale", "worker=5")
    assert len(server.containers("worker")) == 5
    began = int(time.time())
    with Load(server.site, [ada, ada], rate=16) as load:
        wait_until(lambda: len(load.accepted) > 10, 60)
        server.compose("up", "--detach", "--scale", "worker=1")
    assert len(server.containers("worker")) == 1
    assert load.failures == []
    assert load.outcomes() == {"succeeded": len(load.accepted)}
    # Each ran once: what a worker held it finished, and nothing had to be found again.
    attempts = f"SELECT DISTINCT attempts, lost FROM {ROWS} WHERE id IN ({listed(load.accepted)})"
    assert server.rows(attempts) == [["1", "0"]]
    of_workers = ("--filter", "event=die", "--filter", "label=com.docker.compose.service=worker")
    ended = ("events", "--since", str(began), "--until", str(int(time.time()) + 1), *of_workers)
    assert server.docker.run(*ended, "--format", "{{.Actor.Attributes.exitCode}}").split() == ["0"] * 4


def test_health_asks_for_a_worker(server: Composed) -> None:
    server.compose("stop", "worker", "train")
    wait_until(lambda: server.site.ready()[0] == 503, 30, lambda: str(server.site.ready()))
    assert "no worker" in server.site.ready()[1]["behind"]["workers"]
    assert server.site.ready("/readyz")[0] == 200
    wait_until(lambda: server.container("proxy").facts["State"]["Health"]["Status"] == "unhealthy", 90)
    server.compose("up", "--detach", "--wait")
    server.site.await_ready()


def test_a_backup_brings_back_what_was_there(server: Composed, ada: Person) -> None:
    kept = server.site.predict(ada)
    backup = ("exec", "-T", "web", "python", "manage.py", "backup", "--keep", "14", "--json")
    made = json.loads(server.compose(*backup))["path"]
    lost = server.site.predict(ada)
    server.compose("stop", "web", "worker", "train")
    restore = ("run", "--rm", "--no-deps", "-T", "web", "python", "manage.py", "restore")
    server.compose(*restore, made, "--replace")
    server.compose("up", "--detach", "--wait")
    server.site.await_ready()
    assert server.site.status(ada.log_in(), kept) == "succeeded"
    assert server.site.status(ada, lost) == ""
    server.site.predict(ada)


def test_an_update_is_live_and_is_taken_back(server: Composed) -> None:
    releases, page = server.releases, "serving_site/templates/base.html"
    first, mark = releases.head, "<!-- another release -->"
    releases.commit({page: releases.read(page).replace("</body>", f"{mark}</body>")}, "Mark every page")
    server.install()
    assert mark in login_page(server)
    releases.back_to(first)
    server.install()
    assert mark not in login_page(server)


def test_the_files_for_gpus_and_monitoring_fit(server: Composed) -> None:
    worker = json.loads(server.compose(*files("gpu"), "config", "--format", "json"))["services"]["worker"]
    assert worker["build"]["args"]["TORCH_INDEX"] == ""
    assert worker["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    watched = json.loads(server.compose(*files("monitoring"), "config", "--format", "json"))["services"]
    assert watched["web"]["environment"]["METRICS"] == "true"
    opened = [port.get("host_ip") for port in watched["proxy"]["ports"] if port["target"] == 9090]
    assert opened == ["127.0.0.1"]


def files(name: str) -> list[str]:
    return ["--file", "compose.yaml", "--file", f"{name}.yaml"]


def models_of(worker: Container) -> list[Process]:
    """The processes that hold a loaded model."""
    return list(worker.process("mlmodels.executor").below())


def is_back(server: Composed, victim: Container) -> bool:
    now = next(one for one in server.containers("worker") if one.name == victim.name).facts
    return bool(now["RestartCount"] == 1 and now["State"]["Health"]["Status"] == "healthy")


def listed(keys: Iterable[uuid.UUID]) -> str:
    return ", ".join(f"'{key}'" for key in keys)


def login_page(server: Composed) -> str:
    return server.site.person("nobody", "").get("/accounts/login/").text


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: object) -> None:
        return None


def fetch(server: Composed, url: str) -> tuple[int, str]:
    """The status, and where it leads."""
    opener = urllib.request.build_opener(_Stay(), *server.site.handlers())
    try:
        with opener.open(url, timeout=20) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers.get("Location", "")
