"""Which parameters mattered: shares of the variance (fANOVA), interactions, and what it took to be among the best.

Shares are those of a model of the search (`surrogate.py`), so each comes with an interval, and with what a made-up
parameter, drawn at random, would have got: what does not stand above that is not called important. Too few trials give
a sentence, and no number.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import RLock
from typing import TYPE_CHECKING, Any

from analysis.axes import Axis, axes_of
from analysis.records import SearchRecord, TrialRecord
from analysis.wording import in_units
from spaces.objectives import Objective

if TYPE_CHECKING:
    import numpy as np

    from analysis.surrogate import Surrogate

MIN_TRIALS = 10
"""Finished trials below which nothing is said."""
MIN_FOR_THE_TOP = 20
"""Finished trials below which nothing is said about being among the best."""
_MAX_TRIALS = 1000
"""More teach a forest little, and cost time: a sample of them is taken."""
_MAX_FOR_PAIRS = 6
"""Parameters, by importance, of which all pairs are looked at."""
_ENOUGH = 200
"""Finished trials that are enough, however many were stopped."""
_EXPLAINS = 0.1
"""Explained variance of unseen trials below which the model says nothing of the search."""
_TOP = 0.1
_TOP_DRAWS, _TOP_TRIALS = 12, 400


@dataclass(frozen=True, kw_only=True, slots=True)
class Importance:
    """How much one parameter matters."""

    path: str
    """Which one."""
    name: str
    """The shortest part of the path that is its own."""
    share: float
    """The part of the variance of the objective over the whole space that it has on its own, 0 to 1."""
    interval: tuple[float, float]
    """Where the share lies with 95% confidence (trials drawn anew)."""
    matters: bool
    """Whether that is more than a made-up parameter gets, but for one time in twenty."""
    to_be_best: float | None = None
    """The part it has in being among the best tenth (PED-ANOVA); None where there are too few trials to say."""
    to_be_best_interval: tuple[float, float] | None = None
    """Where that lies with 95% confidence."""
    num_trials: int = 0
    """Finished trials that had the parameter; where it is conditional, fewer than all."""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "path": self.path,
            "share": self.share,
            "interval": list(self.interval),
            "matters": self.matters,
            "to_be_best": self.to_be_best,
            "to_be_best_interval": list(self.to_be_best_interval) if self.to_be_best_interval else None,
            "trials": self.num_trials,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Interaction:
    """What two parameters do together and neither does alone."""

    paths: tuple[str, str]
    """Which ones."""
    names: tuple[str, str]
    """The shortest parts of the paths that are their own."""
    share: float
    """The part of the variance, 0 to 1."""
    interval: tuple[float, float]
    """Where it lies with 95% confidence."""
    matters: bool
    """Whether that is more than pairs with a made-up parameter get, but for one time in twenty."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Importances:
    """What mattered in one search, for one objective."""

    objective: str
    """The metric."""
    parameters: tuple[Importance, ...] = ()
    """The most important first; empty when nothing can be said."""
    interactions: tuple[Interaction, ...] = ()
    """The strongest first."""
    num_trials: int = 0
    """Trials that it rests on."""
    num_left_out: int = 0
    """Trials that have no value to compare."""
    at: int | None = None
    """After how much training values were compared, where too few trials finished to compare them at their ends."""
    explained: float = 0.0
    """How much of the variance of trials that it has not seen the model explains; the rest is chance, or what it could
    not learn from so few."""
    made_up: float = 0.0
    """The share that a made-up parameter stays below, but for one time in twenty."""
    why_not: str | None = None
    """Why nothing can be said, in a sentence."""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "objective": self.objective,
            "parameters": [each.to_json() for each in self.parameters],
            "interactions": [
                {"paths": list(each.paths), "share": each.share, "interval": list(each.interval)}
                for each in self.interactions
            ],
            "trials": self.num_trials,
            "left_out": self.num_left_out,
            "at": self.at,
            "explained": self.explained,
            "made_up": self.made_up,
            "why_not": self.why_not,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """Trials whose values compare, since they have trained equally long."""

    trials: tuple[TrialRecord, ...]
    """Which ones."""
    values: tuple[float, ...]
    """What each had reached."""
    at: int | None
    """After how much training, in the record's unit; None for the end."""

    def words(self, record: SearchRecord) -> str:
        """How many trials, at which point."""
        if self.at is None:
            return f"{len(self.trials):,} finished trials"
        return f"{len(self.trials):,} trials after {in_units(self.at, record.unit)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class FittedSearch:
    """A search and the model of it, for what is drawn and told from both."""

    axes: tuple[Axis, ...]
    """The parameters, which are the first columns of the model."""
    trials: tuple[TrialRecord, ...]
    """The trials it has learned from."""
    points: "np.ndarray"
    """Their places, one row a trial; the last column is the made-up parameter."""
    values: "np.ndarray"
    """What they reached."""
    surrogate: "Surrogate"
    """The model."""
    mode: str
    """Which way values are better."""
    compared: Compared
    """How they were made comparable."""


