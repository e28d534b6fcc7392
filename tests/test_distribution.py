"""How the tests are shared out: what shares a site or a broker stays together, and every name is that of a test."""

from tests.distribution import CLUSTER, LONGEST_FIRST, group_of, rank
from tests.session import REPOSITORY


def test_what_shares_a_site_stays_in_one_process() -> None:
    one, other = "tests/browser/test_walk.py::test_a", "tests/browser/test_journey.py::test_b[x::y]"
    assert group_of(one) == group_of(other) == "browser"


def test_other_tests_stay_together_by_file_and_start_after_the_long_ones() -> None:
    assert group_of("tests/test_health.py::test_a[1]") == "tests/test_health.py"
    assert rank("tests/test_health.py::test_a[1]") == len(LONGEST_FIRST)


def test_every_group_names_tests_that_are_there() -> None:
    assert [start for start, _ in LONGEST_FIRST if not (REPOSITORY / start).exists()] == []


def test_every_test_of_the_deployments_that_uses_the_cluster_is_in_its_group() -> None:
    files = (REPOSITORY / "tests/deploy").glob("test_*.py")
    using = {path for path in files if "from tests.deploy.lab.cluster import" in path.read_text()}
    assert using
    assert {group_of(f"tests/deploy/{path.name}::test_a") for path in using} == {CLUSTER}
