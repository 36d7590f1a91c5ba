"""Whether what a search is to optimise exists, and what does not go together with several objectives."""

from search.spec import SearchSpec
from spaces.errors import SpecError, did_you_mean
from spaces.objectives import OF_A_TRIAL, TRIAL_MODES, Objective
from trainables.metrics import MODES
from trainables.tasks.registry import TASKS

_FOR_SEVERAL = ("auto", "grid", "brute_force", "random", "quasi_random", "tpe", "gp", "nsga2", "nsga3")


def check_objectives(spec: SearchSpec) -> None:
    """Raises SpecError, with its path, for the first thing that cannot be."""
    given, modes = spec.search.metric, spec.search.mode
    is_list = isinstance(given, tuple)
    if isinstance(modes, tuple) and (not is_list or len(modes) != len(given or ())):
        raise SpecError(
            f"each metric has one mode, but there are {len(given) if is_list and given else 1} metrics and "
            f"{len(modes)} modes.",
            path="search.mode",
        )
    for index, objective in enumerate(spec.objectives):
        _check_one(spec, objective, path=f"search.metric.{index}" if is_list else "search.metric", is_first=index == 0)
    names = [objective.name for objective in spec.objectives]
    if len(set(names)) < len(names):
        raise SpecError("a metric stands in the list twice.", path="search.metric")
    if len(names) > 1:
        _check_several(spec)


def _check_one(spec: SearchSpec, objective: Objective, *, path: str, is_first: bool) -> None:
    name = objective.name
    if is_first and name.startswith(OF_A_TRIAL):
        raise SpecError(
            f"the first metric is what trials report while they train, but `{name}` is known at their end only: put it "
            "behind a metric of the evaluation.",
            path=path,
        )
    known = tuple(TRIAL_MODES)
    if spec.task is not None and spec.data is not None:
        known = TASKS[spec.task].metrics(spec.data) + (() if is_first else known)
    elif not name.startswith(OF_A_TRIAL):
        return  # only the user knows what a function reports
    if name not in known:
        what = f"{spec.task} has" if spec.task else "a trial has"
        raise SpecError(f"{what} no metric `{name}`.{did_you_mean(name, known)} Known: {', '.join(known)}.", path=path)
    if name == "trial/cost" and spec.resources.price_per_hour is None:
        raise SpecError("what a trial costs follows from `resources.price_per_hour`: set it.", path=path)
    better = (TRIAL_MODES | MODES)[name]
    if objective.mode != better:
        raise SpecError(
            f"`{name}` is better when it is {'smaller' if better == 'min' else 'larger'}, but mode is "
            f"`{objective.mode}`: leave it out.",
            path="search.mode",
        )


def _check_several(spec: SearchSpec) -> None:
    search = spec.search
    if search.algorithm.name not in _FOR_SEVERAL:
        raise SpecError(
            f"`{search.algorithm.name}` knows one objective only. For several: {', '.join(_FOR_SEVERAL)}.",
            path="search.algorithm",
        )
    if search.scheduler.name != "none":
        raise SpecError(
            f"`{search.scheduler.name}` stops trials by one metric, and would stop some that nothing beats in the "
            "others: leave the scheduler out, or search for one metric.",
            path="search.scheduler",
        )
    if search.racing is not None:
        raise SpecError(
            "a race is run for one metric, and would stop trials that nothing beats in the others.",
            path="search.racing",
        )
    if search.warm_start:
        raise SpecError("what other searches teach is told for one metric only.", path="search.warm_start")
