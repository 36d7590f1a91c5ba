"""The record of a search, wherever it is kept: by what the name of a source looks like, the file that reads it.

Imports nothing that a source of another kind needs: neither W&B nor pandas for a folder.
"""

from pathlib import Path

from analysis.kept import brought_here
from analysis.records import SearchFiles, SearchRecord
from analysis.study_place import study_place
from analysis.study_source import is_storage, read_search, read_storage
from analysis.table_files import TABLE_ENDINGS
from spaces.errors import SpecError
from spaces.objectives import Mode
from spaces.store import is_store

WANDB = "wandb:"
"""How the name of a source begins that W&B has."""
_DATABASES = (".db", ".sqlite", ".sqlite3")


def read_records(source: Path | str, *, metric: str | None = None, mode: Mode | None = None) -> SearchRecord:
    """The record of the search at `source`; one that still runs can be read too.

    Args:
        source: The folder of a search; an Optuna storage (`sqlite:///FILE`, another database URL, `journal:FILE`, a .db
            file), with `#STUDY` where it holds several; `wandb:ENTITY/PROJECT/GROUP`, `wandb:ENTITY/PROJECT` or
            `wandb:ENTITY/PROJECT/sweeps/ID`; a folder of offline W&B runs; a csv, tsv, jsonl or parquet file.
        metric: What was optimised, where the source does not say it: in runs and tables of others.
        mode: Which way it is better, where that cannot be told from its name.

    Raises:
        SpecError: nothing can be read at `source`, or it does not say what `metric` and `mode` are.
    """
    record = _read(source, metric=metric, mode=mode)
    if metric is not None and record.metric != metric:
        raise SpecError(
            f"`{source}` says itself what was optimised, {record.metric}, but got the metric `{metric}`: a metric is "
            "named for runs and tables of others only."
        )
    if mode is not None and record.mode != mode:
        raise SpecError(
            f"`{source}` says itself that {record.metric} is better when it is "
            f"{'small' if record.mode == 'min' else 'large'} ({record.mode}), but got the mode `{mode}`."
        )
    return record


def is_folder(source: Path | str) -> bool:
    """Whether `source` names a folder of ours, or nothing that is known."""
    text, path = str(source), Path(source).expanduser()
    if is_store(text):
        return True  # that of this machine which stands for it
    if text.startswith(WANDB) or (isinstance(source, str) and is_storage(text)):
        return False
    if not path.is_dir():
        return path.suffix not in TABLE_ENDINGS and Path(text.partition("#")[0]).suffix not in _DATABASES
    from analysis.offline_runs import has_offline_runs

    return study_place(SearchFiles(path)) is not None or not has_offline_runs(path)


def _read(source: Path | str, *, metric: str | None, mode: Mode | None) -> SearchRecord:
    text, path = str(source), Path(source).expanduser()
    if is_folder(source):
        return read_search(brought_here(path))
    if text.startswith(WANDB):
        from analysis.wandb_source import read_wandb

        return read_wandb(text, metric=metric, mode=mode)
    if path.is_dir():
        from analysis.offline_runs import read_offline

        return read_offline(path, metric=metric, mode=mode)
    if path.suffix in TABLE_ENDINGS:
        from analysis.table_source import read_table_record

        return read_table_record(path, metric=metric, mode=mode)
    return read_storage(text if is_storage(text) else f"sqlite:///{path}", metric=metric)
