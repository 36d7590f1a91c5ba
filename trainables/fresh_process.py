"""Process-wide state around a trial of our own loop: as a new process would have it, before and after.

What a user's function may leave is more, see `process_state.py`. Imports torch only when a trial begins.
"""

import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from functools import cache

from trainables.memory import release_frames


@contextlib.contextmanager
def fresh_process_state(*, seed: int, num_threads: int) -> Iterator[None]:
    """Process-wide state as a new process would have it, before and after the trial."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    freeze_imports()
    forget_accelerator()
    free_memory()
    torch.set_num_threads(num_threads)
    torch.set_default_dtype(torch.float32)
    with _restored_switches():
        transformers.set_seed(seed)
        try:
            yield
        except BaseException as error:
            release_frames(error)
            raise
        finally:
            forget_accelerator()
            free_memory()


@cache
def freeze_imports() -> None:
    """Take what is imported by now out of the garbage collector's rounds: each would walk a million objects.

    Once in a process, before its first model exists: what is frozen is freed by its reference count alone.
    """
    gc.collect()
    gc.freeze()


def forget_accelerator() -> None:
    """accelerate keeps device and precision of the first Trainer for the whole process."""
    if "accelerate.state" not in sys.modules:
        return
    from accelerate.state import AcceleratorState, GradientState, PartialState

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    PartialState._reset_state()


def free_memory() -> None:
    """What a trial has left behind, in this process and on its GPUs."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


# What transformers and accelerate write into the environment on behalf of one trial's arguments.
_ENVIRONMENT = ("ACCELERATE_", "ASCEND_", "CUBLAS_", "CUDA_LAUNCH_", "FLASH_ATTENTION_", "FSDP_", "HCCL_", "XLA_")


@contextlib.contextmanager
def _restored_switches() -> Iterator[None]:
    """What `full_determinism`, `tf32` and `torch_compile` of one trial turn on is off again for the next."""
    import torch
    from transformers.utils.import_utils import enable_tf32

    environment = _switches_in_environment()
    backend = torch.backends.cudnn
    is_deterministic, may_benchmark = backend.deterministic, backend.benchmark
    precision = torch.backends.fp32_precision
    enable_tf32.cache_clear()  # it remembers that it was called, not what happened since
    try:
        yield
    finally:
        _forget_compiled()
        torch.use_deterministic_algorithms(False)
        backend.deterministic, backend.benchmark = is_deterministic, may_benchmark
        if torch.backends.fp32_precision != precision:
            torch.backends.fp32_precision = precision
        for name in _switches_in_environment():
            del os.environ[name]
        os.environ.update(environment)


def _forget_compiled() -> None:
    """What `torch_compile` of one trial compiled holds its model, and counts towards a limit of recompilations."""
    if "torch._dynamo" in sys.modules:
        import torch

        torch.compiler.reset()


def _switches_in_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(_ENVIRONMENT)}
