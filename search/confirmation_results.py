"""From the record of a confirmation's trainings to what it showed. Knows no statistics."""

from typing import Any

from analysis.confirmation import Configuration, Confirmation, SeedRun
from analysis.records import SearchRecord, TrialRecord
from search.confirmation_sections import ConfirmationConfig, ConfirmedConfiguration
from search.confirmation_space import CONFIGURATION, SEED
from search.spec import SearchSpec
from search.stages import plan_of
from spaces.folds import is_of_a_fold
from spaces.objectives import OF_A_TRIAL, name_on_test


def confirmation_of(
    config: ConfirmationConfig, spec: SearchSpec, record: SearchRecord, *, created: str
) -> Confirmation:
    """What `record` holds of the trainings that `config` asks for; those that have not begun are RUNNING."""
    trials = {(trial.params[CONFIGURATION], trial.params[SEED]): trial for trial in record.current}
    guess_name, guess = _guess(spec)
    return Confirmation(
        number=config.number,
        search=config.search,
        metric=spec.metric,
        objectives=spec.objectives,
        seeds=config.seeds,
        configurations=tuple(
            _configuration(each, tuple(_run(seed, trials.get((each.name, seed)), spec) for seed in config.seeds))
            for each in config.configurations
        ),
        trained_on_validation=any(_trains_on_validation(each.document) for each in config.configurations),
        created=created,
        guess_name=guess_name,
        guess=guess,
        notes=config.notes,
        directory=record.directory,
    )


def _configuration(each: ConfirmedConfiguration, runs: tuple[SeedRun, ...]) -> Configuration:
    return Configuration(
        name=each.name, kind=each.kind, trial=each.trial, params=each.params, searched=each.searched, runs=runs
    )


def _run(seed: int, trial: TrialRecord | None, spec: SearchSpec) -> SeedRun:
    if trial is None or trial.state == "RUNNING":
        return SeedRun(seed=seed, state="RUNNING")
    if trial.state != "COMPLETE":
        return SeedRun(seed=seed, state="FAIL", error=trial.error or trial.stopped_because or "it was stopped")
    metrics = {name: value for name, value in trial.metrics.items() if not is_of_a_fold(name)}
    values = trial.values or ((trial.value,) if trial.value is not None else ())
    metrics |= {objective.name: value for objective, value in zip(spec.objectives, values, strict=False)}
    missing = next((name for name in _on_test(spec) if name not in metrics), None)
    if missing is not None:
        error = f"it did not report `{missing}` at its end"
        return SeedRun(seed=seed, state="FAIL", metrics=metrics, error=error)
    return SeedRun(seed=seed, state="COMPLETE", metrics=metrics)


def _on_test(spec: SearchSpec) -> list[str]:
    return [name_on_test(each.name) for each in spec.objectives if not each.name.startswith(OF_A_TRIAL)]


def _trains_on_validation(document: dict[str, Any]) -> bool:
    splits = document.get("data", {}).get("splits", {})
    return bool(splits.get("train_on_validation", False))


def _guess(spec: SearchSpec) -> tuple[str, dict[str, float]]:
    """What guessing without a model reaches on validation and on test."""
    card = plan_of(spec).cached_data()
    if card is None:
        return "", {}
    return card.baseline_name, {
        **card.baseline,
        **{name_on_test(name): value for name, value in card.test_baseline.items()},
    }
