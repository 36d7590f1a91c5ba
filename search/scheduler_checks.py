"""What schedulers and stop conditions need of the rest of a spec. Imports neither ray nor torch."""

from collections.abc import Sequence

from search.conditions import check_conditions
from search.spec import SearchSpec
from spaces.distributions import Choice
from spaces.documents import overlap
from spaces.errors import SpecError, did_you_mean
from spaces.space import Space
from trainables.arguments import resolved_training
from trainables.mutable import check_mutable, check_schedules, is_mutable
from trainables.tasks.registry import TASKS

_SCHEDULE = "training.lr_scheduler_type"


def check_scheduler(spec: SearchSpec, space: Space) -> None:
    """Raise SpecError for what would not work, or would mean nothing."""
    check_conditions(spec.search.stop_trial_when, _metrics(spec))
    scheduler = spec.search.scheduler
    if not scheduler.lets_trials_wait:
        return
    if not spec.checkpoints.save:
        instead = "`asha`" if scheduler.name == "pasha" else "another scheduler"
        raise SpecError(
            f"`{scheduler.name}` lets trials go on from checkpoints, but `checkpoints.save` is false: there would be "
            f"none. Save checkpoints, or use {instead}.",
            path="search.scheduler.name",
        )
    if spec.task is not None and not TASKS[spec.task].trains:
        raise SpecError(
            f"`{scheduler.name}` lets trials go on from checkpoints, but `{spec.task}` trains nothing: use `asha`.",
            path="search.scheduler.name",
        )
    if scheduler.is_population:
        _check_population(spec, space)


def mutated_paths(spec: SearchSpec, space: Space) -> tuple[str, ...]:
    """The paths that a population changes: those of the spec, or all that can change in the middle of training."""
    named = spec.search.scheduler.mutate
    if named:
        return named
    is_bandit = spec.search.scheduler.name == "pb2"
    return tuple(
        each.path
        for each in space.parameters
        if is_mutable(each.path)
        and not (is_bandit and not _is_range(space, each.path))
        and not _decides(space, each.path)
    )


def _check_population(spec: SearchSpec, space: Space) -> None:
    name = spec.search.scheduler.name
    if spec.search.trials is not None and spec.search.trials < 2:
        raise SpecError(
            f"`{name}` compares trials, but got trials={spec.search.trials}: a population has 2 or more.",
            path="search.trials",
        )
    if spec.resources.workers > 1:
        raise SpecError(
            f"`{name}` hands checkpoints over between trials of one worker; trials of {spec.resources.workers} workers "
            "are not proven to go on alike. Use one worker, or `asha`.",
            path="resources.workers",
        )
    for index, path in enumerate(spec.search.scheduler.mutate):
        try:
            _check_mutated(spec, space, path)
        except SpecError as error:
            raise error.at(f"search.scheduler.mutate.{index}") from None
    mutated = mutated_paths(spec, space)
    if not mutated:
        varies = ", ".join(f"`{path}`" for path in space.paths) or "nothing"
        raise SpecError(
            f"`{name}` changes values in the middle of training, but of what the space varies ({varies}) nothing can "
            "be changed then. Vary `training.learning_rate`, for example.",
            path="space",
        )
    _check_derived(space, mutated)
    check_schedules(_schedules(spec, space), mutated)


def _check_mutated(spec: SearchSpec, space: Space, path: str) -> None:
    if path not in space.paths:
        raise SpecError(
            f"`{path}` is not in the space, so there is no range to change it in.{did_you_mean(path, space.paths)}"
        )
    check_mutable(path)
    if _decides(space, path):
        raise SpecError(f"`{path}` decides which other parameters exist (`when`), so it cannot change.")
    if spec.search.scheduler.name == "pb2" and not _is_range(space, path):
        raise SpecError(
            f"`pb2` changes numbers by a Gaussian process, but `{path}` is a choice, an open range, or exists under "
            "conditions only. Use `pbt`, or leave it out."
        )


def _check_derived(space: Space, mutated: Sequence[str]) -> None:
    for target, expression in space.derive.items():
        source = next((path for path in mutated if any(overlap(path, name) for name in expression.names)), None)
        if source is not None and not is_mutable(target):
            raise SpecError(
                f"`{target}` follows from `{source}`, which changes in the middle of training, but `{target}` itself "
                "cannot. Name the paths that change by `search.scheduler.mutate`.",
                path=f"derive.{target}",
            )


def _schedules(spec: SearchSpec, space: Space) -> Sequence[object]:
    if spec.task is None:
        return ()
    for each in space.parameters:
        if each.path == _SCHEDULE:
            return each.distribution.grid()
    return (resolved_training(spec.training).get("lr_scheduler_type", "linear"),)


def _is_range(space: Space, path: str) -> bool:
    parameter = next(each for each in space.parameters if each.path == path)
    distribution = parameter.distribution
    bounds = (getattr(distribution, "low", None), getattr(distribution, "high", None))
    return not isinstance(distribution, Choice) and None not in bounds and not parameter.when


def _decides(space: Space, path: str) -> bool:
    return any(overlap(path, condition) for each in space.parameters for condition, _ in each.when)


def _metrics(spec: SearchSpec) -> Sequence[str] | None:
    return TASKS[spec.task].metrics(spec.data) if spec.task is not None and spec.data is not None else None
