"""Exported programs: what is loaded and answers, and what is refused with one sentence."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mlmodels.executor import ExecutorServer, ItemOutput, LoadFailed, Refused, RunFailed, check, exported
from tests import programs, zoo

NAN, INFINITY = float("nan"), float("inf")


def refusal(server: ExecutorServer, folder: Path, data: bytes, **fields: Any) -> tuple[str, str]:
    programs.artifact(folder, data, **fields)
    with pytest.raises(LoadFailed) as caught:
        server.load((folder / "manifest.json").read_bytes(), str(folder / "program.pt2"))
    return caught.value.code, caught.value.message


def answers(server: ExecutorServer, folder: Path, items: list[dict[str, Any]]) -> list[Any]:
    executor = server.load((folder / "manifest.json").read_bytes(), str(folder / "program.pt2"))
    try:
        outcomes = executor.predict(items, 10).outcomes
    finally:
        executor.close()
    assert all(isinstance(outcome, ItemOutput) for outcome in outcomes)
    return [outcome.output for outcome in outcomes if isinstance(outcome, ItemOutput)]


def test_a_program_answers_like_the_module_that_it_was_made_of(open_server: ExecutorServer, tmp_path: Path) -> None:
    folder = programs.artifact(tmp_path)
    outputs = answers(open_server, folder, [{"x": x} for x in zoo.GOLDEN_INPUTS])
    for x, output in zip(zoo.GOLDEN_INPUTS, outputs, strict=True):
        assert output["probabilities"] == pytest.approx(zoo.expected(x)["probabilities"], rel=1e-6)


def test_a_program_that_reproduces_its_golden_examples_is_admitted(open_server: ExecutorServer, tmp_path: Path) -> None:
    folder = programs.artifact(tmp_path)
    check(open_server, (folder / "manifest.json").read_bytes(), str(folder / "program.pt2"))


def test_a_program_of_one_row_at_a_time_is_admitted_with_max_batch_1(
    open_server: ExecutorServer, tmp_path: Path
) -> None:
    folder = programs.artifact(tmp_path, programs.saved(programs.Line(), None, rows=1), max_batch=1)
    check(open_server, (folder / "manifest.json").read_bytes(), str(folder / "program.pt2"))


def test_the_server_of_programs_has_one_thread_when_it_forks(open_server: ExecutorServer) -> None:
    assert len(list(Path(f"/proc/{open_server.pid}/task").iterdir())) == 1


def test_masks_of_infinity_are_no_broken_weights(open_server: ExecutorServer, tmp_path: Path) -> None:
    folder = programs.artifact(tmp_path, programs.saved(programs.Line(extra=torch.tensor([-INFINITY]))))
    assert len(answers(open_server, folder, [{"x": 1.0}])) == 1


def test_a_program_that_does_not_run_on_the_gpu_runs_on_the_cpu(tmp_path: Path) -> None:
    """This torch has no CUDA at all, so nothing runs there."""
    folder = programs.artifact(tmp_path)
    told = (folder / "manifest.json").read_bytes(), str(folder / "program.pt2"), torch.device("cuda")
    program = exported.opened(*told)
    assert program.device == torch.device("cpu")
    assert program.predict([{"x": 3.0}])[0]["label"] == "high"


def test_a_worker_whose_operator_has_not_allowed_it_loads_none(server: ExecutorServer, tmp_path: Path) -> None:
    code, message = refusal(server, tmp_path, programs.honest())
    assert code == "not_allowed"
    assert message.endswith("this worker loads none: its setting ALLOW_EXECUTABLE_ARTIFACTS is off.")


def add_one_class(y: Tensor) -> Tensor:
    return torch.cat([y, y[:, :1]], dim=1)


FIRST = torch.export.Dim("first", min=1, max=4)
FROM_THREE = torch.export.Dim("from_three", min=3, max=64)


@pytest.mark.parametrize(
    ("save", "max_batch", "sentence"),
    [
        (lambda: programs.saved(programs.Line(), FIRST), 16, "takes 1 to 4 rows at once, but max_batch is 16: "),
        (lambda: programs.saved(programs.Line(), FROM_THREE, 4), 16, "takes 3 to 64 rows at once, but max_batch is 1"),
        (lambda: programs.saved(programs.Line(), None, 1), 16, "takes only 1 rows at once, but max_batch is 16: "),
        (lambda: programs.saved(programs.Line(), None, 4), 4, "takes only 4 rows at once, but max_batch is 4: "),
        (lambda: programs.saved(programs.Line(), 2 * FIRST, 4), 2, "of the program's input x is not free."),
    ],
    ids=["too few", "too many", "one", "always four", "even numbers"],
)
def test_a_program_that_does_not_take_the_batches_of_its_manifest_is_refused(
    open_server: ExecutorServer, tmp_path: Path, save: Callable[[], bytes], max_batch: int, sentence: str
) -> None:
    code, message = refusal(open_server, tmp_path, save(), max_batch=max_batch)
    assert (code, sentence in message) == ("bad_batch", True), message


@pytest.mark.parametrize("value", [NAN, INFINITY])
def test_weights_that_are_not_finite_are_named(open_server: ExecutorServer, tmp_path: Path, value: float) -> None:
    module = programs.Line()
    with torch.no_grad():
        module.linear.bias.fill_(value)
    told = refusal(open_server, tmp_path, programs.saved(module))
    assert told == ("not_finite", "The tensor linear.bias holds NaN or infinite numbers.")


def test_nan_in_a_buffer_or_a_constant_is_named(open_server: ExecutorServer, tmp_path: Path) -> None:
    spoilt = programs.saved(programs.Line(extra=torch.tensor([NAN])))
    assert refusal(open_server, tmp_path, spoilt) == ("not_finite", "The tensor extra holds NaN.")
    constant = torch.tensor([NAN])
    spoilt = programs.saved(programs.Line(change=lambda y: y + constant))
    code, message = refusal(open_server, tmp_path, spoilt)
    assert (code, message.endswith(" holds NaN.")) == ("not_finite", True), message


def a_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("hello.txt", "hello")
    return file.getvalue()


def a_state_dict() -> bytes:
    file = io.BytesIO()
    torch.save(programs.Line().state_dict(), file)
    return file.getvalue()


@pytest.mark.parametrize("make", [a_zip, a_state_dict, lambda: b"PK\x03\x04", lambda: b""])
def test_what_is_no_exported_program_is_refused(
    open_server: ExecutorServer, tmp_path: Path, make: Callable[[], bytes]
) -> None:
    told = refusal(open_server, tmp_path, make())
    assert told == ("bad_program", "The file is not an exported program: save it with torch.export.save.")


def test_a_program_that_this_torch_cannot_load_is_refused_with_its_reason(
    open_server: ExecutorServer, tmp_path: Path
) -> None:
    with zipfile.ZipFile(io.BytesIO(programs.honest())) as archive:
        mark = next(name for name in archive.namelist() if name.endswith("/archive_format"))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(mark, "pt2")
    code, message = refusal(open_server, tmp_path, file.getvalue())
    assert code == "bad_program"
    assert message.startswith(f"torch {torch.__version__} cannot load the program (")


def test_a_missing_file_is_refused(open_server: ExecutorServer, tmp_path: Path) -> None:
    folder = programs.artifact(tmp_path)
    with pytest.raises(LoadFailed) as caught:
        open_server.load((folder / "manifest.json").read_bytes(), str(folder / "nowhere"))
    assert caught.value.code == "missing_file"


def test_params_that_do_not_fit_are_refused(open_server: ExecutorServer, tmp_path: Path) -> None:
    code, message = refusal(open_server, tmp_path, programs.honest(), params={"output": "value"})
    assert code == "bad_parameters"
    sentence = (
        'The manifest does not fit: params.output is \'value\': this signature needs "logits" or "probabilities".'
    )
    assert message == sentence


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (add_one_class, "The program answered with shape (1, 3); (1, 2) was expected."),
        (lambda y: y.sum(dim=0), "The program answered with shape (2,); (1, 2) was expected."),
        (lambda y: y * NAN, "The model answered with NaN or an infinite number."),
        (lambda y: (y, y), "The program answered with tuple, not with one tensor."),
    ],
    ids=["one class more", "no rows", "not a number", "two tensors"],
)
def test_an_answer_of_the_wrong_shape_refuses_the_version(
    open_server: ExecutorServer, tmp_path: Path, change: Callable[[Tensor], Any], sentence: str
) -> None:
    folder = programs.artifact(tmp_path, programs.saved(programs.Line(change=change)))
    with pytest.raises(Refused, match="on golden example 1 ") as caught:
        check(open_server, (folder / "manifest.json").read_bytes(), str(folder / "program.pt2"))
    assert str(caught.value).endswith(sentence)


def test_a_program_whose_author_wrote_a_check_fails_on_what_it_refuses(
    open_server: ExecutorServer, tmp_path: Path
) -> None:
    def positive(y: Tensor) -> Tensor:
        torch._assert_async((y[:, 1] > 0).all(), "only above zero")
        return y

    folder = programs.artifact(tmp_path, programs.saved(programs.Line(change=positive)))
    executor = open_server.load((folder / "manifest.json").read_bytes(), str(folder / "program.pt2"))
    assert len(executor.predict([{"x": 1.0}], 10).outcomes) == 1
    with pytest.raises(RunFailed, match="only above zero"):
        executor.predict([{"x": -1.0}], 10)
    executor.close()


def test_an_architecture_of_that_name_cannot_stand_in_for_programs(server: ExecutorServer, tmp_path: Path) -> None:
    """A weights file under the name of the second tier is not loaded as the first."""
    manifest, weights = zoo.artifact(tmp_path, "ok")
    content = {**json.loads(Path(manifest).read_text()), "architecture": "exported-program"}
    with pytest.raises(LoadFailed) as caught:
        server.load(json.dumps(content).encode(), weights)
    assert caught.value.code == "not_allowed"
