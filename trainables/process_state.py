"""Process-wide state around a user's function: seeded before, put back after. Knows no function and no trial.

A warm process takes one trial after another. What a function leaves in the process (environment, folder, torch's
switches, a process group, accelerate's settings) would reach the next trial and make its result depend on what ran
before it. What this cannot see is what a module keeps in variables of its own.
"""

import contextlib
import os
import random
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from trainables.fresh_process import forget_accelerator, free_memory, freeze_imports

DEFAULT_SEED = 42
"""As transformers has it, so that a task and a function without a seed start alike."""


@contextlib.contextmanager
def restored_process(*, seed: int, num_threads: int) -> Iterator[None]:
    """Seed all generators, and put the process back as it was when the block ends, however it ends."""
    # torch is loaded in any case: a function that imports it on its way would find it unseeded in the first trial
    # of a process, and seeded in the second.
    import torch

    freeze_imports()
    with contextlib.ExitStack() as after:
        after.callback(free_memory)
        if not _has_process_group():  # else it is that of the trial's workers, and outlives the function
            after.callback(_end_process_group)
        after.callback(_forget_libraries)
        after.callback(_restore_environment, dict(os.environ))
        after.callback(os.chdir, Path.cwd())
        after.callback(_restore_list, sys.path, list(sys.path))
        after.enter_context(warnings.catch_warnings())
        for read, write in _switches():
            after.callback(write, read())
        torch.set_num_threads(num_threads)
        _seed(seed)
        try:
            yield
        except BaseException as error:
            # The frames hold model and optimizer for as long as the exception lives.
            traceback.clear_frames(error.__traceback__)
            raise


def _seed(seed: int) -> None:
    import numpy
    import torch

    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    torch.manual_seed(seed)  # all devices


def _switches() -> list[tuple[Callable[[], Any], Callable[[Any], object]]]:
    """How to read and how to set each of torch's process-wide settings that change results."""
    import torch

    backends = torch.backends
    switches: list[tuple[Callable[[], Any], Callable[[Any], object]]] = [
        (torch.get_num_threads, torch.set_num_threads),
        (torch.get_default_dtype, torch.set_default_dtype),
        (torch.is_grad_enabled, torch.set_grad_enabled),
        (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
        (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
        (_default_device, torch.set_default_device),
        *(_attribute(backends.cudnn, name) for name in ("enabled", "deterministic", "benchmark")),
        *(_attribute(place, "fp32_precision") for place in (backends, backends.cuda.matmul, backends.cudnn.conv)),
        # Put back first, for it sets some of those above.
        (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    ]
    if torch.cuda.is_available():
        switches.append((torch.cuda.current_device, torch.cuda.set_device))
    return switches


def _attribute(place: Any, name: str) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    def write(value: Any) -> None:
        if getattr(place, name) != value:  # some of them warn or do work when set
            setattr(place, name, value)

    return lambda: getattr(place, name), write


def _default_device() -> Any:
    """None where none was chosen: setting `cpu` would slow down every call into torch."""
    import torch

    device = torch.get_default_device()
    return None if device.type == "cpu" else device


def _restore_environment(before: dict[str, str]) -> None:
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    for name, value in before.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _restore_list(values: list[str], before: list[str]) -> None:
    values[:] = before


def _has_process_group() -> bool:
    import torch.distributed

    return bool(torch.distributed.is_available() and torch.distributed.is_initialized())


def _end_process_group() -> None:
    import torch.distributed

    if _has_process_group():
        torch.distributed.destroy_process_group()


def _forget_libraries() -> None:
    """What libraries keep for the whole process, if they were used at all."""
    forget_accelerator()
    if "torch._dynamo" in sys.modules:
        # After eight shapes of one function torch.compile gives up for the rest of the process, without a word.
        import torch

        torch._dynamo.reset()
