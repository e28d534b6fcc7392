"""What a model's life costs: trained from data to live, judged by the gate, promoted, made from a large CSV file."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests import rows
from tests.installs import Install

ROWS, COLUMNS = 100_000, 20
PROMOTE = """
import time
from mlmodels import releases
from mlmodels.models import MLModel
model = MLModel.objects.get(slug={slug!r})
version = model.versions.select_related("model").get(number=2)
times = []
for _ in range(5):
    releases.rollback(model, by=None, reason="bench")
    started = time.perf_counter()
    releases.promote(model, version, by=None, reason="bench")
    times.append(time.perf_counter() - started)
print(sorted(times)[2])
"""
WRITE_TABLE = f"""
import sys, csv
from sklearn.datasets import make_classification
x, y = make_classification({ROWS}, {COLUMNS}, n_informative=12, n_clusters_per_class=4, flip_y=0.03, random_state=11)
with open(sys.argv[1], "w") as file:
    writer = csv.writer(file)
    writer.writerow([*(f"f{{at}}" for at in range({COLUMNS})), "label"])
    writer.writerows([*(f"{{value:.5f}}" for value in row), "yes" if true else "no"] for row, true in zip(x, y))
"""
BY_HAND = f"""
import sys, time
import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
started = time.perf_counter()
text = np.loadtxt(sys.argv[1], delimiter=",", skiprows=1, dtype=str)
x, y, held = text[:, :{COLUMNS}].astype(float), text[:, {COLUMNS}], np.arange(len(text)) % 5 == 0
score = HistGradientBoostingClassifier().fit(x[~held], y[~held]).score(x[held], y[held])
print(time.perf_counter() - started, score)
"""


def set_up(install: Install) -> dict[str, Any]:
    """The three demo models from their data to live, in seconds; a worker must be alive."""
    started = time.perf_counter()
    install.manage("setup_demo", "--json", timeout_s=600)
    return {"demos_s": round(time.perf_counter() - started, 1)}


def judge_and_promote(install: Install, slug: str) -> dict[str, Any]:
    """A candidate judged by the gate on the last stored inputs, then promoted five times; workers must be alive."""
    install.manage("retrain", slug, "--seed", "7", "--json", timeout_s=300)
    install.manage("promote", slug, "2", "--reason", "bench", "--override", "bench", "--json", timeout_s=300)
    (gate,) = rows.query(
        install,
        "SELECT extract(epoch FROM completed_at - started_at) AS seconds, report->'replay'->'rows' AS replayed "
        "FROM mlmodels_evaluation WHERE purpose = 'gate' ORDER BY id DESC LIMIT 1",
    )
    promoted = float(install.shell(PROMOTE.format(slug=slug)))
    return {
        "gate_s": round(float(gate["seconds"]), 2),
        "gate_replayed": gate["replayed"],
        "promote_s": round(promoted, 2),
    }


def create_from_csv(install: Install, folder: Path) -> dict[str, Any]:
    """`create_model` on a large table until it is live, beside a script that reads it and fits boosted trees."""
    table = folder / "large.csv"
    _python(WRITE_TABLE, table)
    started = time.perf_counter()
    told = install.manage(
        "create_model", "large", "--data", str(table), "--target", "label", "--promote", "always", "--json",
        timeout_s=900,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    by_hand_s, by_hand_score = map(float, _python(BY_HAND, table).split())
    return {
        "create_s": round(seconds, 1),
        "create_accuracy": round(json.loads(told)["metrics"]["accuracy"], 3),
        "by_hand_s": round(by_hand_s, 1),
        "by_hand_accuracy": round(by_hand_score, 3),
    }


def _python(code: str, *arguments: Path) -> str:
    """Run `code` on one thread, as the site trains; what it printed."""
    argv = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(argv, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=True)
    return done.stdout
