"""The plan of a search in words and figures. Knows how to say it, not how to check it."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from analysis.wording import show_value
from cluster.connect import Capacity, local_cpus
from cluster.resources import concurrent_trials
from search.algorithms import FINITE, with_startup_trials
from search.auto import chosen
from search.budget_text import budget_text
from search.plan import Plan
from search.presets import AppliedPreset
from search.scheduler_checks import mutated_paths
from search.scouts import is_scout
from search.spec import SearchConfig
from spaces.distributions import Choice, Distribution
from spaces.errors import SpecError
from spaces.space import Parameter
from trainables.config import Source
from trainables.user_functions import check_trainable

_FUNCTION_WORDS = {
    "own_loop": "called as function(config, report)",
    "ray_train_loop": "a Ray Train loop",
    None: "a function whose source does not tell how it is called",
}


def plan_facts(plan: Plan) -> dict[str, Any]:
    """The plan as plain values: `check --json`."""
    spec = plan.spec
    card = plan.cached_data()
    return {
        "name": spec.name,
        "task": spec.task or spec.trainable,
        "model": _model(plan),
        "preset": plan.preset.name if plan.preset else None,
        "objective": {"metric": spec.metric, "mode": spec.mode},
        "objectives": [{"metric": objective.name, "mode": objective.mode} for objective in spec.objectives],
        "folds": spec.search.folds.model_dump() if spec.search.folds else None,
        "algorithm": spec.search.algorithm.name,
        "scheduler": spec.search.scheduler.name,
        "rungs": rungs(plan),
        "stop_trial_when": list(spec.search.stop_trial_when),
        "trials": plan.num_trials,
        "grid_size": plan.grid_size,
        "budget": spec.search.budget.model_dump(mode="json", exclude_none=True),
        "workers": spec.resources.workers,
        "concurrent_trials": _concurrent(plan),
        "space": {parameter.path: describe(parameter) for parameter in plan.space.parameters},
        "constraints": list(spec.constraints),
        "derive": dict(spec.derive),
        "data": card.to_json() if card else None,
        "directory": str(plan.files.path),
        "exists": plan.files.path.exists(),
        "wandb": spec.tracking.wandb.model_dump(mode="json"),
    }


def plan_text(plan: Plan) -> RenderableType:
    """The plan for a person."""
    spec, facts = plan.spec, plan_facts(plan)
    lines = Table.grid(padding=(0, 2))
    lines.add_column(style="bold", no_wrap=True)
    lines.add_column(overflow="fold")
    lines.add_row("search", spec.name)
    task = _below_here(facts["task"])
    lines.add_row("task", f"{task}, {facts['model']}" if facts["model"] else task)
    lines.add_row("data", _data(plan))
    for index, each in enumerate(spec.objectives):
        better = "smaller" if each.mode == "min" else "larger"
        lines.add_row("objective" if index == 0 else "", f"{each.name}, {better} is better")
    if spec.search.folds is not None:
        lines.add_row("each trial", _folds(spec.search))
    if plan.preset is not None:
        lines.add_row("preset", _preset(plan.preset))
    lines.add_row("algorithm", _algorithm(plan))
    lines.add_row("scheduler", _scheduler(plan))
    at_once = facts["concurrent_trials"]
    lines.add_row("trials", f"{plan.num_trials}, {at_once} at once here" if at_once else f"{plan.num_trials}")
    if budget := budget_text(spec.search.budget, mode=spec.mode, currency=spec.resources.currency):
        lines.add_row("ends early by", budget)
    lines.add_row("resources", _resources(plan))
    lines.add_row("W&B", _wandb(plan))
    lines.add_row("folder", f"{plan.files.path}{'  (exists already)' if facts['exists'] else ''}")
    space = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    space.add_column("varies")
    space.add_column("over")
    for path, words in facts["space"].items():
        space.add_row(path, words)
    parts: list[RenderableType] = [lines, Text("")]
    parts.append(space if facts["space"] else Text("nothing varies: one trial"))
    for constraint in spec.constraints:
        parts.append(Text(f"constraint  {constraint}"))
    for condition in spec.search.stop_trial_when:
        parts.append(Text(f"stop when   {condition}"))
    for path, expression in spec.derive.items():
        parts.append(Text(f"derived     {path} = {expression}"))
    return Group(*parts)


def _folds(search: SearchConfig) -> str:
    """How often a trial trains, and what may stop it between."""
    cross_validation, parts = search.cross_validation, []
    if cross_validation is not None:
        repeated = f", {cross_validation.repeats} times" if cross_validation.repeats > 1 else ""
        parts.append(f"{cross_validation.folds} folds{repeated}")
    if search.seeds > 1:
        parts.append(f"{search.seeds} seeds")
    words = f"{search.trainings} trainings: {' x '.join(parts)}"
    if search.racing is not None:
        words += f"; a race at level {search.racing.level:g} stops what is worse"
    if cross_validation is not None and cross_validation.outer_folds is not None:
        words += f"; nested, in {cross_validation.outer_folds} searches"
    return words


def _below_here(task: str) -> str:
    """A trainable's file relative to the current folder, where it lies below it."""
    return task.removeprefix(f"{Path.cwd()}/")


