"""The emulator refuses what a card, its compiler and its driver would refuse."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import qaic
from onnx import TensorProto, helper, numpy_helper

from support.commands import wait_until
from support.qaic import STATE, tell

FLAGS = ("-aic-hw", "-aic-hw-version=2.0", "-convert-to-fp16", "-compile-only")
THIRD = 1 / 3


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Adds a third to each of ``batch`` rows of two numbers."""
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    made = helper.make_graph(
        [helper.make_node("Add", ["x", "third"], ["y"])],
        "adds",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(np.array([THIRD, 1e6], np.float32), "third")],
    )
    onnx.save_model(helper.make_model(made, opset_imports=[helper.make_opsetid("", 14)]), path)
    return path


@pytest.fixture(scope="module")
def program(graph: Path) -> Path:
    folder = graph.parent / "qpc"
    done = compile_graph(graph, folder)
    assert done.returncode == 0, done.stderr
    return folder / "programqpc.bin"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(STATE, str(tmp_path / "cards"))
    return tmp_path / "cards"


def command(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    tool = str(Path(sys.executable).with_name(name))
    return subprocess.run([tool, *arguments], capture_output=True, text=True, check=False)


def compile_graph(
    graph: Path, folder: Path, *more: str, batch: Sequence[str] = ("-onnx-define-symbol=batch,3",)
) -> subprocess.CompletedProcess[str]:
    return command("qaic-exec", f"-m={graph}", *FLAGS, *batch, *more, f"-aic-binary-dir={folder}")


def rows(count: int = 3) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.zeros((count, 2), np.float32)


def test_a_program_runs_with_its_constants_in_float16(program: Path) -> None:
    session = qaic.Session(program, dev_id=0, num_activations=1, set_size=1)
    session.setup()

    (first, *_), *_ = session.run({"x": rows()}).values()

    float32 = np.dtype(np.float32)
    assert dict(session.model_input_shape_dict()) == {"x": ([3, 2], float32)}
    assert session.model_output_shape_dict["y"] == ([3, 2], float32)
    assert first[0] == np.float16(THIRD) != np.float32(THIRD)
    assert np.isinf(first[1])


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("-mxfp6-matmul", "unknown command line argument '-mxfp6-matmul'"),
        ("-aic-hw=1", "unknown command line argument '-aic-hw=1'"),
        ("model.onnx", "unexpected argument 'model.onnx'"),
        ("-aic-num-cores=many", "-aic-num-cores: 'many' is not a positive number"),
        ("-aic-num-cores=17", "17 cores are asked for, a card has 16 at most"),
        ("-aic-hw-version=1.0", "only 2.0 is supported"),
        ("-aic-depth-first-mem=18", "-aic-depth-first-mem needs -aic-enable-depth-first"),
    ],
)
def test_the_compiler_refuses_a_flag(graph: Path, tmp_path: Path, flag: str, said: str) -> None:
    done = compile_graph(graph, tmp_path / "qpc", flag)

    assert done.returncode == 1
    assert said in done.stderr
    assert not (tmp_path / "qpc").exists()


def test_the_compiler_refuses_shapes_that_are_not_static(graph: Path, tmp_path: Path) -> None:
    done = compile_graph(graph, tmp_path / "qpc", batch=())

    assert done.returncode == 1
    assert "symbol 'batch' is not defined" in done.stderr


def test_the_compiler_refuses_a_graph_that_is_missing_or_broken(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no graph")

    assert "unable to open" in compile_graph(tmp_path / "none.onnx", tmp_path / "qpc").stderr
    assert "unable to parse" in compile_graph(broken, tmp_path / "qpc").stderr


def test_the_compiler_refuses_a_folder_that_is_there(graph: Path, program: Path) -> None:
    done = compile_graph(graph, program.parent)

    assert done.returncode == 1
    assert "already exists" in done.stderr


def test_a_session_refuses_what_does_not_fit_its_program(program: Path) -> None:
    session = qaic.Session(program, dev_id=0)

    with pytest.raises(ValueError, match="'x' is missing"):
        session.run({})
    with pytest.raises(ValueError, match="no input 'z'"):
        session.run({"x": rows(), "z": rows()})
    with pytest.raises(ValueError, match=r"shape \[2, 2\], the program takes \[3, 2\]"):
        session.run({"x": rows(2)})
    with pytest.raises(TypeError, match="is float16, the program takes float32"):
        session.run({"x": rows().astype(np.float16)})


def test_a_session_refuses_what_is_no_program_of_its_version(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QAIC_EMULATOR_SDK", "1.99-emulator")
    compile_graph(graph, tmp_path / "qpc")

    with pytest.raises(qaic.QaicError, match=r"by SDK 1\.99-emulator, this is SDK 1\.20"):
        qaic.Session(tmp_path / "qpc" / "programqpc.bin", dev_id=0)
    with pytest.raises(qaic.QaicError, match="is not a QPC"):
        qaic.Session(graph, dev_id=0)
    with pytest.raises(qaic.QaicError, match="no program"):
        qaic.Session(tmp_path / "none.bin", dev_id=0)


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [("error", "not ready"), ("vanish", "not found"), ("fail", "the run failed")],
)
def test_a_session_notices_what_becomes_of_its_card(
    program: Path, state: Path, behaviour: str, said: str
) -> None:
    session = qaic.Session(program, dev_id=0)
    session.run({"x": rows()})
    tell(state, 0, behaviour)

    with pytest.raises(qaic.QaicError, match=said):
        session.run({"x": rows()})

    if behaviour == "fail":
        session.run({"x": rows()})
    else:
        with pytest.raises(qaic.QaicError, match=said):
            qaic.Session(program, dev_id=0)


def test_a_run_hangs_for_as_long_as_its_card_is_told_to(program: Path, state: Path) -> None:
    session = qaic.Session(program, dev_id=0)
    session.setup()
    tell(state, 0, "hang")
    run = threading.Thread(target=session.run, args=({"x": rows()},), daemon=True)
    run.start()

    run.join(0.2)
    assert run.is_alive()
    tell(state, 0, "ready")
    wait_until(lambda: not run.is_alive(), seconds=10)


def test_the_listing_says_what_is_emulated_and_in_which_state(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QAIC_EMULATOR_CARDS", "3")
    monkeypatch.setenv("QAIC_EMULATOR_SKU", "ultra")
    tell(state, 1, "error")
    tell(state, 2, "vanish")

    text = command("qaic-util", "-q").stdout
    command("qaic-util", "-j", str(tmp_path / "cards.json"))

    assert "QID 0\n\tStatus:Ready\n" in text
    assert "QID 1\n\tStatus:Error\n" in text
    assert "QID 2" not in text
    assert "emulator" in text
    devices = json.loads((tmp_path / "cards.json").read_text("utf-8"))["Devices"]
    assert [(card["QID"], card["Status"]) for card in devices] == [(0, "Ready"), (1, "Error")]
    assert {card["Nsp Total"] for card in devices} == {16}


def test_the_listing_refuses_what_it_does_not_know() -> None:
    done = command("qaic-util", "-z")

    assert done.returncode == 1
    assert "bad argument '-z'" in done.stderr
