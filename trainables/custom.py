"""The user's own function as a trial: find it, call it as it wants to be called. Knows no task and no model."""

import contextlib
import importlib
import inspect
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from spaces.errors import SpecError, did_you_mean
from spaces.reports import ReportFunction
from trainables.checkpoints import Checkpoint, TrialDirectory
from trainables.config import CustomTrialConfig
from trainables.monitor import Monitor
from trainables.process_state import DEFAULT_SEED, restored_process
from trainables.reporter import Reporter
from trainables.user_functions import UserFunction, check_name_is_free, kind_of


def run_custom(
    trial: CustomTrialConfig,
    report: ReportFunction,
    *,
    directory: TrialDirectory | None,
    resume_from: Checkpoint | None,
    metric: str | None = None,
    num_threads: int = 1,
    save_checkpoints: bool = True,
    monitor: Monitor | None = None,
) -> None:
    """Call the user's function with its own copy of the configuration, from the last checkpoint if there is one."""
    # What a module does when it is imported belongs to the process: it happens once, before anything is noted.
    function = load_function(trial.trainable)
    kind = kind_of(inspect.signature(function))
    config = json.loads(json.dumps(trial.config))
    with contextlib.ExitStack() as stack:
        if kind == "ray_train_loop" and directory is None:
            # Within a run, too, `ray.train.get_checkpoint` gives what was reported last.
            directory = stack.enter_context(_temporary_directory())
        reporter = Reporter(
            report, directory=directory, resume_from=resume_from, metric=metric, save_checkpoints=save_checkpoints,
            monitor=monitor,
        )  # fmt: skip
        with restored_process(seed=seed_of(config), num_threads=num_threads):
            if kind == "ray_train_loop":
                from trainables.ray_loop import run_ray_loop

                run_ray_loop(function, config, reporter, name=trial.trainable)
            else:
                function(config, reporter)
        reporter.finish()


def seed_of(config: dict[str, Any]) -> int:
    """What the process is seeded with: `config.seed` where it is a whole number."""
    seed = config.get("seed")
    return abs(seed) if isinstance(seed, int) and not isinstance(seed, bool) else DEFAULT_SEED


def load_function(trainable: str) -> Callable[..., object]:
    """The function that `module:function` or `file.py:function` names.

    Raises:
        SpecError: there is no such module or function.
    """
    wanted = UserFunction.parse(trainable)
    try:
        module = importlib.import_module(wanted.module) if wanted.file is None else _import_file(wanted)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{wanted.module}.".startswith(f"{error.name}."):
            hint = "It must lie beside the spec, in the folder you start tunesmith from, or be installed."
        else:
            hint = f"`{wanted.module}` needs it, and it is not installed here."
        raise SpecError(f"cannot import `{wanted.module}`: {error}. {hint}", path="trainable") from error
    function = getattr(module, wanted.name, None)
    if not callable(function):
        near = did_you_mean(wanted.name, vars(module))
        raise SpecError(f"module `{wanted.module}` has no function `{wanted.name}`.{near}", path="trainable")
    return function


def _import_file(wanted: UserFunction) -> Any:
    assert wanted.file is not None
    check_name_is_free(wanted)
    folder = str(wanted.file.parent)
    if folder not in sys.path:
        # As Python does for a script: a file may import what lies beside it, at its top and later on.
        sys.path.insert(0, folder)
    module = importlib.import_module(wanted.module)
    check_name_is_free(wanted)
    return module


@contextlib.contextmanager
def _temporary_directory() -> Iterator[TrialDirectory]:
    with tempfile.TemporaryDirectory(prefix="tunesmith-") as folder:
        directory = TrialDirectory(Path(folder))
        directory.begin_attempt()
        yield directory
