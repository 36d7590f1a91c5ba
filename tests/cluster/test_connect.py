"""What Ray would write between our lines."""

import pytest
from ray._private.worker import print_to_stdstream


def test_what_ray_says_of_its_nodes_does_not_get_into_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    told = {"lines": ["Raylet is terminated. Last 20 lines:\n  stack\n"], "pid": "raylet", "is_err": False}
    print_to_stdstream(told, ignore_prefix=False)
    assert capfd.readouterr() == ("", "")
