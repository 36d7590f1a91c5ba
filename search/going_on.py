"""`retry` and `extend`: what they ask of a search that has ended, checked and written down as a revision of its spec.

Nothing is done here: the next session carries revisions out (see `continuations.py`), and this one begins it.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from analysis.kept import kept_in
from analysis.records import SearchFiles, SearchRecord, TrialRecord
from analysis.sources import read_records
from search.load import RECORDED, load_spec
from search.plan import Plan, make_plan
from search.recorded_spec import resolved_spec
from search.revisions import Revision, add_revision, read_revisions
from search.yaml_text import parse_yaml
from spaces.errors import SpecError, did_you_mean
from spaces.reports import FailureKind
from trainables.checkpoints import TrialDirectory
from trainables.lengths import LENGTHS, why_inexact
from trainables.tasks.registry import TASKS

Manner = Literal["exact", "inexact", "anew"]
"""How a trial gets to a new length: only where that changes nothing of what it did; in any case; from its start."""
_MAY_CHANGE = (
    "search.trials", "search.budget", "search.scheduler.max", "checkpoints", "tracking",
    "resources.concurrent_trials", "resources.max_restarts", "resources.price_per_hour",
    "resources.collective_timeout_seconds",
)  # fmt: skip
_CAP = "search.scheduler.max"


@dataclass(frozen=True, kw_only=True, slots=True)
class Extension:
    """What `extend` is asked for."""

    overrides: Sequence[str] = ()
    """`PATH=VALUE` for the spec."""
    top: int | None = None
    """When trials train for longer: so many of the best go on. Default: those whose checkpoints were kept."""
    manner: Manner = "exact"
    """How they do."""


def retry(
    files: SearchFiles,
    *,
    kinds: Collection[str] = (),
    numbers: Collection[int] = (),
    say: Callable[[str], object] = print,
) -> None:
    """Ask for failed trials to run again: those of `kinds` or `numbers`; by default all but those that diverged.

    Raises:
        SpecError: there are none, or a number is not that of a failed trial.
    """
    known = get_args(FailureKind)
    for kind in kinds:
        if kind not in known:
            raise SpecError(
                f"`--failed-kind` is one of {', '.join(known)}, but got `{kind}`.{did_you_mean(kind, known)}"
            )
    failed = [trial for trial in read_records(files.path).current if trial.state == "FAIL"]
    if strange := sorted(set(numbers) - {trial.number for trial in failed}):
        shown = ", ".join(str(trial.number) for trial in failed) or "none"
        raise SpecError(f"trial {strange[0]} is no failed trial. Failed, and not retried yet: {shown}.")
    wanted = [trial for trial in failed if _is_wanted(trial, kinds, numbers)]
    left_out = [trial for trial in failed if trial.failure == "diverged" and trial not in wanted]
    if not wanted:
        hint = " Those that diverged would diverge again; `--failed-kind diverged` retries them." if left_out else ""
        raise SpecError(f"no failed trial of `{files.path}` is to be retried: {len(failed)} failed.{hint}")
    if left_out and not kinds and not numbers:
        say(f"left out: {_listed(left_out)} diverged and would again; `--failed-kind diverged` retries them")
    lengthened = max((each.num_trials for each in read_revisions(files) if each.lengthens), default=0)
    goes_on = [
        trial.number
        for trial in wanted
        # What made a loss infinite is in the checkpoint; and one of a shorter training is no start of a longer one.
        if trial.failure != "diverged" and trial.number >= lengthened
    ]
    with_checkpoint = [number for number in goes_on if _has_checkpoint(files, number)]
    say(
        f"retrying {_listed(wanted)}"
        + (f"; {_numbers(with_checkpoint)} from the last checkpoint" if with_checkpoint else "")
    )
    add_revision(
        files,
        Revision(
            command="retry",
            num_trials=len(read_records(files.path).trials),
            goes_on=tuple(goes_on),
            starts_anew=tuple(trial.number for trial in wanted if trial.number not in goes_on),
        ),
    )


def extend(files: SearchFiles, extension: Extension, *, say: Callable[[str], object] = print) -> None:
    """Ask for more trials, a larger budget or longer training.

    Raises:
        SpecError: something else would change, it is no extension, or trials cannot go on as they are asked to.
    """
    content, _ = parse_yaml(files.spec.read_text("utf-8"))
    content.pop(RECORDED, None)
    parent = json.dumps(kept_in(files))
    plan = make_plan(load_spec(files.spec, overrides=[f"storage={parent}", *extension.overrides]))
    resolved = resolved_spec(plan.spec) | {"storage": content.get("storage", "./searches")}
    changes = _changes(content, resolved)
    record = read_records(files.path)
    lengthens = [path for path in changes if _is_length(path) or path == _CAP]
    _check_changes(plan, record, changes, resolved)
    goes_on: list[int] = []
    starts_anew: list[int] = []
    if lengthens:
        _check_longer(plan, changes, resolved)
        goes_on, starts_anew = _promoted(plan, record, extension, say)
    elif extension.top is not None or extension.manner != "exact":
        raise SpecError("`--top`, `--inexact` and `--anew` say who trains for longer: give a longer training, too.")
    elif not changes:
        raise SpecError(
            f"nothing would change: `{files.path}` has {plan.num_trials} trials. Give more `--trials`, more `--epochs` "
            "or `--max-steps`, or a larger budget (`--set search.budget.time=4h`)."
        )
    add_revision(
        files,
        Revision(
            command="extend",
            changes=changes,
            num_trials=len(record.trials),
            lengthens=bool(lengthens),
            goes_on=tuple(goes_on),
            starts_anew=tuple(starts_anew),
        ),
        resolved=resolved,
    )


# --- what may change -------------------------------------------------------------------------------------


def _changes(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted path -> the earlier value, of every leaf that differs."""
    found: dict[str, Any] = {}
    for name in {**before, **after}:
        path, old, new = f"{prefix}{name}", before.get(name), after.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found |= _changes(old, new, f"{path}.")
        elif isinstance(new, Mapping) and old is None:
            found |= _changes({}, new, f"{path}.")
        elif old != new:
            found[path] = old
    return found


