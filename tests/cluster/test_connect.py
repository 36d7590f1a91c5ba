"""How Ray starts: in its own time, and without a word between our lines."""

from typing import Any

import pytest
from ray._private import services
from ray._private.worker import print_to_stdstream

from cluster import connect


def test_what_ray_says_of_its_nodes_does_not_get_into_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    told = {"lines": ["Raylet is terminated. Last 20 lines:\n  stack\n"], "pid": "raylet", "is_err": False}
    print_to_stdstream(told, ignore_prefix=False)
    assert capfd.readouterr() == ("", "")


def test_a_ray_that_comes_up_late_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []

    def comes_late(node: str) -> Any:
        looks.append(node)
        if len(looks) < 3:
            raise RuntimeError("no such node")
        return {"node": node}

    monkeypatch.setattr(services, "get_node", comes_late)
    with connect.patient_start():
        assert services.get_node("one") == {"node": "one"}
    assert services.get_node is comes_late


def test_a_ray_that_does_not_come_up_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    def never_comes(node: str) -> Any:
        raise RuntimeError("no such node")

    monkeypatch.setattr(services, "get_node", never_comes)
    monkeypatch.setattr(connect, "_START_SECONDS", 0.0)
    with connect.patient_start(), pytest.raises(RuntimeError, match="no such node"):
        services.get_node("one")
