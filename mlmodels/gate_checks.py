"""The single checks of the gate: each looks at facts and says in one sentence what was found and what was expected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mlmodels import measures, signature_change
from mlmodels.models import ModelVersion, State

NOISE = 1e-5
"""Measured figures have six digits."""
LOG_LOSS_SLACK = 0.05
"""Of a log loss near nothing, a multiple is still nothing."""
NAMES = {"accuracy": "Accuracy", "balanced_accuracy": "Balanced accuracy", "log_loss": "The log loss", "r2": "R²",
         "mae": "The mean absolute error", "rmse": "The root mean square error"}  # fmt: skip


@dataclass(frozen=True)
class Check:
    name: str
    passed: bool
    found: str
    expected: str
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def good(name: str, found: str, expected: str, sentence: str) -> Check:
    return Check(name, passed=True, found=found, expected=expected, sentence=sentence)


def bad(name: str, found: str, expected: str, sentence: str) -> Check:
    return Check(name, passed=False, found=found, expected=expected, sentence=sentence)


def admission(version: ModelVersion) -> Check:
    expected = "loads completely, finite weights, golden answers reproduced"
    if version.state == State.HEALTHY:
        said = "It loads completely, its weights are finite and it reproduces its golden answers."
        return good("admission", version.state, expected, said)
    because = f": {version.state_reason}" if version.state_reason else "."
    return bad("admission", version.state, expected, f"{version} is {version.state}{because}")


def same_signature(version: ModelVersion, live: ModelVersion | None) -> Check:
    expected = "everything that fits the live version fits this one"
    if live is None:
        return good("signature", "first version", expected, "Nothing is live yet that it would have to fit.")
    broken = signature_change.breaks(version.signature, live.signature)
    if not broken:
        return good("signature", "compatible", expected, f"Everything that fits {live} fits it too.")
    more = f" ({len(broken) - 1} more)" if len(broken) > 1 else ""
    return bad("signature", broken[0], expected, f"Not compatible with {live}: {broken[0]}{more}")


def leak(trained_on: Collection[str] | None, held_out: Collection[str]) -> Check:
    """`trained_on`: the hashes that the stored manifest lists, None when it lists none."""
    expected = "no row that is held out"
    if not held_out:
        return good("leak", "no rows held out", expected, "No rows are held out that it could have seen.")
    if not trained_on:
        said = (
            "Cannot be checked: its manifest does not list the hashes of the rows that it was trained on "
            "(dataset.row_hashes), so rows held out may be among them."
        )
        return bad("leak", "no hashes", expected, said)
    seen = len(set(trained_on) & set(held_out))
    if seen:
        said = f"It was trained on {seen:,} of the {len(held_out):,} rows that are held out to judge it."
        return bad("leak", f"{seen} rows", expected, said)
    said = f"None of the {len(trained_on):,} rows that it was trained on is held out."
    return good("leak", "0 rows", expected, said)


def figures(
    mine: Mapping[str, Any], theirs: Mapping[str, Any] | None, truths: Sequence[Any], limits: Mapping[str, Any]
) -> list[Check]:
    """The reports on the same rows held out, side by side; `theirs` is None where nothing that is live was measured."""
    metrics = mine["metrics"]
    if not metrics:
        return [good("metrics", "no rows held out", "", str(mine["note"]))]
    checks = [_floor(name, metrics[name], limits[f"min_{name}"]) for name in ("accuracy", "r2") if name in metrics]
    wanted = [check for check in checks if check]
    if theirs is None or not theirs["metrics"]:
        shown = _headline(metrics)
        said = f"On {mine['rows']:,} rows held out: {shown}. There is no live version to compare with."
        return [*wanted, good("metrics", shown, "", said)]
    fewer = mine["failed_rows"] - theirs["failed_rows"]
    if fewer > 0:
        failed, before = mine["failed_rows"], theirs["failed_rows"]
        said = f"It cannot answer {failed:,} of the rows held out; the live version cannot answer {before:,}."
        wanted.append(bad("answered rows", f"{failed}", f"at most {before}", said))
    return [*wanted, *_compared(metrics, theirs["metrics"], truths, limits)]


def _compared(
    mine: Mapping[str, float], theirs: Mapping[str, float], truths: Sequence[Any], limits: Mapping[str, Any]
) -> list[Check]:
    rows = len(truths)
    if "accuracy" in mine:
        counts = Counter(map(str, truths))
        one_row = 1 / (len(counts) * min(counts.values()))
        return [
            _drop("accuracy", mine, theirs, max(limits["max_drop"], 1 / rows), rows),
            _drop("balanced_accuracy", mine, theirs, max(limits["max_balanced_drop"], one_row), rows),
            _rise("log_loss", mine, theirs, limits["max_log_loss_rise"], LOG_LOSS_SLACK, rows),
        ]
    spread = max(truths) - min(truths)
    return [
        _drop("r2", mine, theirs, max(limits["max_drop"], 1 / rows), rows),
        _rise("mae", mine, theirs, limits["max_mae_rise"], spread * NOISE, rows),
        _rise("rmse", mine, theirs, limits["max_rmse_rise"], spread * NOISE, rows),
    ]


def _floor(name: str, found: float, least: float | None) -> Check | None:
    if least is None:
        return None
    passed = found >= least - NOISE
    said = f"{NAMES[name]} is {found:.4g}; at least {least:.4g} is wanted{'' if passed else ' whatever is live'}."
    return Check(f"least {name}", passed, f"{found:.4g}", f"at least {least:.4g}", said)


def _drop(name: str, mine: Mapping[str, float], theirs: Mapping[str, float], allowed: float, rows: int) -> Check:
    found, live = mine[name], theirs[name]
    said = (
        f"{NAMES[name]} on {rows:,} rows held out is {found:.4f}; the live version's is {live:.4f}, and at most "
        f"{allowed:.4f} less is allowed."
    )
    passed = found >= live - allowed - NOISE
    return Check(name.replace("_", " "), passed, f"{found:.4f}", f"at least {live - allowed:.4f}", said)


def _rise(
    name: str, mine: Mapping[str, float], theirs: Mapping[str, float], factor: float, slack: float, rows: int
) -> Check:
    found, live = mine[name], theirs[name]
    most = live * factor + slack
    said = (
        f"{NAMES[name]} on {rows:,} rows held out is {found:.4g}; the live version's is {live:.4g}, and at most "
        f"{most:.4g} is allowed."
    )
    return Check(name.replace("_", " "), found <= most * (1 + NOISE), f"{found:.4g}", f"at most {most:.4g}", said)


def latency(mine: Sequence[float], theirs: Sequence[float] | None, limits: Mapping[str, Any]) -> Check:
    """Times of single rows that were asked for in turns, in milliseconds."""
    if not mine:
        return good("latency", "not measured", "", "No row fits both versions, so their speed was not compared.")
    found = measures.quantile(mine, 0.5)
    if not theirs:
        said = f"One row takes {found:.3g} ms. There is no live version to compare with."
        return good("latency", f"{found:.3g} ms", "", said)
    live = measures.quantile(theirs, 0.5)
    most = max(live * limits["max_latency_factor"], limits["latency_floor_ms"])
    said = f"One row takes {found:.3g} ms; the live version takes {live:.3g} ms, and at most {most:.3g} ms is allowed."
    return Check("latency", found <= most, f"{found:.3g} ms", f"at most {most:.3g} ms", said)


def corrections(missed: Sequence[str], count: int) -> Check:
    """`missed`: the ids of the predictions whose accepted correction is not what the version answers."""
    expected = "answered as corrected"
    if not count:
        return good("corrections", "none yet", expected, "There are no accepted corrections to answer.")
    if not missed:
        said = f"It answers all {count:,} accepted corrections as they were corrected."
        return good("corrections", f"{count} of {count}", expected, said)
    said = (
        f"It answers {len(missed):,} of {count:,} accepted corrections otherwise, the first for prediction {missed[0]}."
    )
    return bad("corrections", f"{count - len(missed)} of {count}", expected, said)


def replay(found: Mapping[str, Any], limits: Mapping[str, Any]) -> Check:
    """`found`: {"rows", "agree", "unanswered", "gone", …} of the stored inputs that were answered again."""
    rows, differ = found["rows"], found["rows"] - found["agree"]
    gone = f" The files of {found['gone']:,} are gone." if found["gone"] else ""
    if not rows:
        return good("replay", "nothing stored", "", f"There are no stored inputs to answer again.{gone}")
    most = max(int(limits["max_disagreement"] * rows), 1)
    failed = f", {found['unanswered']:,} of them not at all" if found["unanswered"] else ""
    said = (
        f"Of the last {rows:,} stored inputs it answers {differ:,} unlike the live version{failed}; at most {most:,} "
        f"are allowed.{gone}"
    )
    return Check("replay", differ <= most, f"{differ} of {rows} differ", f"at most {most}", said)


def _headline(metrics: Mapping[str, float]) -> str:
    shown = [(name, metrics[name]) for name in measures.METRICS if name in metrics][:2]
    return ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in shown)