def _is_length(path: str) -> bool:
    return path in LENGTHS or path.startswith("config.")


def _check_changes(plan: Plan, record: SearchRecord, changes: Mapping[str, Any], resolved: Mapping[str, Any]) -> None:
    for path in changes:
        if not _is_length(path) and not any(path == known or path.startswith(f"{known}.") for known in _MAY_CHANGE):
            raise SpecError(
                "`extend` gives a search more trials, a larger budget or longer training; with another value here it "
                f"is another search: `tunesmith fork {record.directory} NEW-SPEC` keeps what still fits.",
                path=path,
            )
        if path in plan.space.paths or path in plan.space.derive:
            raise SpecError(
                "this varies from trial to trial, so it is not set here: `tunesmith fork` changes a space.", path=path
            )
    suggested = sum(trial.origin is None for trial in record.trials)
    if plan.num_trials < suggested:
        raise SpecError(
            f"there are {suggested} trials already, but got {plan.num_trials}: an extension has more.",
            path="search.trials",
        )


def _check_longer(plan: Plan, changes: Mapping[str, Any], resolved: Mapping[str, Any]) -> None:
    if plan.spec.task is not None and not TASKS[plan.spec.task].trains:
        raise SpecError(f"`{plan.spec.task}` trains nothing, so there is nothing to train for longer.", path="training")
    for path, before in changes.items():
        after = _at(resolved, path)
        if not _is_length(path) and path != _CAP:
            continue
        if isinstance(before, int | float) and isinstance(after, int | float) and 0 < before < after:
            continue
        if plan.spec.task is not None and before is None and path in LENGTHS:
            raise SpecError(
                f"the search says how long it trains in another way; change that one ({' or '.join(LENGTHS)}).",
                path=path,
            )
        raise SpecError(f"longer training needs a larger number than {before!r}, but got {after!r}.", path=path)


