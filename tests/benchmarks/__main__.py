"""`make bench`: what the site costs on RabbitMQ + PostgreSQL on this machine, beside a named baseline of the same run.

Prints a Markdown table; `--json FILE` writes the same numbers. Medians; machines are shared and noisy, so compare the
ratios. About four minutes.
"""

import argparse
import json
import platform
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from mlmodels import signature
from tests import rows
from tests.benchmarks import browsing, life
from tests.installs import Install
from tests.processes import Process, Web, wait_until
from tests.services import PostgreSQL, RabbitMQ
from tests.session import GROUND

SLUG = "breast-cancer"
QUEUE_MANY = """
from mlmodels.models import MLModel
from predictions import dispatch
from serving_site.accounts.models import User
from mlmodels import signature
model = MLModel.objects.select_related("live_release__version").get(slug={slug!r})
user = User.objects.get(username="bob")
row = signature.examples(model.live_version.signature)[0].input
for _ in range({count}):
    dispatch.submit(user, model, [row])
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args()
    install = Install.distributed_on(RabbitMQ(GROUND), PostgreSQL(GROUND), PREDICTION_DEADLINE_S="20")
    try:
        figures = measure(install)
    finally:
        install.close()
        GROUND.close()
    print(table(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))
    return 0


def measure(install: Install) -> dict[str, Any]:
    """Every figure of one run, by name."""
    figures = {"machine": f"{platform.machine()}, Linux {platform.release()}", "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    example, trained = prepare(install)
    figures |= trained
    web, (worker,) = install.start()
    say("one person, one input at a time")
    figures |= one_person(install, web, example)
    worker.stop()
    say("2,000 queued, one worker process")
    figures |= drain(install, 2_000, example)
    figures |= a_models_life(install)
    say("50 submits a second with 10,000 queued")
    figures |= submits_while_queued(install, web, example)
    figures |= web_process(web)
    return figures


def prepare(install: Install) -> tuple[dict[str, str], dict[str, Any]]:
    """The demo models live; the first example of the one that is measured, as form fields, and what that took."""
    say("training the three demo models")
    worker = install.worker(wait_for="worker_started")
    figures = life.set_up(install)
    worker.stop()
    with tempfile.TemporaryDirectory(dir=GROUND.directory) as folder:
        install.manage("export_version", SLUG, folder)
        manifest = json.loads((Path(folder) / "manifest.json").read_text())
    first = signature.examples(manifest["signature"])[0].input
    return {name: str(value) for name, value in first.items()}, figures


def one_person(install: Install, web: Web, example: dict[str, str], count: int = 200) -> dict[str, Any]:
    """From the click to the stored result, beside a page that does nothing, in milliseconds."""
    browser = browsing.Browser(web.url, install.log_in(web, "alice"))
    with psycopg.connect(install.environment["DATABASE_URL"], autocommit=True) as listening:
        listening.execute("LISTEN jobs_finished")
        for _ in range(20):
            stored(browser, listening, example)
        results = [stored(browser, listening, example) for _ in range(count)]
    nothing = [timed(lambda: browser.get("/livez")) for _ in range(count)]
    return {
        "submit_to_result_ms": round(statistics.median(results), 2),
        "empty_page_ms": round(statistics.median(nothing), 2),
    }


def stored(browser: browsing.Browser, listening: psycopg.Connection[Any], example: dict[str, str]) -> float:
    """Milliseconds until the answer to the click has come and its result is committed."""
    started = time.perf_counter()
    browser.submit(SLUG, example)
    next(iter(listening.notifies(timeout=20, stop_after=1)))
    return (time.perf_counter() - started) * 1000


def drain(install: Install, count: int, example: dict[str, str]) -> dict[str, Any]:
    """Queued rows completed per second by one worker process, beside the bare model in a loop."""
    worker = install.worker(wait_for="version_loaded")
    worker.signal(signal.SIGSTOP)  # so that what is measured is work, not the start of a process that imports torch
    install.shell(QUEUE_MANY.format(slug=SLUG, count=count))
    worker.signal(signal.SIGCONT)
    wait_until(lambda: rows.unfinished(install) == 0, 120, "2,000 rows drained")
    worker.stop()
    (row,) = rows.query(
        install,
        "SELECT extract(epoch FROM max(completed_at) - min(started_at)) AS seconds FROM "
        "(SELECT completed_at, started_at FROM predictions_prediction ORDER BY id DESC LIMIT %s) AS last",
        count,
    )
    return {
        "drained_per_s": round(count / float(row["seconds"])),
        "bare_model_per_s": round(browsing.bare_model(SLUG, example)),
    }


def a_models_life(install: Install) -> dict[str, Any]:
    """Gate, promotion and a large table, with two workers alive."""
    workers = [install.worker(wait_for="version_loaded") for _ in range(2)]
    say("the gate on 1,000 stored inputs, and promoting")
    figures = life.judge_and_promote(install, SLUG)
    say("a model from a CSV file of 100,000 rows")
    with tempfile.TemporaryDirectory(dir=GROUND.directory) as folder:
        figures |= life.create_from_csv(install, Path(folder))
    for worker in workers:
        worker.stop()
    return figures


def submits_while_queued(install: Install, web: Web, example: dict[str, str]) -> dict[str, Any]:
    """p95 of the click's answer at 50 a second, with and without 10,000 rows queued and no worker, in milliseconds."""
    people = [install.log_in(web, name) for name in ("alice", "bob", "carol")]
    empty = browsing.paced(web.url, people, SLUG, example, per_s=50, seconds=5)
    install.shell(QUEUE_MANY.format(slug=SLUG, count=10_000))
    queued = browsing.paced(web.url, people, SLUG, example, per_s=50, seconds=8)
    return {"submit_p95_ms": round(p95(empty), 1), "submit_p95_10000_queued_ms": round(p95(queued), 1)}