def describe(parameter: Parameter) -> str:
    """One parameter of the space in words."""
    condition = " and ".join(
        f"{path} is {' or '.join(show_value(value) for value in allowed)}" for path, allowed in parameter.when
    )
    prior = parameter.prior
    belief = f", best believed near {show_value(prior.value)} ({prior.confidence} confidence)" if prior else ""
    return _range(parameter.distribution) + belief + (f", when {condition}" if condition else "")


def _range(distribution: Distribution) -> str:
    if isinstance(distribution, Choice):
        return " | ".join(show_value(value) for value in distribution.values)
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(distribution).__name__).lower()
    facts = {field.name: getattr(distribution, field.name) for field in fields(distribution)}  # type: ignore[arg-type]  # all are dataclasses
    first, second, *rest = facts.items()
    bounds = (
        f"{show_value(first[1])} .. {show_value(second[1])}"
        if first[0] == "low"
        else ", ".join(f"{k} {show_value(v)}" for k, v in (first, second))
    )
    return f"{name} {bounds}" + "".join(f", {key} {show_value(value)}" for key, value in rest if value is not None)


def rungs(plan: Plan) -> list[float]:
    """Amounts of training after which trials may be stopped."""
    scheduler = plan.spec.search.scheduler
    return scheduler.rungs(plan.max_resource) if scheduler.has_rungs and plan.max_resource is not None else []


def _resources(plan: Plan) -> str:
    resources = plan.spec.resources
    words = f"{resources.cpus_per_worker} CPU, {resources.gpus_per_worker:g} GPU a trial"
    if resources.workers > 1:
        words = f"{resources.workers} workers a trial, {words.replace('a trial', 'each')}"
    if resources.workers * resources.cpus_per_worker > local_cpus():
        words += f": more than the {local_cpus()} CPUs here, so it needs a cluster (`--address`)"
    return words


def _concurrent(plan: Plan) -> int | None:
    """Trials at once on this machine; None when its GPUs are not known without asking torch."""
    if plan.spec.resources.gpus_per_worker:
        return None
    try:
        return concurrent_trials(plan.spec.resources, Capacity(cpus=local_cpus(), gpus=0))
    except SpecError:
        return None


def _model(plan: Plan) -> str:
    model = plan.spec.model
    if model is None:
        return _FUNCTION_WORDS[check_trainable(plan.spec.trainable)] if plan.spec.trainable else ""
    return f"{model.architecture} from scratch" if model.architecture else f"pretrained {model.pretrained}"


def _data(plan: Plan) -> str:
    if plan.spec.data is None:
        return "the trainable's own"
    card = plan.cached_data()
    sources = plan.spec.data.sources
    source = " + ".join(_source(each, of_several=len(sources) > 1) for each in sources)
    if card is None:
        return f"{source}: will be prepared at the first start"
    sizes = ", ".join(f"{part} {count:,}" for part, count in card.examples.items())
    if card.dropped:
        sizes += f" ({sum(card.dropped.values()):,} left out: at data.max_length nothing to learn is left of them)"
    tokens = f"{card.tokens['train']:,} training tokens, vocabulary {card.vocab_size:,}"
    done = [f"{count['step']} removed {count['removed']:,}, changed {count['changed']:,}" for count in card.cleaning]
    cleaned = f"; {', '.join(done)}" if done else ""
    copies = f"; {card.augmented:,} changed copies in train" if card.augmented else ""
    return f"{source}: {sizes} examples; {tokens} (prepared){cleaned}{copies}"


