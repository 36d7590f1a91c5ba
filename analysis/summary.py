"""A search in words, before any figure: what was tried, what is best and how sure that is, what matters, what it took,
what failed, what to do next. Each sentence is about the record; none is said that the record does not bear out.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.advice import advise
from analysis.axes import axes_of
from analysis.importance import compared_trials, finished, importances
from analysis.leaderboard import Entry, leaderboard
from analysis.records import SearchRecord, TrialRecord
from analysis.wording import duration, few, listed, show_metric
from analysis.worker_time import worker_time

_VERBS = {"PRUNED": "were stopped early", "FAIL": "failed"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One thing to know."""

    about: str
    """A word or two: `Best`."""
    words: str
    """Sentences."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """Something to do next."""

    line: str
    """What to type."""
    why: str
    """What it does."""


def summary(record: SearchRecord) -> list[Point]:
    """What a reader should know, the most important first."""
    entries = leaderboard(record)
    found = [
        Point(about="Search", words=_searched(record)),
        Point(about="Best", words=_best(record, entries)),
        Point(about="Baseline", words=_baseline(record)),
        Point(about="What matters", words=_matters(record)),
        Point(about="Cost", words=_cost(record)),
        Point(about="Failures", words=_failures(record)),
        Point(about="Notes", words=" ".join(_sentence(each) for each in record.notes)),
    ]
    return [point for point in found if point.words]


def next_steps(record: SearchRecord) -> list[Command]:
    """Commands that make sense now; none for a search that is not kept in a folder."""
    if record.directory is None:
        return []
    place = _quoted(str(record.directory))
    steps = []
    is_whole = record.num_planned is None or len(record.trials) >= record.num_planned or record.ended_by
    if record.count("RUNNING") or not is_whole:
        steps.append(Command(line=f"tunesmith status {place}", why="how far it is, while it runs"))
        steps.append(Command(line=f"tunesmith resume {place}", why="goes on, if it was interrupted"))
    if any(trial.state == "FAIL" and trial.failure != "diverged" for trial in record.current):
        steps.append(Command(line=f"tunesmith retry {place}", why="runs again what failed"))
    best = record.best
    if best is not None:
        steps.append(
            Command(
                line=f"tunesmith confirm {place} --top 3 --seeds 5",
                why="trains the best ones with fresh seeds and measures them on the unseen test split",
            )
        )
        steps.append(Command(line=f"tunesmith trial {place} --number {best.number}", why="runs the best trial again"))
        if best.checkpoint:
            steps.append(
                Command(
                    line=f"tunesmith export {place} --trial best --to best-model", why="the best model, ready to load"
                )
            )
    if best is not None and not record.count("RUNNING"):
        steps.append(Command(line=f"tunesmith extend {place} --trials 20", why="twenty more trials"))
    return steps


def counted(record: SearchRecord) -> str:
    """`6 finished, 4 were stopped early`."""
    verbs = {"COMPLETE": "finished", "PRUNED": "stopped early", "FAIL": "failed", "RUNNING": "not finished yet"}
    parts = [f"{record.count(state):,} {verb}" for state, verb in verbs.items() if record.count(state)]  # type: ignore[arg-type]  # the keys are states
    return listed(parts) or "none has started"


def _searched(record: SearchRecord) -> str:
    names = [axis.name for axis in axes_of(record)]
    planned = record.num_planned
    count = f"{len(record.current):,} trial{'s' if len(record.current) != 1 else ''}"
    aims = [(each.name, each.mode) for each in record.objectives] or [(record.metric, record.mode)]
    aim = listed([f"{'lower' if mode == 'min' else 'raise'} {name}" for name, mode in aims])
    varied = f" varied {listed(few(names))}" if names else ""
    words = f"{count}{varied} to {aim}: {counted(record)}."
    if planned is not None and planned > len(record.trials):
        words += f" {planned:,} are planned."
    if record.ended_by:
        words += f" It was ended by {record.ended_by}."
    inherited = sum(trial.origin is not None and trial.origin.kind == "inherited" for trial in record.trials)
    if inherited:
        words += f" {inherited:,} of them are the evidence of other searches."
    if record.trainings > 1:
        words += f" Each trial trains {record.trainings} {record.fold_kind}s."
    return words


def _best(record: SearchRecord, entries: Sequence[Entry]) -> str:
    best = record.best
    if best is None or best.value is None:
        return "No trial has finished, so there is no best configuration yet."
    if record.objectives:
        front = [entry.trial for entry in entries if entry.rank == 1]
        numbers = [str(trial.number) for trial in front]
        words = f"{len(front)} trials are" if len(front) > 1 else "One trial is"
        return (
            f"{words} on the front, which no other is better than in every respect: {listed(few(numbers))}. "
            f"By {record.metric} alone trial {best.number} is best, with {show_metric(best.value)}."
        )
    entry = next(entry for entry in entries if entry.trial.number == best.number)
    words = f"Trial {best.number} is best, with {record.metric} {show_metric(best.value)}"
    if entry.interval:
        low, high = (show_metric(each) for each in entry.interval)
        words += f" (95% interval {low} to {high}, over {len(best.fold_values)} {record.fold_kind}s)"
    words += "."
    tied = [each.trial.number for each in entries if each.is_tied and each.trial is not best]
    if tied:
        words += f" It cannot be told from trial{'s' if len(tied) > 1 else ''} {listed(few([str(n) for n in tied]))}."
    elif not entry.interval and len(finished(record)) > 1:
        words += (
            " Each configuration was measured once, so that part of its lead may be chance: `confirm` measures it with "
            "fresh seeds."
        )
    values = sorted(trial.value for trial in finished(record) if trial.value is not None)
    if len(values) > 2:
        words += f" The middle of all finished trials has {show_metric(values[len(values) // 2])}."
    return words


def _baseline(record: SearchRecord) -> str:
    best = record.best
    if best is None or record.metric not in record.baseline or best.value is None:
        return ""
    value = record.baseline[record.metric]
    is_better = best.value < value if record.mode == "min" else best.value > value
    name = record.baseline_name or "guessing"
    reached = f"the best trial has {show_metric(best.value)}"
    ending = "." if is_better else ", which is not better: the search has found nothing that is worth using yet."
    return f"Without a model, {name} has {record.metric} {show_metric(value)}; {reached}{ending}"


def _matters(record: SearchRecord) -> str:
    told = importances(record)
    if told.why_not is not None:
        return told.why_not
    advice = {each.path: each.words for each in advise(record)}
    words = []
    for place, each in enumerate([each for each in told.parameters if each.matters][:4]):
        said = advice.get(each.path, "")
        low, high = each.interval
        share = f"{each.share:.0%} of the variance, 95% interval {low:.0%} to {high:.0%}"
        if place > 0:
            words.append(f"{each.name} ({each.share:.0%}) {said}.")
        elif said.startswith("is"):
            words.append(f"{each.name} matters most ({share}) and {said}.")
        else:
            words.append(f"{each.name} matters most ({share}): {said.removeprefix('matters, but ')}.")
    idle = [each.name for each in told.parameters if not each.matters]
    if idle:
        verb = "does" if len(idle) == 1 else "do"
        words.append(f"{listed(few(idle))} {verb} not show more effect than a made-up parameter would.")
    strong = [pair for pair in told.interactions if pair.matters and pair.share >= 0.05]
    if strong:
        words.append(f"{listed(list(strong[0].names))} act together ({strong[0].share:.0%}): choose them together.")
    if told.at is not None:
        words.append(
            f"This compares {compared_trials(record).words(record)}, since few finished; what matters early need not "
            "matter in the end."
        )
    return " ".join(words)


def _cost(record: SearchRecord) -> str:
    seconds = sum((trial.seconds or 0.0) * trial.own_share for trial in record.trials)
    if not seconds:
        return ""
    hours = sum((trial.gpu_hours or 0.0) * trial.own_share for trial in record.trials)
    energy = sum((trial.usage.energy_wh or 0.0) * trial.own_share for trial in record.trials)
    cost = sum((trial.cost or 0.0) * trial.own_share for trial in record.trials)
    about = "about " if any(trial.usage.energy_is_estimate for trial in record.trials) else ""
    facts = [f"{duration(seconds)} of workers"]
    facts += [f"{hours:.3g} GPU-hours"] if hours else []
    facts += [f"{about}{energy:.3g} Wh" if energy < 1000 else f"{about}{energy / 1000:.3g} kWh"] if energy else []
    facts += [f"{cost:.2f} {record.currency}"] if any(trial.cost is not None for trial in record.trials) else []
    words = f"All trials took {listed(facts)}"
    words += f", in {duration(record.seconds)} of wall time." if record.seconds else "."
    for state in _VERBS:
        spent = sum((trial.seconds or 0.0) * trial.own_share for trial in record.trials if trial.state == state)
        if spent / seconds >= 0.005:
            words += f" {spent / seconds:.0%} of it went into trials that {_VERBS[state]}."
    time = worker_time(record)
    if time is not None and time.idle_share >= 0.05:
        words += f" Workers were idle for {time.idle_share:.0%} of their time."
    return words


def _failures(record: SearchRecord) -> str:
    failed = [trial for trial in record.current if trial.state == "FAIL"]
    if not failed:
        return ""
    kinds = Counter(kind_of(trial) for trial in failed)
    told = listed([f"{count} {kind}" for kind, count in kinds.most_common()])
    return f"{len(failed)} trial{'s' if len(failed) > 1 else ''} failed: {told}."


def kind_of(trial: TrialRecord) -> str:
    """The kind of its failure, in words."""
    return (trial.failure or "error").replace("_", " ")


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)