# --- who goes on -----------------------------------------------------------------------------------------


def _promoted(
    plan: Plan, record: SearchRecord, extension: Extension, say: Callable[[str], object]
) -> tuple[list[int], list[int]]:
    """Trials that go on from their checkpoints, and those that run again from the start."""
    sign = 1.0 if record.mode == "min" else -1.0
    finished = [
        trial
        for trial in record.current
        if trial.state == "COMPLETE" and trial.value is not None and not _is_inherited(trial)
    ]
    finished.sort(key=lambda trial: (sign * (trial.value or 0.0), trial.number))
    files = plan.files
    chosen = (
        [trial for trial in finished if _has_checkpoint(files, trial.number)]
        if extension.top is None
        else finished[: extension.top]
    )
    unfinished = [trial for trial in record.current if trial.state == "RUNNING"]
    if extension.manner == "anew":
        if unfinished:
            raise SpecError(
                f"{_listed(unfinished)} of `{files.path}` did not finish: `tunesmith resume` first, so that it is "
                "known which are the best."
            )
        goes_on: list[TrialRecord] = []
    else:
        goes_on = [trial for trial in chosen if _has_checkpoint(files, trial.number)]
        if goes_on and plan.spec.search.folds is not None:
            raise SpecError(
                f"the {plan.spec.search.folds.kind}s of a trial train one after another: longer ones begin anew. "
                "`--anew` does that."
            )
        if extension.manner == "exact":
            _check_exact(plan, [*goes_on, *unfinished])
    anew = [trial for trial in chosen if trial not in goes_on]
    if not chosen and not unfinished:
        say(
            "no finished trial has a checkpoint (`checkpoints.keep`), so none goes on; `--top N` trains the N best anew"
        )
    if goes_on:
        say(f"going on for longer: {_listed(goes_on)}")
    if anew:
        say(f"from the start, for longer: {_listed(anew)}")
    if rest := [trial for trial in finished if trial not in chosen]:
        say(f"stopped at the old end, and no longer ranked: {_listed(rest)}")
    return [trial.number for trial in goes_on], [trial.number for trial in anew]


def _check_exact(plan: Plan, trials: Sequence[TrialRecord]) -> None:
    """Refuse what would be something else than one long training, by the name of what is the reason."""
    for trial in trials:
        reason = why_inexact(plan.space.apply(trial.params)["training"]) if plan.spec.task is not None else None
        if reason is not None and _has_checkpoint(plan.files, trial.number):
            raise SpecError(
                f"trial {trial.number} cannot go on as if it had been longer from the start: {reason}. `--anew` trains "
                "it from the start, and is exact. `--inexact` goes on all the same: from its checkpoint on, it does "
                "what a long training does at that step, but what is behind it was made for a shorter one. With a "
                "constant rate (`training.lr_scheduler_type: constant`) trials go on exactly.",
                path="training.lr_scheduler_type",
            )


def _is_wanted(trial: TrialRecord, kinds: Collection[str], numbers: Collection[int]) -> bool:
    if kinds or numbers:
        return trial.failure in kinds or trial.number in numbers
    return trial.failure != "diverged"


def _is_inherited(trial: TrialRecord) -> bool:
    return trial.origin is not None and trial.origin.kind == "inherited"


def _has_checkpoint(files: SearchFiles, number: int) -> bool:
    return bool(TrialDirectory(files.trial(number).path).reached())


def _at(document: Mapping[str, Any], path: str) -> Any:
    node: Any = document
    for part in path.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def _listed(trials: Sequence[TrialRecord]) -> str:
    return _numbers([trial.number for trial in trials])


def _numbers(numbers: Sequence[int]) -> str:
    return f"trial{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
