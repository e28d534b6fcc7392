"""Whatever a model does, the run ends in one known way, in time."""

import threading
import time
from typing import Any

import pytest

from mlmodels.executor import ExecutorServer, ItemError, ItemOutput, RunFailed
from tests import zoo
from tests.mlmodels.executor.conftest import Load

SLOT_BACK_S = 3.0


def approximately(x: float) -> dict[str, Any]:
    output = zoo.expected(x)
    return {**output, "probabilities": pytest.approx(output["probabilities"], rel=1e-5)}


def failure_of(load: Load, architecture: str, deadline_s: float = 5.0, x: float = 1.0, **params: Any) -> RunFailed:
    with pytest.raises(RunFailed) as caught:
        load(architecture, **params).predict([{"x": x}], deadline_s)
    return caught.value


def test_every_item_gets_its_own_output_in_order(load: Load) -> None:
    run = load("ok").predict([{"x": x} for x in (-1.0, 2, 0.5)], 5)
    assert [outcome.output for outcome in run.outcomes if isinstance(outcome, ItemOutput)] == [
        approximately(-1.0),
        approximately(2),
        approximately(0.5),
    ]
    assert 0 < run.compute_ms < 5000


def test_no_items_give_no_outcomes(load: Load) -> None:
    assert load("ok").predict([], 5).outcomes == []


def test_an_exception_is_told_without_what_a_database_refuses_and_the_child_lives_on(load: Load) -> None:
    executor = load("raises")
    for _ in range(2):
        with pytest.raises(RunFailed) as caught:
            executor.predict([{"x": 1}], 5)
        assert caught.value.kind == "raised"
        assert caught.value.message == "ValueError: this model always raises\N{REPLACEMENT CHARACTER} with a NUL"
    assert executor.alive


@pytest.mark.parametrize(
    ("architecture", "params"), [("nan", {}), ("wrong_shape", {}), ("wrong_shape", {"rows": True}), ("not_json", {})]
)
def test_an_answer_that_is_none_is_bad_output(load: Load, architecture: str, params: dict[str, Any]) -> None:
    assert failure_of(load, architecture, **params).kind == "bad_output"


@pytest.mark.parametrize("how", sorted(set(zoo.LIES) - {"drops"}))
def test_a_lying_child_gives_bad_output_and_costs_its_parent_nothing(load: Load, how: str) -> None:
    assert failure_of(load, "liar", how=how).kind == "bad_output"


@pytest.mark.parametrize("architecture", ["hang_cpp", "hang_python", "hang_stopped"])
def test_a_hang_is_cut_off_at_the_deadline_and_the_slot_is_back_in_time(load: Load, architecture: str) -> None:
    executor = load(architecture)
    started = time.monotonic()
    with pytest.raises(RunFailed) as caught:
        executor.predict([{"x": 1}], 0.5)
    assert caught.value.kind == "timeout"
    assert not executor.alive
    load("ok").predict([{"x": 1}], 5)
    assert time.monotonic() - started < 0.5 + SLOT_BACK_S


def test_an_answer_that_drops_in_byte_by_byte_does_not_extend_the_deadline(load: Load) -> None:
    started = time.monotonic()
    assert failure_of(load, "liar", 0.5, how="drops").kind == "timeout"
    assert time.monotonic() - started < 0.5 + SLOT_BACK_S


def test_a_child_that_no_longer_reads_does_not_block_its_parent_beyond_the_deadline(load: Load) -> None:
    executor = load("stops_later")
    executor.predict([{"x": 1.0}], 5)
    time.sleep(0.3)
    big = {"x": 1.0, "note": "x" * 8_000_000}
    started = time.monotonic()
    with pytest.raises(RunFailed) as caught:
        executor.predict([big], 0.5)
    assert caught.value.kind == "timeout"
    assert time.monotonic() - started < 0.5 + SLOT_BACK_S


@pytest.mark.parametrize(
    ("architecture", "signal"), [("segv", 11), ("sys_exit", None), ("os_exit", None), ("killed", 9)]
)
def test_a_death_is_told_with_its_signal(load: Load, architecture: str, signal: int | None) -> None:
    failure = failure_of(load, architecture)
    assert (failure.kind, failure.signal) == ("died", signal)


def test_out_of_memory_is_a_clean_failure(load: Load) -> None:
    failure = failure_of(load, "oom")
    assert failure.kind == "out_of_memory"
    assert failure.message == "The model needs more memory than it may use."


def test_a_leak_ends_as_out_of_memory_before_it_hurts_the_host(load: Load) -> None:
    executor = load("leak", megabytes=64)

    def leak_on() -> None:
        for _ in range(12):
            executor.predict([{"x": 1}], 10)

    with pytest.raises(RunFailed) as caught:
        leak_on()
    assert caught.value.kind == "out_of_memory"
    assert not executor.alive


def test_killing_from_another_thread_ends_the_run_at_once(load: Load) -> None:
    executor = load("hang_cpp")
    threading.Timer(0.2, executor.kill).start()
    started = time.monotonic()
    with pytest.raises(RunFailed) as caught:
        executor.predict([{"x": 1}], 30)
    assert caught.value.kind == "killed"
    assert caught.value.killed_on_purpose
    assert time.monotonic() - started < SLOT_BACK_S
    with pytest.raises(RunFailed, match="ended"):
        executor.predict([{"x": 1}], 5)


def test_an_item_that_the_architecture_refuses_fails_alone(load: Load) -> None:
    run = load("refuses_large").predict([{"x": x} for x in (1.0, 2000.0, -1.0, 3000.0)], 5)
    refused = ItemError("bad_input", "x is larger than this model understands.")
    assert run.outcomes == [
        ItemOutput(approximately(1.0)),
        refused,
        ItemOutput(approximately(-1.0)),
        refused,
    ]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (zoo.POISON_SEGV, "died"),
        (zoo.POISON_RAISE, "raised"),
        (zoo.POISON_HANG, "timeout"),
        (zoo.POISON_OOM, "out_of_memory"),
        (zoo.POISON_NAN, "bad_output"),
        (zoo.POISON_EXIT, "died"),
    ],
)
def test_a_poison_spoils_its_run_and_no_other_child(load: Load, value: float, kind: str) -> None:
    poisoned, innocent = load("poison"), load("poison")
    with pytest.raises(RunFailed) as caught:
        poisoned.predict([*({"x": float(x)} for x in range(15)), {"x": value}], 1.0)
    assert caught.value.kind == kind
    assert innocent.predict([{"x": 1.0}], 5).outcomes == [ItemOutput(approximately(1.0))]


def test_executors_on_many_threads_do_not_get_in_each_others_way(server: ExecutorServer, load: Load) -> None:
    problems: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for step in range(6):
                executor = load("poison")
                x = float(seed * 10 + step)
                assert executor.predict([{"x": x}], 10).outcomes == [ItemOutput(approximately(x))]
                if step % 2:
                    with pytest.raises(RunFailed):
                        executor.predict([{"x": zoo.POISON_SEGV}], 10)
                executor.close()
        except BaseException as error:  # noqa: BLE001 -- told by the main thread
            problems.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert problems == []


def test_closing_while_a_run_is_on_ends_it(load: Load) -> None:
    executor = load("hang_python")
    threading.Timer(0.2, executor.close).start()
    with pytest.raises(RunFailed, match="on purpose"):
        executor.predict([{"x": 1}], 30)
    executor.close()
