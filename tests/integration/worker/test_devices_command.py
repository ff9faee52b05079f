"""``tenstep devices``, and what ``--device`` makes of what it lists."""

from __future__ import annotations

import os
import platform
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from producer.local_devices import choose_devices, whatever_is_good
from shared.db.device_faults import note_fault
from shared.db.engine import Database
from shared.db.fault_tables import DeviceFault
from shared.errors import ConfigurationError
from support.commands import tenstep
from support.shell import Shell
from worker.device_lock import hold_device
from worker.devices import Device

WORKER = UUID("0197f3a2-5c1e-7bb0-9f6e-1f2d3c4b5a69")
GOOD = {"name": "a card", "is_emulated": False, "is_healthy": True, "health": "ok", "holder": None}


@pytest.fixture(autouse=True)
def _two_emulated_cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    state = tmp_path / "cards"
    state.mkdir()
    monkeypatch.setenv("QAIC_EMULATOR_STATE", str(state))
    monkeypatch.setenv("QAIC_EMULATOR_CARDS", "2")
    (state / "1").write_text("error", "utf-8")
    return state


def listed(shell: Shell) -> dict[str, dict[str, Any]]:
    return {device["device"]: device for device in shell.json("devices")["devices"]}


def test_the_processor_and_each_card_are_listed_with_their_health(shell: Shell) -> None:
    devices = listed(shell)
    assert devices["cpu"]["is_healthy"]
    assert devices["cpu"]["cores"] >= 1
    assert devices["cpu"]["memory_bytes"] > 2**28
    assert devices["qaic:0"]["is_emulated"]
    assert (devices["qaic:0"]["is_healthy"], devices["qaic:0"]["sku"]) == (True, "ai100-std")
    assert (devices["qaic:1"]["is_healthy"], devices["qaic:1"]["health"]) == (
        False,
        "its status is Error",
    )


def test_it_says_which_worker_has_a_device(shell: Shell) -> None:
    held = hold_device(Device.parse("qaic:0"), WORKER, os.environ)
    assert held is not None
    with held:
        assert listed(shell)["qaic:0"]["holder"] == {"pid": os.getpid(), "worker_id": str(WORKER)}
        assert shell("devices") == 0
        assert str(os.getpid()) in shell.out
    assert listed(shell)["qaic:0"]["holder"] is None


def test_a_device_that_was_taken_out_is_shown_as_such_even_if_it_is_gone(
    shell: Shell, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = sqlite_database.engine.url.render_as_string(hide_password=False)
    monkeypatch.setenv("TENSTEP_DATABASE_URL", url)
    with sqlite_database.write() as session:
        now = sqlite_database.now(session)
        for host, device, days in (
            (platform.node(), "qaic:0", 0),
            (platform.node(), "qaic:7", 0),
            (platform.node(), "qaic:8", 2),
            ("elsewhere", "qaic:9", 0),
        ):
            seen = now - timedelta(days=days)
            fault = DeviceFault(
                host=host,
                device=device,
                device_kind="qaic",
                device_sku="ai100-pro",
                model="emoji-64",
                since=seen,
                last_seen=seen,
                reason="it fell off the bus",
            )
            note_fault(session, fault)

    devices = listed(shell)
    assert list(devices) == ["cpu", "qaic:0", "qaic:1", "qaic:7"]
    assert devices["qaic:0"]["fault"]["reason"] == "it fell off the bus"
    assert devices["qaic:1"]["fault"] is None
    assert devices["qaic:7"]["health"] == "it is gone"
    assert shell("devices") == 0
    assert "taken out" in " ".join(shell.out.split())
    assert max(map(len, shell.out.splitlines())) <= 80


def test_by_itself_a_worker_takes_no_emulated_card() -> None:
    chosen = choose_devices("auto")
    assert not any(name.startswith("qaic") for name in chosen.names)
    assert any("qaic:0" in sentence and "emulator" in sentence for sentence in chosen.left_out)


def test_auto_takes_every_good_accelerator_and_says_why_not_others() -> None:
    processor = {**GOOD, "device": "cpu", "kind": "cpu"}
    cards = [
        {**GOOD, "device": "cuda:0", "kind": "cuda"},
        {**GOOD, "device": "cuda:1", "kind": "cuda", "is_healthy": False, "health": "no driver"},
        {**GOOD, "device": "qaic:2", "kind": "qaic"},
        {**GOOD, "device": "qaic:3", "kind": "qaic", "holder": {"pid": 42, "worker_id": None}},
    ]
    chosen = whatever_is_good([processor, *cards])
    assert chosen.names == ["cuda:0", "qaic:2"]
    assert chosen.left_out == [
        "cuda:1 (a card) is left out: no driver",
        "qaic:3 (a card) is left out: process 42 has it",
    ]
    assert whatever_is_good([processor]).names == ["cpu"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("qaic:5", "this host has no qaic:5: it has cpu, qaic:0, qaic:1"),
        ("gpu", "no such device: 'gpu'"),
        ("cpu,", "no such device: ''"),
        ("cpu,cpu", "cpu is named twice"),
        ("cpu,auto", "auto stands alone"),
    ],
)
def test_bad_names_are_refused_before_anything_starts(text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        choose_devices(text)
    assert reason in str(caught.value)


def test_several_devices_may_be_named() -> None:
    names = ["cpu", "simulated:0-9", "qaic:0"]
    assert choose_devices(",".join(names)).names == names


def test_a_second_worker_on_a_device_is_told_who_has_it(tmp_path: Path) -> None:
    held = hold_device(Device.parse("qaic:0"), WORKER, os.environ)
    assert held is not None
    with held:
        done = tenstep(os.environ, "worker", "--device", "qaic:0", cwd=tmp_path)
    assert done.returncode == 1
    assert f"error: the worker does not start: qaic:0 is in use by process {os.getpid()}" in (
        done.stderr
    )
