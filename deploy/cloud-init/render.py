#!/usr/bin/env python3
"""Render user data that takes a bare Debian machine to a live site, from a small settings file."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.dont_write_bytecode = True
try:
    import cloud_config
    import settings_file
except ModuleNotFoundError as missing:
    sys.exit(f"{missing.name} is missing: pip install -r requirements/deploy.txt")

EXAMPLES = """
examples:
  deploy/cloud-init/render.py site.toml > user-data
  deploy/cloud-init/render.py site.toml --way compose > user-data
  deploy/cloud-init/render.py --check user-data          after editing it by hand
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Print user data, or a sentence that says why there is none."""
    options = parser().parse_args(argv)
    try:
        if options.check:
            cloud_config.check(options.check.read_text(encoding="utf-8"))
            print(f"{options.check}: every key is known, and it is small enough.", file=sys.stderr)
        else:
            print(cloud_config.user_data(settings_file.read(options.settings), options.way), end="")
    except (settings_file.Refused, UnicodeDecodeError) as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename}: {error.strerror}.", file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(
        prog="deploy/cloud-init/render.py", description=__doc__, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    what = made.add_mutually_exclusive_group(required=True)
    what.add_argument("settings", nargs="?", type=Path, metavar="SETTINGS", help="see settings.example.toml")
    what.add_argument("--check", type=Path, metavar="USER_DATA", help="check user data that was edited by hand")
    made.add_argument(
        "--way",
        choices=cloud_config.WAYS,
        default="single",
        help="single: Debian's packages and systemd, on Debian 12; compose: Docker, on Debian 13 (%(default)s)",
    )
    return made


if __name__ == "__main__":
    sys.exit(main())