def _source(source: Source, *, of_several: bool) -> str:
    kinds = source.model_dump(mode="json", exclude={"weight"})
    name = str(next(iter(kinds.values())))
    return f"{source.weight:g} x {name}" if of_several else name


def _algorithm(plan: Plan) -> str:
    own = plan.spec.search.algorithm
    situation = plan.situation(num_parallel=_concurrent(plan) or 1)
    algorithm, reason = chosen(own, situation)
    algorithm = with_startup_trials(algorithm, plan.num_trials)
    chosen_as = f"auto: {algorithm.name}, because {reason}" if own.name == "auto" else algorithm.name
    if algorithm.name in FINITE:
        words = f"{chosen_as} of {plan.grid_size} points" if own.name != "auto" else chosen_as
    else:
        words = f"{chosen_as}, seed {plan.spec.search.seed}"
    if algorithm.startup_trials is not None:
        how = "by turns from the priors and random" if plan.space.has_priors else algorithm.startup.replace("_", "-")
        words += f", the first {algorithm.startup_trials} {how}"
    if isinstance(plan.spec.search.start_from, str):
        words += f", starting from {_first_guesses(plan)}"
    elif plan.spec.search.start_from:
        words += f", starting from {len(plan.spec.search.start_from)} given points"
    if algorithm.name in FINITE or plan.grid_size is None:
        return words
    return f"{words}; the space has {plan.grid_size} points"


def _first_guesses(plan: Plan) -> str:
    found = plan.first_guesses()
    if found is None:
        return "first guesses by scaling laws, made once the data is prepared"
    return "first guesses by scaling laws: " + "; ".join(guess.words for guess in found)


def _preset(preset: AppliedPreset) -> str:
    words = preset.name
    if preset.settings:
        words += f", sets {', '.join(f'{path} {show_value(value)}' for path, value in preset.settings.items())}"
    if preset.left_out:
        words += f"; without {', '.join(preset.left_out)}, which the spec says itself"
    return words


def _scheduler(plan: Plan) -> str:
    scheduler = plan.spec.search.scheduler.settled(num_trials=plan.num_trials)
    if scheduler.name == "none":
        return "none: every trial trains to its end"
    if scheduler.is_population:
        mutated = ", ".join(mutated_paths(plan.spec, plan.space))
        return (
            f"{scheduler.name}: every {scheduler.interval:g} {scheduler.unit} the worst {scheduler.quantile:.0%} go on "
            f"from the best ones' checkpoints, with other values of {mutated}"
        )
    if not scheduler.has_rungs:
        return f"{scheduler.name}: trials may be stopped after {scheduler.grace:g} {scheduler.unit}"
    assert plan.max_resource is not None, "rungs need the most training"
    at = ", ".join(f"{rung:g}" for rung in rungs(plan))
    if scheduler.name == "pasha":
        return (
            f"pasha: trials wait after {at} of {plan.max_resource:g} {scheduler.unit}, and go on only while the "
            "ranking is not settled; in the end the best one trains on to its end"
        )
    words = f"{scheduler.name}: trials may be stopped after {at} of {plan.max_resource:g} {scheduler.unit}"
    brackets = scheduler.num_brackets(plan.max_resource)
    words += f", in {brackets} brackets" if brackets > 1 else ""
    return words + (f"; {_scouts(plan)}" if scheduler.protect else "")


def _scouts(plan: Plan) -> str:
    count = sum(is_scout(number) for number in range(plan.num_trials))
    return f"{count} of {plan.num_trials} trials train to their end whatever their rank, to see if early ranks last"


def _wandb(plan: Plan) -> str:
    wandb = plan.spec.tracking.wandb
    if wandb.mode == "disabled":
        return "disabled"
    place = f"{wandb.entity}/{wandb.project}" if wandb.entity else wandb.project
    return f"{wandb.mode}, project {place}, group {plan.spec.name}"
