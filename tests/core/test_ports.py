"""Whether a port can be listened on, and what is said where it cannot."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

import pytest

from core.errors import WorkbenchError
from core.ports import check_port


def test_a_port_in_use_is_refused_with_its_process_and_the_next_step() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(WorkbenchError) as refused:
            check_port("127.0.0.1", port)
    assert refused.value.key == "A16_port_in_use"
    assert str(os.getpid()) in refused.value.describe()
    free = int(refused.value.problems[0].values["free"])
    assert f"--port {free}" in refused.value.describe()
    check_port("127.0.0.1", free)


def test_in_place_of_the_highest_port_one_that_can_be_is_named() -> None:
    with socket.socket() as holder:
        with suppress(OSError):  # somebody else has it: in use as well
            holder.bind(("127.0.0.1", 65_535))
            holder.listen()
        with pytest.raises(WorkbenchError) as refused:
            check_port("127.0.0.1", 65_535)
    assert 0 < refused.value.problems[0].values["free"] < 65_535


def test_a_free_port_passes() -> None:
    with socket.socket() as finder:
        finder.bind(("127.0.0.1", 0))
        port = finder.getsockname()[1]
    check_port("127.0.0.1", port)


@pytest.mark.parametrize("port", [0, -1, 65_536])
def test_a_port_that_cannot_be_is_refused(port: int) -> None:
    with pytest.raises(WorkbenchError) as refused:
        check_port("127.0.0.1", port)
    assert refused.value.key == "A16_port_out_of_range"


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1", "fe80::1"])
def test_an_address_of_another_machine_is_refused(host: str) -> None:
    with pytest.raises(WorkbenchError) as refused:
        check_port(host, 7860)
    assert refused.value.key == "A16_unknown_address"
