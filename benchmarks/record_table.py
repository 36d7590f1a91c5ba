"""Records a table for rehearsals: every point of a small grid is really trained, by the code that trains trials.

One row an evaluation, the whole learning curve of each trial, gzip-free csv so that a diff can be read.

    python benchmarks/record_table.py benchmarks/tables/pretraining.yaml benchmarks/tables/pretraining.csv
"""

import argparse
import csv
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from analysis.wording import short_names
from search.load import load_spec
from search.plan import Plan, make_plan
from spaces.reports import TrialReport
from trainables.trial import parse_document, run_trial

_DIGITS = 5


def main() -> None:
    """Train every point of the spec's space; points that the file has already are left out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spec", type=Path)
    parser.add_argument("table", type=Path)
    arguments = parser.parse_args()
    plan = make_plan(load_spec(arguments.spec))
    names = short_names(plan.space.paths)
    columns = [*names.values(), plan.spec.search.scheduler.unit, plan.spec.metric, "seconds"]
    done = _points_in(arguments.table, list(names.values()))
    with arguments.table.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if not done:
            writer.writerow(columns)
        for assignment in plan.space.grid():
            point = [str(assignment[path]) for path in names]
            if tuple(point) in done:
                continue
            began = time.perf_counter()
            for step, value, seconds in _curve(plan, assignment):
                writer.writerow([*point, step, value, seconds])
            file.flush()
            sys.stderr.write(f"{dict(zip(names.values(), point, strict=True))} {time.perf_counter() - began:.1f} s\n")


def _curve(plan: Plan, assignment: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    reports: list[TrialReport] = []
    outcome = run_trial(parse_document(plan.space.apply(assignment)), reports.append, save_checkpoints=False)
    unit, metric = plan.spec.search.scheduler.unit, plan.spec.metric
    for report in reports:
        yield f"{report.progress.resource(unit):g}", f"{report.metrics[metric]:.{_DIGITS}g}", f"{report.seconds:.2f}"
    if outcome.failure is not None:
        last = reports[-1] if reports else None
        step = last.progress.resource(unit) + 1 if last else 1
        yield f"{step:g}", "nan", f"{last.seconds if last else 0:.2f}"


def _points_in(table: Path, names: list[str]) -> set[tuple[str, ...]]:
    if not table.is_file():
        return set()
    with table.open(newline="") as file:
        return {tuple(row[name] for name in names) for row in csv.DictReader(file)}


if __name__ == "__main__":
    main()
