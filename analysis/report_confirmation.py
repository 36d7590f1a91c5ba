"""What confirmations showed, for a report: words and a table of the latest one. Trains nothing."""

from analysis.confirmation import Confirmation, Estimate, read_confirmations
from analysis.confirmation_text import sentences
from analysis.records import SearchRecord
from analysis.report_parts import Facts
from analysis.wording import show_metric


def latest_confirmation(record: SearchRecord) -> Confirmation | None:
    """The last one that has measured anything on the test split; None where there was none."""
    if record.directory is None:
        return None
    looked = [each for each in read_confirmations(record.directory) if each.has_looked]
    return looked[-1] if looked else None


def confirmed_words(confirmation: Confirmation) -> str:
    """What the winner reached on the test split, and what follows."""
    winner = confirmation.summaries()[0]
    name = winner.configuration.name
    lead = [f"{name[:1].upper()}{name[1:]} has {confirmation.metric} {_estimate(winner.test)} on the test split."]
    ending = [] if confirmation.is_complete else ["The confirmation has not ended yet."]
    looks = [] if confirmation.number == 1 else [f"This was look {confirmation.number} at the same test split."]
    said = sentences(confirmation, confirmation.objectives[0])
    return " ".join([*(lead if winner.test else []), *said, *ending, *looks])


def confirmation_facts(confirmation: Confirmation) -> Facts:
    """Each configuration with what the search measured, and what fresh seeds did."""
    rows = [
        (
            each.configuration.name,
            "" if each.searched is None else show_metric(each.searched),
            _estimate(each.validation),
            _estimate(each.test),
            f"{sum(run.state == 'COMPLETE' for run in each.configuration.runs)} of {len(each.configuration.runs)}",
        )
        for each in confirmation.summaries()
    ]
    header = ("configuration", "in the search", "validation, fresh seeds", "test, fresh seeds", "seeds")
    pairs = [("begun", confirmation.created), *(("note", note) for note in confirmation.notes)]
    return Facts(
        title=f"{confirmation.metric}, with 95% intervals", header=header, rows=tuple(rows), pairs=tuple(pairs)
    )


def _estimate(found: Estimate | None) -> str:
    if found is None:
        return ""
    half = found.half_width
    return show_metric(found.mean) if half is None else f"{show_metric(found.mean)} ± {show_metric(half)}"
