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
    known = [objective.name for objective in record.objectives] or [record.metric]
    if metric is not None and record.metric != metric:
        raise SpecError(
            f"`{source}` says itself what was optimised, {', '.join(known)}: leave `--metric {metric}` out. It is for "
            "runs and tables of others."
        )
    if mode is not None and record.mode != mode:
        raise SpecError(
            f"`{source}` says itself that {record.metric} was optimised to its {record.mode}: leave `--mode` out."
        )
    return record


def _read(source: Path | str, *, metric: str | None, mode: Mode | None) -> SearchRecord:
    text = str(source)
    if text.startswith(WANDB):
        from analysis.wandb_source import read_wandb

        return read_wandb(text, metric=metric, mode=mode)
    if is_store(text):
        return read_search(brought_here(text))
    if isinstance(source, str) and is_storage(text):
        return read_storage(text, metric=metric)
    path = Path(source).expanduser()
    file, _, _ = text.partition("#")
    if Path(file).suffix in _DATABASES and not path.is_dir():
        return read_storage(f"sqlite:///{text}", metric=metric)
    if path.suffix in TABLE_ENDINGS and not path.is_dir():
        from analysis.table_source import read_table_record

        return read_table_record(path, metric=metric, mode=mode)
    if study_place(SearchFiles(path)) is None:
        from analysis.offline_runs import has_offline_runs, read_offline

        if has_offline_runs(path):
            return read_offline(path, metric=metric, mode=mode)
    return read_search(path)
