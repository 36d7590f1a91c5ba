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

import optuna
from optuna.trial import TrialState, create_trial

from analysis.records import SearchFiles
from analysis.sources import read_records
from analysis.study_place import write_place
from search.ledger import create_study
from search.spec import SearchSpec

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

_SPEC = {"name": "speed", "trainable": "walking:train", "search": {"metric": "loss", "mode": "min"}}


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
        study = create_study(files.path, SearchSpec.model_validate(_SPEC), attributes={"num_trials": num_trials})
        asking = reporting = telling = 0.0
        for number in range(num_trials):
            began = time.perf_counter()
            study.add_trial(create_trial(state=TrialState.RUNNING, user_attrs={"assignment": {"x": number / 7}}))
            trial = optuna.Trial(study, study.get_trials(deepcopy=False)[number]._trial_id)
            asked = time.perf_counter()
            for step in range(num_reports):
                study._storage.set_trial_intermediate_value(trial._trial_id, step, 1 / (1 + step))
            reported = time.perf_counter()
            study.tell(number, 0.5)
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
