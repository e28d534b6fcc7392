"""Private RabbitMQ and PostgreSQL servers in the foreground, for development (`make services`).

They share nothing with servers of the machine: random ports on 127.0.0.1, data, logs, cookie, node name
and epmd of their own, in one temporary folder, which goes when they do. Run as root, they run as the
users that Debian's packages made.
"""

import argparse
import signal
import sys
from pathlib import Path

from deploy.local.ground import Ground, Missing
from deploy.local.postgresql import PostgreSQL
from deploy.local.rabbitmq import RabbitMQ


def main() -> int:
    """Run both servers until interrupted; write the two variables to a file for `make dev`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env-file", type=Path, help="write the variables there too; removed at the end")
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(0))
    ground = Ground()
    try:
        print("Starting PostgreSQL and RabbitMQ (about ten seconds) ...", file=sys.stderr, flush=True)
        database_url = PostgreSQL(ground).createdb("site")
        exports = f"export DATABASE_URL={database_url}\nexport RABBITMQ_URL={RabbitMQ(ground).url()}\n"
        _publish(exports, options.env_file)
        signal.pause()
    except KeyboardInterrupt:
        pass
    except Missing as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        if options.env_file:
            options.env_file.unlink(missing_ok=True)
        ground.close()
    return 0


def _publish(exports: str, path: Path | None) -> None:
    print(exports, end="", flush=True)
    if path:
        path.touch(mode=0o600)
        path.write_text(exports)
        print(f"Written to {path} as well, where `make dev` finds them.", file=sys.stderr)
    print("Ctrl-C ends both and removes their data.", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
