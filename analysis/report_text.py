"""A search as Markdown, for a pull request or a wiki: the same words as the HTML report, tables, and no figures."""

from collections.abc import Sequence

from analysis.advice import advise
from analysis.beside_the_study import beside_the_study, to_yaml
from analysis.importance import compared_trials, importances
from analysis.leaderboard import leaderboard
from analysis.records import SearchRecord
from analysis.report_confirmation import confirmation_facts, confirmed_words, latest_confirmation
from analysis.report_parts import data_card, environment, failures, leaderboard_table
from analysis.summary import next_steps, summary

_ROWS = 10


def report_markdown(record: SearchRecord) -> str:
    """The report of `record`, in the Markdown of GitHub."""
    parts = [
        f"# {_plain(record.name)}",
        "\n".join(f"- **{point.about}:** {_plain(point.words)}" for point in summary(record)),
        *_confirmed(record),
        *_leaderboard(record),
        *_importance(record),
        *_best(record),
        *_failures(record),
        *_next(record),
        *_environment(record),
    ]
    return "\n\n".join(parts) + "\n"


def _confirmed(record: SearchRecord) -> list[str]:
    confirmation = latest_confirmation(record)
    if confirmation is None:
        return []
    facts = confirmation_facts(confirmation)
    table = _table(facts.header, facts.rows, [":--", "--:", "--:", "--:", "--:"])
    return ["## On the test split", _plain(confirmed_words(confirmation)), table]


def _leaderboard(record: SearchRecord) -> list[str]:
    entries = leaderboard(record)
    if not entries:
        return []
    table = leaderboard_table(entries, record)
    header = [name for name, *_ in table.columns]
    align = ["--:" if is_number else ":--" for *_, is_number in table.columns]
    rows = [[cell.text for cell in row.cells] for row in table.rows[:_ROWS]]
    left_out = len(entries) - len(rows)
    return ["## Leaderboard", _table(header, rows, align), *([f"and {left_out:,} more trials"] if left_out else [])]


def _importance(record: SearchRecord) -> list[str]:
    told = importances(record)
    if told.why_not is not None:
        return []
    advice = {each.path: each.words for each in advise(record)}
    rows = [
        [
            f"`{each.path}`",
            f"{each.share:.0%}",
            f"{each.interval[0]:.0%} to {each.interval[1]:.0%}",
            "" if each.to_be_best is None else f"{each.to_be_best:.0%}",
            advice.get(each.path, "no more effect than a made-up parameter"),
        ]
        for each in told.parameters
    ]
    header = ["parameter", "share of the variance", "95% interval", "share in being among the best", ""]
    basis = f"From {compared_trials(record).words(record)}; the model explains {told.explained:.0%} of unseen trials."
    return ["## What matters", _table(header, rows, [":--", "--:", "--:", "--:", ":--"]), basis]


def _best(record: SearchRecord) -> list[str]:
    best = record.best
    if best is None:
        return []
    parts = [f"## Best configuration: trial {best.number}", _fenced(to_yaml(best.params), "yaml")]
    document = beside_the_study(record).best_document
    if document:
        parts.append(
            f"<details><summary>The whole document</summary>\n\n{_fenced(to_yaml(document), 'yaml')}\n\n</details>"
        )
    return parts


def _failures(record: SearchRecord) -> list[str]:
    found = failures(record)
    if not found:
        return []
    rows = [
        [each.kind, str(each.count), f"trial {number}: {text}"] for each in found for number, text in each.examples[:1]
    ]
    return ["## Failures", _table(["kind", "trials", "for example"], rows, [":--", "--:", ":--"])]


def _next(record: SearchRecord) -> list[str]:
    steps = next_steps(record)
    return ["## What to do next", "\n".join(f"- `{each.line}`: {each.why}" for each in steps)] if steps else []


def _environment(record: SearchRecord) -> list[str]:
    beside = beside_the_study(record)
    facts = [each for each in (data_card(beside), environment(record, beside)) if each is not None]
    parts = []
    for each in facts:
        lines = [f"<details><summary>{each.title}</summary>", ""]
        if each.rows:
            lines += [_table(each.header, each.rows, [":--", *["--:"] * (len(each.header) - 1)]), ""]
        lines += [f"- {_plain(name)}: {_plain(value)}" for name, value in each.pairs]
        parts.append("\n".join([*lines, "", "</details>"]))
    return parts


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], align: Sequence[str]) -> str:
    lines = [header, align, *rows]
    return "\n".join(
        "| " + " | ".join(_plain(cell) if line is not align else cell for cell in line) + " |" for line in lines
    )


def _plain(text: str) -> str:
    """Text that stays text: no cell ends in it, no line breaks, and no markup of HTML begins."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _fenced(text: str, language: str) -> str:
    """In a fence that the text cannot close."""
    ticks = "```"
    while ticks in text:
        ticks += "`"
    return f"{ticks}{language}\n{text.rstrip()}\n{ticks}"
