"""The parts of a report that are tables and lists: key figures, leaderboard, failures, environment, data. No markup."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from analysis.beside_the_study import BesideTheStudy
from analysis.leaderboard import Entry
from analysis.records import SearchRecord, TrialRecord
from analysis.summary import kind_of
from analysis.wording import STATE_WORDS, amount, duration, narrow, short_names, show_metric, show_value

MAX_ROWS = 1000
"""Rows of a leaderboard that a page shows; a browser is slow with more, and a person too."""
_MAX_EXAMPLES = 5
_MAX_LABELS = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One cell of a table."""

    text: str
    """What it shows."""
    sort: str = ""
    """What it is sorted by: a number, or a text."""
    is_number: bool = False
    """Whether it is sorted as a number, and stands at the right."""
    hint: str = ""
    """What pointing at it says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One trial of the leaderboard."""

    number: int
    """The trial."""
    state: str
    """Its state, as the record has it."""
    is_best: bool
    """Whether it is the best one."""
    cells: tuple[Cell, ...]
    """One a column."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A leaderboard for a page."""

    columns: tuple[tuple[str, str, bool], ...]
    """Of each column the name, the whole path or an explanation, and whether it holds numbers."""
    rows: tuple[Row, ...]
    """Best first."""
    left_out: int
    """Trials that are not among the rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failures:
    """Failed trials of one kind."""

    kind: str
    """What happened, in words."""
    count: int
    """How many."""
    examples: tuple[tuple[int, str], ...]
    """Some of them: number and message."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """A list of names and values."""

    title: str
    """What they are about."""
    pairs: tuple[tuple[str, str], ...] = ()
    """Name and value."""
    header: tuple[str, ...] = ()
    """Columns of `rows`."""
    rows: tuple[tuple[str, ...], ...] = field(default=())
    """A table, where there is one."""


def key_figures(record: SearchRecord) -> list[tuple[str, str]]:
    """What a reader looks for first: name and value."""
    best = record.best
    own = [(trial, trial.own_share) for trial in record.trials]
    hours = sum((trial.gpu_hours or 0.0) * share for trial, share in own)
    energy = sum((trial.usage.energy_wh or 0.0) * share for trial, share in own)
    cost = sum((trial.cost or 0.0) * share for trial, share in own)
    figures = (
        [(f"best {record.metric}", show_metric(best.value))] if best is not None and best.value is not None else []
    )
    figures += [("trials", f"{len(record.current):,}"), ("finished", f"{record.count('COMPLETE'):,}")]
    figures += [("failed", f"{record.count('FAIL'):,}")] if record.count("FAIL") else []
    figures += [("wall time", duration(record.seconds))] if record.seconds else []
    figures += [("GPU-hours", f"{hours:.3g}")] if hours else []
    figures += [("energy", f"{energy:.3g} Wh" if energy < 1000 else f"{energy / 1000:.3g} kWh")] if energy else []
    return figures + ([("cost", f"{cost:.2f} {record.currency}")] if cost else [])


def leaderboard_table(entries: Sequence[Entry], record: SearchRecord) -> Table:
    """The leaderboard, a column a parameter."""
    paths = list(dict.fromkeys(path for entry in entries for path in entry.trial.params))
    names = short_names(paths)
    others = [objective.name for objective in record.objectives[1:]]
    has_intervals = any(entry.interval for entry in entries)
    has_cost = any(entry.trial.cost is not None for entry in entries)
    columns = [("front" if record.objectives else "rank", "1 is best; only finished trials have one", True)]
    columns += [("trial", "its number", True), (record.metric, "the objective at the last evaluation", True)]
    columns += [(name, "an objective", True) for name in others]
    columns += [("± 95%", "half of the 95% interval of the mean", True)] if has_intervals else []
    columns += [("state", "how it ended", False)]
    columns += [
        (names[path], path, all(_is_number(entry.trial.params.get(path)) for entry in entries)) for path in paths
    ]
    columns += [(record.unit, "how much it trained", True), ("seconds", "wall time of the trial", True)]
    columns += [(record.currency, "what it cost", True)] if has_cost else []
    rows = []
    for entry in entries[:MAX_ROWS]:
        trial = entry.trial
        value = trial.value if trial.state == "COMPLETE" else trial.last_value
        cells = [_number(entry.rank, str(entry.rank or "")), _number(trial.number, str(trial.number))]
        cells.append(_metric(value, entry))
        cells += [_number(each, show_metric(each)) for each in trial.values[1:]] or [_number(None, "")] * len(others)
        if has_intervals:
            half = (entry.interval[1] - entry.interval[0]) / 2 if entry.interval else None
            cells.append(_number(half, "" if half is None else show_metric(half)))
        why = trial.error or trial.stopped_because or ""
        cells.append(Cell(text=STATE_WORDS[trial.state], sort=STATE_WORDS[trial.state], hint=why))
        cells += [_param(trial, path) for path in paths]
        done = {"epochs": trial.epochs, "steps": trial.steps, "tokens": trial.tokens}[record.unit]
        cells += [_number(done, amount(done))]
        cells += [_number(trial.seconds, "" if trial.seconds is None else f"{trial.seconds:.1f}")]
        cells += [_number(trial.cost, "" if trial.cost is None else f"{trial.cost:.2f}")] if has_cost else []
        rows.append(Row(number=trial.number, state=trial.state, is_best=trial is record.best, cells=tuple(cells)))
    return Table(columns=tuple(columns), rows=tuple(rows), left_out=max(len(entries) - MAX_ROWS, 0))


def failures(record: SearchRecord) -> list[Failures]:
    """Failed trials by kind, the most frequent first."""
    failed = [trial for trial in record.current if trial.state == "FAIL"]
    kinds = Counter(kind_of(trial) for trial in failed)
    return [
        Failures(
            kind=kind,
            count=count,
            examples=tuple(
                (trial.number, trial.error or "no message") for trial in failed if kind_of(trial) == kind
            )[:_MAX_EXAMPLES],
        )
        for kind, count in kinds.most_common()
    ]  # fmt: skip


def environment(record: SearchRecord, beside: BesideTheStudy) -> Facts:
    """On what, with which versions, from which commit."""
    recorded = beside.recorded
    devices = dict.fromkeys(trial.usage.device for trial in record.trials if trial.usage.device)
    hosts = dict.fromkeys(
        str(trial.clock["process"]).partition(":")[0] for trial in record.trials if trial.clock.get("process")
    )
    pairs = [(name, str(recorded[name])) for name in ("created", "fingerprint", "python", "preset") if name in recorded]
    pairs += [(f"git {name}", str(value)) for name, value in recorded.get("git", {}).items()]
    pairs += [(name, str(value)) for name, value in recorded.get("machine", {}).items()]
    pairs += [("devices", ", ".join(devices))] if devices else []
    pairs += [("hosts", ", ".join(hosts))] if any(hosts) else []
    pairs += [(str(name), str(value)) for name, value in recorded.get("versions", {}).items()]
    if record.directory is not None:
        pairs.append(("folder", str(record.directory)))
    return Facts(title="Environment", pairs=tuple(pairs))


def data_card(beside: BesideTheStudy) -> Facts | None:
    """What is in the data; None where nobody wrote it down."""
    card = beside.card
    if not card:
        return None
    pairs = [("source", str(card.get("source", ""))), ("vocabulary", f"{card.get('vocab_size', 0):,} entries")]
    pairs += [
        ("longest example", f"{card.get('max_length', 0):,} tokens"),
        ("fingerprint", str(card.get("fingerprint", ""))),
    ]
    if card.get("augmented"):
        pairs.append(("augmented copies", f"{card['augmented']:,}"))
    for step in card.get("cleaning", ()):
        changed = f"removed {step.get('removed', 0):,}, changed {step.get('changed', 0):,} documents"
        pairs.append((f"cleaning: {step.get('step', '')}", changed))
    for part, found in card.get("leakage", {}).items():
        if isinstance(found, Mapping) and found.get("near"):
            pairs.append((f"near duplicates of train in {part}", f"{found['near']:,}"))
    counted = [name for name in ("documents", "examples", "tokens", "text_bytes") if card.get(name)]
    header = ["part", *(name.replace("text_bytes", "bytes") for name in counted)]
    labels = list(card.get("labels", ()))[:_MAX_LABELS]
    header += [str(label) for label in labels]
    rows = []
    for part in card.get("documents", {}):
        row = [part, *(f"{card[name].get(part, 0):,}" for name in counted)]
        row += [f"{card.get('label_counts', {}).get(part, {}).get(label, 0):,}" for label in labels]
        rows.append(tuple(row))
    return Facts(title="Data", pairs=tuple(pairs), header=tuple(header), rows=tuple(rows))


def best_params(record: SearchRecord) -> list[tuple[str, str]]:
    """Path and value of what the best trial was given."""
    return [(path, show_value(value)) for path, value in record.best.params.items()] if record.best else []


def _number(value: float | None, text: str) -> Cell:
    return Cell(text=text, sort="" if value is None else repr(float(value)), is_number=True)


def _metric(value: float | None, entry: Entry) -> Cell:
    if value is None:
        return _number(None, "")
    tie = " ≈" if entry.is_tied and entry.rank != 1 else ""
    hint = "cannot be told from the best trial" if tie else ""
    return Cell(text=f"{show_metric(value)}{tie}", sort=repr(float(value)), is_number=True, hint=hint)


def _param(trial: TrialRecord, path: str) -> Cell:
    if path not in trial.params:
        return Cell(text="")
    value: Any = trial.params[path]
    if _is_number(value):
        return _number(float(value), narrow(value))
    return Cell(text=narrow(value), sort=show_value(value))


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