class _Latest:
    """What was found last, for whom: many figures of one search ask the same. One only, so that nothing piles up."""

    def __init__(self) -> None:
        self.lock = RLock()  # a report may be written while W&B is told of figures
        self._of: tuple[SearchRecord, int] | None = None
        self.fitted: FittedSearch | str = ""
        self.told: Importances | None = None

    def is_of(self, record: SearchRecord, objective: int) -> bool:
        return self._of is not None and self._of[0] is record and self._of[1] == objective

    def keep(self, record: SearchRecord, objective: int, fitted: FittedSearch | str) -> None:
        self._of, self.fitted, self.told = (record, objective), fitted, None


_latest = _Latest()


def fit(record: SearchRecord, *, objective: int = 0) -> FittedSearch | str:
    """The model of `record`, or why there is none, in a sentence."""
    with _latest.lock:
        if not _latest.is_of(record, objective):
            _latest.keep(record, objective, _fit(record, objective, seed=0))
        return _latest.fitted


def _fit(record: SearchRecord, objective: int, *, seed: int) -> FittedSearch | str:
    import numpy as np

    from analysis.surrogate import Surrogate

    compared = compared_trials(record, objective)
    name, mode = _objective(record, objective)
    if len(compared.trials) < MIN_TRIALS:
        return (
            f"{compared.words(record).capitalize()} are too few to say which parameters matter: "
            f"{MIN_TRIALS} at least are due."
        )
    axes = axes_of(record, compared.trials)
    if not axes:
        return "All finished trials have the same parameters, so none can be said to matter."
    rng = np.random.default_rng(seed)
    taken = np.arange(len(compared.trials))
    if len(taken) > _MAX_TRIALS:
        taken = np.sort(rng.choice(taken, _MAX_TRIALS, replace=False))
    done = [compared.trials[index] for index in taken]
    values = np.asarray([compared.values[index] for index in taken])
    if float(np.ptp(values)) == 0.0:
        return f"All finished trials have the same {name}, so no parameter can be said to matter."
    # A trial without a conditional parameter stands in the middle of it, where it says nothing of high or low.
    columns = [
        [axis.unit(trial.params[axis.path]) if axis.path in trial.params else 0.5 for trial in done] for axis in axes
    ]
    points = np.column_stack([*columns, rng.random(len(done))])
    cells = [*(axis.num_cells for axis in axes), max((axis.num_cells for axis in axes), default=2)]
    return FittedSearch(
        axes=tuple(axes),
        trials=tuple(done),
        points=points,
        values=values,
        surrogate=Surrogate(points, values, cells=cells, seed=seed, made_up=True),
        mode=mode,
        compared=compared,
    )


def importances(record: SearchRecord, *, objective: int = 0) -> Importances:
    """What mattered for the objective with index `objective`."""
    with _latest.lock:
        fitted = fit(record, objective=objective)
        if _latest.told is None:
            _latest.told = _importances(record, objective, fitted)
        return _latest.told


def _importances(record: SearchRecord, objective: int, fitted: FittedSearch | str) -> Importances:
    from analysis.surrogate import explained

    name, _ = _objective(record, objective)
    compared = compared_trials(record, objective)
    told = Importances(
        objective=name,
        num_trials=len(compared.trials),
        num_left_out=len(record.current) - len(compared.trials),
        at=compared.at,
    )
    if isinstance(fitted, str):
        return replace(told, why_not=fitted)
    share_explained = explained(fitted.points[:, :-1], fitted.values)
    if share_explained < _EXPLAINS:
        return replace(
            told,
            why_not=f"The parameters do not foretell {name} of unseen trials ({compared.words(record)} to learn from): "
            "either they hardly matter in these ranges, or there are too few trials to see how.",
        )
    made_up, found = _shares(fitted, _to_be_best(fitted))
    return replace(
        told,
        parameters=tuple(sorted(found, key=lambda each: -each.share)),
        interactions=_interactions(fitted, found),
        explained=share_explained,
        made_up=made_up,
    )


def finished(record: SearchRecord) -> list[TrialRecord]:
    """Trials whose values compare: trained to their end, with a value."""
    return [trial for trial in record.current if trial.state == "COMPLETE" and trial.value is not None]


def _objective(record: SearchRecord, index: int) -> tuple[str, str]:
    objectives = record.objectives or (Objective(name=record.metric, mode=record.mode),)
    return objectives[index].name, objectives[index].mode