def web_process(web: Process) -> dict[str, Any]:
    """Resident memory of the web process's tree in MB; stops when it holds torch."""
    total = 0
    for pid in [web.pid, *web.children()]:
        folder = Path(f"/proc/{pid}")
        if "libtorch" in (folder / "maps").read_text():
            raise AssertionError("the web process has loaded torch")
        total += sum(
            int(line.split()[1]) for line in (folder / "smaps_rollup").read_text().splitlines() if "Pss:" in line
        )
    return {"web_pss_mb": round(total / 1024)}


def p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def table(figures: dict[str, Any]) -> str:
    """One Markdown table: measured, budget, and the ratio to the baseline of the same run."""
    click, page = figures["submit_to_result_ms"], figures["empty_page_ms"]
    drained, bare = figures["drained_per_s"], figures["bare_model_per_s"]
    queued, empty = figures["submit_p95_10000_queued_ms"], figures["submit_p95_ms"]
    lines = [
        ("submit to stored result, one person, median", f"{click} ms", "15 ms", f"{click / page:.1f} empty pages"),
        ("2,000 queued, one worker process", f"{drained:,} /s", "1,000 /s", f"{drained / bare:.2f} of the bare model"),
        ("submit, 50 a second, 10,000 queued, p95", f"{queued} ms", "50 ms", f"{queued / empty:.1f} of none queued"),
        ("web process, memory, without torch", f"{figures['web_pss_mb']} MB", "150 MB", "-"),
        *life_lines(figures),
    ]
    head = [f"{figures['date']}, {figures['machine']}, 2 cores shared with both servers", ""]
    head += ["| what | measured | budget | beside |", "|---|---|---|---|"]
    return "\n".join(head + [f"| {' | '.join(line)} |" for line in lines])


def life_lines(figures: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    created, by_hand = figures["create_s"], figures["by_hand_s"]
    scores = f"accuracy {figures['create_accuracy']} for {figures['by_hand_accuracy']}"
    replayed = f"{figures['gate_replayed']:,} replayed"
    return [
        ("the three demo models, from their data to live", f"{figures['demos_s']} s", "60 s", "-"),
        ("a gate with 1,000 stored inputs", f"{figures['gate_s']} s", "10 s", replayed),
        ("promote to live, two workers warm", f"{figures['promote_s']} s", "2 s", "-"),
        (
            "`create_model`, 100,000 rows of 20 columns, to live",
            f"{created} s",
            "180 s",
            f"{created / by_hand:.1f} of boosted trees by hand, {scores}",
        ),
    ]


def say(text: str) -> None:
    print(f"… {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
