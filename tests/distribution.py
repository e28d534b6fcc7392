"""How the tests are shared out when several processes run them (`pytest --numprocesses 3`, as `make test` does; two for
`make test-deploy`).

A group of tests stays in one process, in its own order. A file is a group, because tests of a file share fixtures; so
is a folder of tests that share one site or one broker, which are dear to start. The longest groups start first.
"""

from typing import Any

from xdist.scheduler import LoadScopeScheduling

FAULTS = "tests/faults/"
CLUSTER = "the cluster that Ansible made"
LONGEST_FIRST = (
    ("tests/deploy/test_ansible.py", CLUSTER),
    ("tests/deploy/test_backup.py", CLUSTER),
    ("tests/deploy/test_cut_off.py", CLUSTER),
    ("tests/deploy/test_git_push.py", CLUSTER),
    ("tests/deploy/test_monitoring.py", CLUSTER),
    ("tests/deploy/test_units.py", CLUSTER),
    ("tests/integration/test_git_push.py", "tests/integration/test_git_push.py"),
    ("tests/faults/test_broker.py", "faults of the broker"),
    (FAULTS, "faults"),
    ("tests/browser/", "browser"),
    ("tests/integration/test_training.py", "tests/integration/test_training.py"),
    ("tests/test_setup.py", "tests/test_setup.py"),
    ("tests/test_readme.py", "tests/test_readme.py"),
    ("tests/mlmodels/test_training.py", "demo models"),
    ("tests/mlmodels/test_drawings.py", "demo models"),
    ("tests/integration/", "broker"),
    ("tests/keeping/test_backup_and_restore.py", "broker"),
    ("tests/keeping/test_doctor.py", "broker"),
    ("tests/test_setup_services.py", "broker"),
)
"""Files and folders, each with the group that its tests are in; the first that fits counts."""


def group_of(nodeid: str) -> str:
    """The group that a test is in: one of `LONGEST_FIRST`, otherwise its file (outside the repository: itself)."""
    path = nodeid.partition("::")[0] or nodeid
    return next((group for start, group in LONGEST_FIRST if path.startswith(start)), path)


def rank(nodeid: str) -> int:
    """Where its group stands in the order in which groups start."""
    path = nodeid.partition("::")[0]
    return next((n for n, (start, _) in enumerate(LONGEST_FIRST) if path.startswith(start)), len(LONGEST_FIRST))


class Distribution(LoadScopeScheduling):  # type: ignore[misc]
    """Gives each process the next group when it is nearly done with its last; what is left is taken in file order."""

    def __init__(self, config: Any, log: Any = None) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
