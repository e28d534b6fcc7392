"""The training child, and training from a terminal without a site: see --help."""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlmodels import datasets
from mlmodels.training import RECIPES, Progress, export, own_data, train
from mlmodels.training.arguments import whole

EXAMPLES = """examples:
  python -m mlmodels.training --own-data digits --out /tmp/data
  python -m mlmodels.training --data /tmp/data/digits.csv --schema /tmp/data/digits.json --out /tmp/digits
  python -m mlmodels.training --data train.csv --schema schema.json --out out --seed 7 --epochs 40

Every line on standard output is one JSON object:
  {"stage": "fit", "epoch": 1, "epochs": 40, "loss": 0.61, "metric": 0.93}, and at the end
  {"done": {"slug", "weights_sha256", "metrics", "parameters", "code_commit"}} or {"error": "a sentence"}"""


def main(arguments: list[str] | None = None) -> int:
    """0 when the files are written, 1 after {"error"}, 2 for wrong arguments, 130 after Ctrl-C; nothing half done."""
    options = _parser().parse_args(arguments)
    try:
        if options.own_data:
            _write_own_data(options.own_data, options.out)
        else:
            _train(options)
    except KeyboardInterrupt:
        sys.stderr.write("Stopped; nothing was written.\n")
        return 130
    except BrokenPipeError:  # whoever wanted to hear of it has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (datasets.BadData, OSError) as error:
        _say({"error": str(error)})
        return 1
    except Exception as error:  # noqa: BLE001 - a recipe may raise anything; its caller gets a sentence
        traceback.print_exc()
        _say({"error": f"{type(error).__name__}: {error}"})
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mlmodels.training",
        description="Train on a CSV file that fits a schema; write manifest.json and weights.safetensors.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, metavar="FILE", help="rows to train on, as mlmodels.datasets writes them")
    source.add_argument(
        "--own-data", nargs="+", metavar="RECIPE",
        help=f"only write the data of recipes, as RECIPE.csv and .json (of {', '.join(RECIPES)}, or package.module)",
    )  # fmt: skip
    parser.add_argument("--schema", type=Path, metavar="FILE", help="what the columns of --data are")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="where the files go")
    parser.add_argument("--seed", type=whole(0), default=0, help="same seed, same weights (0)")
    parser.add_argument("--epochs", type=whole(1), help="most epochs of one fit")
    return parser


def _write_own_data(names: list[str], directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        dataset = own_data(name)
        with (directory / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            datasets.write_csv(dataset, file)
        (directory / f"{name}.json").write_text(json.dumps(dataset.schema))
        _say({"done": {"recipe": name, "rows": len(dataset.rows)}})


def _train(options: argparse.Namespace) -> None:
    if options.schema is None:
        raise datasets.BadData("--schema is missing: expected the file that says what the columns of --data are.")
    _say({"stage": "read"})
    schema = json.loads(options.schema.read_bytes())
    with options.data.open(encoding="utf-8", newline="") as file:
        dataset = datasets.read_csv(file, schema)
    trained = train(dataset, seed=options.seed, epochs=options.epochs, progress=_tell)
    _say({"stage": "write"})
    export(trained, options.out)
    manifest = json.loads((options.out / "manifest.json").read_bytes())
    done = {
        "slug": trained.slug,
        "weights_sha256": manifest["files"]["weights.safetensors"]["sha256"],
        "metrics": trained.metrics,
        "parameters": trained.parameters,
        "code_commit": manifest["code_commit"],
    }
    _say({"done": done})


def _tell(progress: Progress) -> None:
    _say({"stage": "fit", **asdict(progress)})


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
