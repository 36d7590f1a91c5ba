"""Reports a second that a study takes: in study.db against a PostgreSQL on this machine, in one run.

A report is what a trial's evaluation costs the database; asking and telling are a trial's beginning and end. The server
is started here, from Debian's packages, and ended again.

    python benchmarks/database.py [--trials 50] [--reports 20] [--url postgresql://user@host/db]
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from analysis.records import SearchFiles
from analysis.sources import read_records
from analysis.study_place import write_place
from search.ledger import create_study, open_ledger
from search.spec import AlgorithmConfig, SearchSpec
from spaces.space import Space

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

_SPEC = {
    "name": "speed", "trainable": "walking:train", "config": {"x": 0.5},
    "space": {"config.x": {"uniform": [0.0, 1.0]}}, "search": {"metric": "loss", "mode": "min"},
}  # fmt: skip


def main() -> None:
    """Measure both, in turns, and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--reports", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--url", help="a database that is there already")
    given = parser.parse_args()
    server = None
    if given.url is None:
        from postgres_server import PASSWORD, PostgresServer  # type: ignore[import-not-found]  # of the tests

        server = PostgresServer()
        os.environ["PGPASSWORD"] = PASSWORD
    url = given.url or (server.url if server else "")
    try:
        found: dict[str, list[dict[str, float]]] = {"study.db": [], "PostgreSQL": []}
        for _ in range(given.repeats):
            for name, database in (("study.db", None), ("PostgreSQL", url)):
                found[name].append(_measure(database, num_trials=given.trials, num_reports=given.reports))
    finally:
        if server is not None:
            server.close()
    for name, runs in found.items():
        middle = {key: round(statistics.median(run[key] for run in runs), 2) for key in runs[0]}
        print(json.dumps({"storage": name, **middle}))


def _measure(database: str | None, *, num_trials: int, num_reports: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        files = SearchFiles(Path(folder))
        if database is not None:
            write_place(files, database=database, search="speed", fingerprint=f"{time.monotonic_ns():x}")
        spec = SearchSpec.model_validate(_SPEC)
        study = create_study(files.path, spec, attributes={"num_trials": num_trials})
        algorithm = AlgorithmConfig(name="random")
        space = Space.parse(spec.space, document={"config": dict(spec.config)})
        ledger = open_ledger(study, spec, space, step_of=lambda progress: progress.step, algorithm=algorithm)
        asking = reporting = telling = 0.0
        for number in range(num_trials):
            began = time.perf_counter()
            ledger.ask()
            asked = time.perf_counter()
            for step in range(num_reports):
                ledger.record_value(number, step=step, value=1 / (1 + step))
            reported = time.perf_counter()
            ledger.finish(number, state="COMPLETE", values=[0.5], result={"seconds": 1.0})
            asking, reporting = asking + asked - began, reporting + reported - asked
            telling += time.perf_counter() - reported
        began = time.perf_counter()
        assert len(read_records(files.path).trials) == num_trials
        read = time.perf_counter() - began
    return {
        "reports_per_second": num_trials * num_reports / reporting,
        "ask_milliseconds": 1000 * asking / num_trials,
        "tell_milliseconds": 1000 * telling / num_trials,
        "read_milliseconds": 1000 * read,
    }


if __name__ == "__main__":
    main()
