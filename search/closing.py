"""What a person reads when a search has ended: the ranking, the best configuration, where things are, what next."""

from pathlib import Path
from typing import get_args

from rich.console import Group, RenderableType
from rich.text import Text

from analysis.leaderboard import leaderboard
from analysis.leaderboard_text import marks, to_table
from analysis.records import SearchRecord, TrialState
from analysis.study_place import study_place
from analysis.wording import show_metric, show_value
from search.disk_use import DiskUse
from search.run import SearchOutcome, shortest
from spaces.store import is_store
from trainables.metrics import MODES

_LINES_SHOWN = 10


def closing_text(outcome: SearchOutcome, *, width: int) -> RenderableType:
    """The end of `run` and `resume`, for a terminal of `width` characters."""
    record = outcome.record
    directory = shortest(outcome.files.path)
    parts: list[RenderableType] = [Text(""), Text(_counts(record), style="bold"), Text("")]
    if record.trials:
        entries = leaderboard(record)
        parts.append(to_table(entries[:_LINES_SHOWN], record, width=width))
        if len(entries) > _LINES_SHOWN:
            parts.append(
                Text(
                    f"... and {len(entries) - _LINES_SHOWN} more: tunesmith leaderboard {directory}",
                    style="dim",
                )
            )
        parts += [Text(line, style="dim") for line in marks(entries, [record])]
        parts.append(Text(""))
    lines = [
        *_best(record),
        *_failures(record, directory),
        *record.notes,
        *_used(record),
        "",
        *_places(outcome, directory),
    ]
    parts += [Text(line) for line in lines]
    return Group(*parts)


def _counts(record: SearchRecord) -> str:
    words = {"COMPLETE": "finished", "PRUNED": "stopped early", "FAIL": "failed", "RUNNING": "unfinished"}
    counted = [f"{record.count(state)} {word}" for state, word in words.items() if record.count(state)]  # type: ignore[arg-type]  # the keys are states
    num_here = sum(record.count(state) for state in get_args(TrialState))
    line = f"{record.name}: {num_here} trials, {', '.join(counted) or 'none'}"
    inherited = sum(trial.origin is not None and trial.origin.kind == "inherited" for trial in record.trials)
    return f"{line}, and {inherited} of other searches" if inherited else line


def _best(record: SearchRecord) -> list[str]:
    best = record.best
    if best is None or best.value is None:
        return ["No trial finished, so there is no best configuration."]
    lines = _front(record) if record.objectives else []
    lines += [f"Best: trial {best.number}, {record.metric} {show_metric(best.value)}"]
    lines += [f"  {path}: {show_value(value)}" for path, value in best.params.items()]
    others = [trial for trial in record.current if trial.state == "COMPLETE" and trial.value is not None]
    if len(others) > 1:
        worst = (max if record.mode == "min" else min)(trial.value for trial in others if trial.value is not None)
        lines.append(f"Worst finished trial: {show_metric(worst)}")
    # Where the objective has a baseline, others say less: losses of two vocabularies do not compare.
    told = [record.metric] if record.metric in record.baseline else list(record.baseline)
    for name in told:
        value = record.baseline[name]
        if name in best.metrics:
            mode = MODES.get(name, "min")
            better = best.metrics[name] < value if mode == "min" else best.metrics[name] > value
            reached = f"the best trial has {show_metric(best.metrics[name])}{'' if better else ', which is NOT better'}"
            lines.append(f"Baseline ({record.baseline_name}): {name} {show_metric(value)}; {reached}")
    return lines


def _front(record: SearchRecord) -> list[str]:
    """The trials that no other is better than in every respect."""
    front = [entry.trial for entry in leaderboard(record) if entry.rank == 1]
    count = f"{len(front)} trial{'s' if len(front) > 1 else ''}"
    lines = [f"Front: {count} that no other is better than in every respect"]
    for trial in front:
        named = zip(record.objectives, trial.values, strict=True)
        told = "  ".join(f"{objective.name} {show_metric(value)}" for objective, value in named)
        lines.append(f"  trial {trial.number}: {told}")
    return lines


def _failures(record: SearchRecord, directory: str) -> list[str]:
    failed = [trial for trial in record.current if trial.state == "FAIL"]
    lines = [
        f"Trial {trial.number} failed: {trial.error} ({directory}/trials/{trial.number}/error.txt)"
        for trial in failed[:3]
    ]
    if any(trial.failure != "diverged" for trial in failed):
        lines.append(f"To run what failed again: tunesmith retry {directory}")
    return lines + ([f"... and {len(failed) - 3} more failed"] if len(failed) > 3 else [])


def _used(record: SearchRecord) -> list[str]:
    """What all trials together have taken."""
    hours = sum((trial.gpu_hours or 0.0) * trial.own_share for trial in record.trials)
    energy = sum((trial.usage.energy_wh or 0.0) * trial.own_share for trial in record.trials)
    cost = sum((trial.cost or 0.0) * trial.own_share for trial in record.trials)
    about = "about " if any(trial.usage.energy_is_estimate for trial in record.trials) else ""
    facts = [f"{hours:.3g} GPU-hours"] if hours else []
    facts += [f"{about}{energy:.3g} Wh" if energy < 1000 else f"{about}{energy / 1000:.3g} kWh"] if energy else []
    facts += [f"{cost:.2f} {record.currency}"] if any(trial.cost is not None for trial in record.trials) else []
    lines = [f"Used: {', '.join(facts)}"] if facts else []
    if record.trainings > 1:
        trained = sum(len(trial.fold_values) for trial in record.trials)
        whole = record.trainings * sum(trial.state in ("COMPLETE", "PRUNED") for trial in record.trials)
        lines.append(f"{record.fold_kind.capitalize()}s trained: {trained} of {whole}")
    return lines


def _places(outcome: SearchOutcome, directory: str) -> list[str]:
    record, place = outcome.record, study_place(outcome.files)
    has_report = outcome.files.report.is_file()
    lines = [f"Report       {directory}/{outcome.files.report.name}  (open it in a browser)"] if has_report else []
    lines += [
        f"Leaderboard  {directory}/{outcome.files.leaderboard.name}",
        f"Study        {place if place and place.is_shared else f'{directory}/{outcome.files.study.name}'}"
        "  (optuna-dashboard opens it)",
    ]
    if record.best is not None and record.best.checkpoint:
        lines.append(f"Best model   {shortest_text(record.best.checkpoint)}")
    if outcome.unsynced_runs:
        where = f"{len(outcome.unsynced_runs)} runs in {directory}/wandb"
        lines.append(f"W&B offline  {where}; to upload them: {outcome.sync_command}")
    lines.append(f"Disk         {DiskUse.of(outcome.files)}")
    if record.ended_by:
        lines += ["", f"Ended by {record.ended_by}"]
        if not record.ended_by.startswith("search.budget.plateau"):
            key = record.ended_by.partition(":")[0]
            lines.append(f"Go on with more:  tunesmith extend {directory} --set {key}=...")
    elif outcome.was_interrupted:
        lines += ["", f"Interrupted. Go on:  tunesmith resume {directory}"]
    elif record.best is not None:
        lines += [
            "",
            f"Next: tunesmith trial {directory} --number {record.best.number}   (runs the best trial again)",
        ]
    return lines


def shortest_text(path: str) -> str:
    """`path` relative to the current folder where that is shorter."""
    return path if is_store(path) else shortest(Path(path))