def compared_trials(record: SearchRecord, objective: int = 0) -> Compared:
    """The trials to learn from: the finished ones, or, where most were stopped, all that trained for some time, as they
    were then. Those that early stopping lets finish are few and alike, so that they would say little."""
    done = finished(record)
    ended = Compared(
        trials=tuple(done),
        values=tuple(float((trial.values or (trial.value or 0.0,))[objective]) for trial in done),
        at=None,
    )
    evaluated = [trial for trial in record.current if trial.intermediate]
    if objective > 0 or len(done) >= _ENOUGH or 2 * len(done) >= len(evaluated):
        return ended
    # The first rung, which nearly all have come to; those that came further were chosen by what is compared here.
    firsts = sorted(max(trial.intermediate) for trial in evaluated if trial.state == "PRUNED")
    if not firsts:
        return ended
    at = firsts[0]
    early = [trial for trial in evaluated if at in trial.intermediate]
    if len(early) < 2 * len(done):
        return ended
    return Compared(trials=tuple(early), values=tuple(trial.intermediate[at] for trial in early), at=at)


def _shares(fitted: FittedSearch, to_be_best: dict[str, Sequence[float]]) -> tuple[float, list[Importance]]:
    marginals = fitted.surrogate.marginals()
    made_up = between([each.share(len(fitted.axes)) for each in marginals], confidence=0.9)[1]
    found = []
    for column, axis in enumerate(fitted.axes):
        shares = [each.share(column) for each in marginals]
        top = to_be_best.get(axis.path)
        share = _mean(shares)
        found.append(
            Importance(
                path=axis.path,
                name=axis.name,
                share=share,
                interval=between(shares),
                matters=share > made_up,
                to_be_best=_mean(top) if top else None,
                to_be_best_interval=between(top) if top else None,
                num_trials=sum(axis.path in trial.params for trial in fitted.trials),
            )
        )
    return made_up, found


def _interactions(fitted: FittedSearch, found: Sequence[Importance]) -> tuple[Interaction, ...]:
    model, made_up_column = fitted.surrogate, len(fitted.axes)
    by_share = sorted(range(len(found)), key=lambda column: -found[column].share)[:_MAX_FOR_PAIRS]
    pairs = list(itertools.combinations(by_share, 2))
    with_made_up = [(column, made_up_column) for column in by_share]
    shares = model.interactions([*pairs, *with_made_up])
    floor = max(between(column, confidence=0.9)[1] for column in shares[:, len(pairs) :].T)
    found_pairs = [
        Interaction(
            paths=(found[first].path, found[second].path),
            names=(found[first].name, found[second].name),
            share=float(column.mean()),
            interval=between(column),
            matters=bool(column.mean() > floor),
        )
        for (first, second), column in zip(pairs, shares.T, strict=False)
    ]
    return tuple(sorted(found_pairs, key=lambda pair: -pair.share))


def _to_be_best(fitted: FittedSearch) -> dict[str, Sequence[float]]:
    """Path -> shares in being among the best tenth, one for each time that the trials were drawn anew."""
    import warnings

    import numpy as np
    import optuna

    if len(fitted.trials) < MIN_FOR_THE_TOP:
        return {}
    # Cells of a choice have no distances; numbers are told their place, in which the scale is already.
    bounds = {
        axis.path: optuna.distributions.CategoricalDistribution(range(len(axis.choices)))
        if axis.is_choice
        else optuna.distributions.FloatDistribution(0.0, 1.0)
        for axis in fitted.axes
    }
    sign = 1.0 if fitted.mode == "min" else -1.0
    trials = [
        optuna.trial.create_trial(
            value=sign * float(value),
            params={
                axis.path: min(int(place * len(axis.choices)), len(axis.choices) - 1)
                if axis.is_choice
                else float(place)
                for axis, place in zip(fitted.axes, row[:-1], strict=True)
            },
            distributions=bounds,
        )
        for row, value in zip(fitted.points, fitted.values, strict=True)
    ]
    rng = np.random.default_rng(0)
    drawn: dict[str, list[float]] = {axis.path: [] for axis in fitted.axes}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Five trials at least make the best tenth: a density of fewer is chance.
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(
            target_quantile=max(_TOP, 5 / min(len(trials), _TOP_TRIALS))
        )
        for _ in range(_TOP_DRAWS):
            study = optuna.create_study()
            drawn_trials = rng.integers(0, len(trials), min(len(trials), _TOP_TRIALS))
            study.add_trials([trials[index] for index in drawn_trials])
            found = optuna.importance.get_param_importances(study, evaluator=evaluator)
            for path in drawn:
                drawn[path].append(float(found.get(path, 0.0)))
    return {path: shares for path, shares in drawn.items() if sum(shares) > 0}


def _drawn(axis: Axis, place: float) -> float:
    return min(int(place * len(axis.choices)), len(axis.choices) - 1) if axis.is_choice else float(place)


def between(values: "Sequence[float] | np.ndarray", *, confidence: float = 0.95) -> tuple[float, float]:
    """Where the middle of `values` lies."""
    import numpy as np

    low, high = np.quantile(np.asarray(values), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
