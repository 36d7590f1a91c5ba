"""The record of a search in its folder: study.db, and the files beside it. Knows neither ray nor torch nor W&B."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from analysis.distributions import ranges_of
from analysis.lineage import LENGTHENED_AT, Origin, lineage
from analysis.records import SearchFiles, SearchRecord, TrialRecord
from spaces.errors import SpecError
from spaces.folds import fold_values
from spaces.objectives import Mode, Objective
from spaces.usage import TrialUsage


def read_search(directory: Path) -> SearchRecord:
    """The record in `directory`; a search that still runs can be read too.

    Raises:
        SpecError: `directory` holds no search.
    """
    import optuna

    files = SearchFiles(directory)
    if not files.study.is_file():
        raise SpecError(f"`{directory}` is no search: it has no {files.study.name}.{_nearby(directory)}")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = optuna.storages.RDBStorage(
        f"sqlite:///{files.study}",
        engine_kwargs={"connect_args": {"timeout": 60}},
        skip_compatibility_check=True,
    )
    study = optuna.load_study(study_name=optuna.get_all_study_names(storage)[0], storage=storage)
    attributes = study.user_attrs
    gpus = float(attributes.get("gpus_per_trial", 0.0))
    modes: list[Mode] = ["min" if direction.name == "MINIMIZE" else "max" for direction in study.directions]
    names = study.metric_names or ["value"]
    objectives = tuple(Objective(name=name, mode=mode) for name, mode in zip(names, modes, strict=True))
    metric = names[0]
    return SearchRecord(
        name=study.study_name,
        directory=directory,
        metric=metric,
        mode=modes[0],
        objectives=objectives if len(objectives) > 1 else (),
        trials=_related(
            [_trial_record(trial, metric=metric, gpus=gpus) for trial in study.get_trials(deepcopy=False)], attributes
        ),
        num_planned=attributes.get("num_trials"),
        currency=attributes.get("currency", "USD"),
        baseline=attributes.get("baseline", {}),
        baseline_name=attributes.get("baseline_name", ""),
        **attributes.get("folds", {}),
        yardstick=attributes.get("yardstick", {}),
        seconds=attributes.get("seconds", 0.0),
        ended_by=attributes.get("ended_by"),
        notes=tuple(attributes.get("notes", ())),
        default=attributes.get("defaults", {}),
        space=ranges_of(study.get_trials(deepcopy=False)),
        history_of=lambda number: files.trial(number).read_history(),
        unit=unit if (unit := attributes.get("step_unit")) in ("steps", "tokens") else "epochs",
    )


def _related(trials: list[TrialRecord], attributes: Mapping[str, Any]) -> list[TrialRecord]:
    """The trials with what follows from their origins."""
    found = lineage(
        {trial.number: trial.origin for trial in trials if trial.origin is not None},
        completed=[trial.number for trial in trials if trial.state == "COMPLETE"],
        lengthened_at=attributes.get(LENGTHENED_AT),
    )
    related = [
        replace(trial, superseded_by=found.superseded[trial.number]) if trial.number in found.superseded else trial
        for trial in trials
    ]
    # Where others train for longer, a trial that ended where all once ended has stopped early.
    return [
        replace(trial, state="PRUNED", value=None) if trial.number in found.shortened else trial for trial in related
    ]


def _trial_record(trial: Any, *, metric: str, gpus: float) -> TrialRecord:
    result = trial.user_attrs.get("result", {})
    checkpoint = result.get("checkpoint")
    seconds = result.get("seconds")
    values = tuple(trial.values) if trial.state.name == "COMPLETE" else ()
    return TrialRecord(
        number=trial.number,
        state=trial.state.name,
        value=values[0] if values else None,
        values=values if len(values) > 1 else (),
        params=trial.user_attrs.get("assignment", trial.params),
        intermediate=dict(sorted(trial.intermediate_values.items())),
        steps=result.get("steps"),
        epochs=result.get("epochs"),
        tokens=result.get("tokens"),
        seconds=seconds,
        gpu_hours=None if seconds is None else seconds * gpus / 3600,
        usage=TrialUsage(**result.get("usage", {})),
        cost=result.get("cost"),
        metrics=result.get("metrics", {}),
        fold_values=tuple(fold_values(result.get("metrics", {}), metric)[: result.get("folds_ended", 0)]),
        clock=result.get("clock", {}),
        checkpoint=checkpoint if checkpoint and Path(checkpoint).is_dir() else None,
        error=result.get("error"),
        failure=result.get("failure"),
        stopped_by=result.get("stopped_by"),
        origin=Origin.from_attributes(trial.user_attrs),
        stopped_because=result.get("stopped_because"),
        lineage=tuple(trial.user_attrs.get("lineage", ())),
    )


def _nearby(directory: Path) -> str:
    found = sorted(path.parent for path in directory.glob("*/study.db")) if directory.is_dir() else []
    return f" Searches in there: {', '.join(str(path) for path in found[:5])}." if found else ""
