"""`search:FOLDER#best` in a spec -> the folder of that trial's checkpoint. Looked up once, when the spec is loaded.

A search that starts from another one must not change when that one goes on: what is recorded is the folder.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.kept import local_checkpoint
from analysis.records import SearchRecord, TrialRecord
from analysis.sources import read_records
from spaces.errors import SpecError
from spaces.store import is_store

_PREFIX = "search:"
_BEST = "best"
_SECTIONS = ("model", "data", "space")


def resolve_searches(raw: dict[str, Any]) -> None:
    """Replace every `search:...` in the sections of a task, in place.

    Raises:
        SpecError: there is no such search, trial or checkpoint.
    """
    if "trainable" in raw:
        return  # what its `config` means is its own affair
    for section in _SECTIONS:
        if section in raw:
            raw[section] = _resolved(raw[section], section)


def checkpoint_of(place: str) -> Path:
    """The checkpoint that `search:FOLDER#best` or `search:FOLDER#NUMBER` names; without `#` the best one.

    Raises:
        SpecError: there is no such search, trial or checkpoint.
    """
    folder, _, wanted = place.removeprefix(_PREFIX).partition("#")
    if not folder:
        raise SpecError(f"expected `search:FOLDER#best` or `search:FOLDER#NUMBER`, but got `{place}`.")
    record = read_records(folder if is_store(folder) else Path(folder).expanduser().absolute())
    trial = _trial(record, wanted or _BEST, place=place)
    if trial.checkpoint is None:
        kept = [str(one.number) for one in record.trials if one.checkpoint]
        raise SpecError(
            f"the checkpoint of trial {trial.number} was not kept (`checkpoints.keep`). "
            f"Trials with one: {', '.join(kept) or 'none'}."
        )
    return local_checkpoint(trial.checkpoint).absolute()


def _trial(record: SearchRecord, wanted: str, *, place: str) -> TrialRecord:
    if wanted == _BEST:
        if record.best is None:
            raise SpecError(f"`{record.directory}` has no finished trial yet.")
        return record.best
    if not wanted.isdecimal():
        raise SpecError(f"behind `#` stands `best` or the number of a trial, but got `{place}`.")
    found = next((trial for trial in record.trials if trial.number == int(wanted)), None)
    if found is None:
        raise SpecError(f"`{record.directory}` has no trial {wanted}: it has {len(record.trials)} of them, from 0 on.")
    if found.state == "RUNNING":
        raise SpecError(f"trial {wanted} of `{record.directory}` has not finished.")
    return found


def _resolved(value: Any, path: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _resolved(inner, f"{path}.{key}") for key, inner in value.items()}
    if isinstance(value, list):
        return [_resolved(inner, path) for inner in value]
    if not isinstance(value, str) or not value.startswith(_PREFIX):
        return value
    try:
        return str(checkpoint_of(value))
    except SpecError as error:
        raise error.at(path) from None
