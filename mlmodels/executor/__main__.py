"""`python -m mlmodels.executor --architectures a.b[,c.d] [--exported-programs]`: the executor server.

Started by a worker only: its standard input is the control socket (see server.py).
"""

from __future__ import annotations

import argparse
import os
import socket

from mlmodels.executor import server


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m mlmodels.executor", description=__doc__)
    parser.add_argument("--architectures", required=True, help="modules with a REGISTRY")
    parser.add_argument("--exported-programs", action="store_true", help="load exported programs too")
    options = parser.parse_args()
    control = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    server.main(control, options.architectures.split(","), exported_programs=options.exported_programs)


main()
