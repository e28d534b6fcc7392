"""Train a demo model from a terminal, without a site: see --help."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from mlmodels.training import DEMOS, Progress, export, train

EXAMPLES = """examples:
  python -m mlmodels.training digits --out /tmp/digits
  python -m mlmodels.training breast-cancer --out out --seed 7 --epochs 40

Progress goes to standard error, one JSON object to standard output:
  {"slug": ..., "directory": ..., "weights_sha256": ..., "metrics": {...}}"""


def main(arguments: list[str] | None = None) -> int:
    """0 when both files are written, 2 for wrong arguments, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m mlmodels.training",
        description="Train a demo model and write manifest.json and weights.safetensors.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("slug", choices=DEMOS, help="which model")
    parser.add_argument("--out", required=True, type=Path, help="directory for the two files")
    parser.add_argument("--seed", type=_whole(0), default=0, help="same seed, same weights (0)")
    parser.add_argument("--epochs", type=_whole(1), help="most epochs of one fit")
    options = parser.parse_args(arguments)
    try:
        trained = train(options.slug, seed=options.seed, epochs=options.epochs, progress=_say)
        export(trained, options.out)
    except KeyboardInterrupt:
        sys.stderr.write("Stopped; nothing was written.\n")
        return 130
    except OSError as error:
        sys.stderr.write(f"The files could not be written: {error}\n")
        return 1
    manifest = json.loads((options.out / "manifest.json").read_bytes())
    summary = {
        "slug": trained.slug,
        "directory": str(options.out),
        "weights_sha256": manifest["files"]["weights.safetensors"]["sha256"],
        "metrics": trained.metrics,
    }
    sys.stdout.write(json.dumps(summary) + "\n")
    return 0


def _whole(least: int) -> Callable[[str], int]:
    """A type of argument: a whole number from `least` to what a seed can be."""

    def whole_number(text: str) -> int:
        number = int(text)
        if not least <= number < 2**32:
            raise ValueError
        return number

    return whole_number


def _say(progress: Progress) -> None:
    sys.stderr.write(
        f"epoch {progress.epoch}/{progress.epochs}  loss {progress.loss:.4f}  metric {progress.metric:.4f}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
