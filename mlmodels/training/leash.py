"""`python -m mlmodels.training.leash PARENT COMMAND …`: become a command that ends with the thread that started it.

It gives way to everything else on the machine, and where memory runs out it goes before its keeper does.
"""

from __future__ import annotations

import os
import sys

from mlmodels.executor import sandbox

NICE = 10


def main() -> None:
    parent, *command = sys.argv[1:]
    sandbox.die_with_parent(int(parent))
    os.nice(NICE)
    sandbox.prefer_as_victim(sandbox.KILLED_FIRST)
    os.execv(command[0], command)  # noqa: S606 - the command of our own keeper, and no shell


main()
