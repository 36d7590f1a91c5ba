"""A Ray of its own in another process, which several drivers join."""

import subprocess
import sys

from patience import HANG_SECONDS

_HEAD = """
import sys
from cluster.connect import set_environment
set_environment()
import ray
context = ray.init(
    address="local", num_cpus={cpus}, include_dashboard=False, log_to_driver=False, object_store_memory=128 * 1024**2
)
print(context.address_info["address"], flush=True)
sys.stdin.read()
"""


class RayHead:
    """Lives until it is closed, or until this process dies."""

    def __init__(self, *, cpus: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _HEAD.format(cpus=cpus)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()
        assert self.address, "Ray did not start"

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(HANG_SECONDS)
