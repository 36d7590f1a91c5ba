"""How long the analysis of a large search takes, and how much memory: time and peak of each command in a fresh process.

    python benchmarks/analysis_speed.py                      # 1,000, 3,000 and 10,000 trials of 20 evaluations
    python benchmarks/analysis_speed.py --trials 10000 --command leaderboard --command report

The study is written by SQL, as our searches leave it. Beside it, what Optuna itself takes for its table of the same
study: `study.trials_dataframe()`.
"""

import argparse
import json
import random
import subprocess
import sys
import sysconfig
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

TRIALS = (1000, 3000, 10_000)
EVALUATIONS = 20
TUNESMITH = str(Path(sysconfig.get_path("scripts")) / "tunesmith")
_FILLED = ("trials", "trial_params", "trial_values", "trial_intermediate_values", "trial_user_attributes")
_MEASURED = """
import resource, runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    assert not end.code, f"exit code {end.code}"
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, file=sys.stderr)
"""
_OPTUNA = """
import optuna, sys
optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.load_study(study_name=None, storage=sys.argv[1])
frame = study.trials_dataframe()
print(len(frame))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, action="append", help="How many; may be given several times.")
    parser.add_argument("--evaluations", type=int, default=EVALUATIONS)
    parser.add_argument(
        "--command", action="append", metavar="'NAME OPTIONS'", help="A command that takes a search; {search}, {out}."
    )
    parser.add_argument("--keep", type=Path, help="Leave the studies in this folder.")
    options = parser.parse_args()
    commands = options.command or ["leaderboard {search} --top 10"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        print(f"{'trials':>7} {'command':<40} {'seconds':>8} {'CPU':>8} {'MB':>6}")
        for count in options.trials or TRIALS:
            search = folder / f"search-{count}"
            if not search.exists():
                write_search(search, trials=count, evaluations=options.evaluations)
            for command in commands:
                words = (command if "{search}" in command else f"{command} {{search}}").split()
                told = [word.format(search=search, out=folder / "out.html") for word in words]
                show(count, command, *measure(TUNESMITH, *told))
            script = folder / "optuna_frame.py"
            script.write_text(_OPTUNA)
            show(count, "Optuna: study.trials_dataframe()", *measure(str(script), f"sqlite:///{search / 'study.db'}"))


def show(count: int, name: str, seconds: float, cpu_seconds: float, megabytes: float) -> None:
    """One line of the table."""
    print(f"{count:>7} {name:<40} {seconds:>8.2f} {cpu_seconds:>8.2f} {megabytes:>6.0f}", flush=True)


def measure(*command: str) -> tuple[float, float, float]:
    """Of a fresh process: seconds to its end, CPU time (which a busy machine does not stretch), peak memory in MB."""
    began = time.perf_counter()
    ended = subprocess.run([sys.executable, "-c", _MEASURED, *command], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if ended.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{ended.stderr[-2000:]}")
    cpu_seconds, megabytes = map(float, ended.stderr.split()[-2:])
    return seconds, cpu_seconds, megabytes


def write_search(directory: Path, *, trials: int, evaluations: int) -> None:
    """A search of four parameters with ASHA-like early stopping, as the recorder leaves it."""
    import optuna
    import sqlalchemy
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution, distribution_to_json

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    directory.mkdir(parents=True)
    url = f"sqlite:///{directory / 'study.db'}"
    study = optuna.create_study(storage=url, study_name=directory.name, direction="minimize")
    study._storage.set_study_system_attr(study._study_id, "study:metric_names", ["eval/loss"])
    for name, value in {"num_trials": trials, "step_unit": "epochs", "gpus_per_trial": 1.0, "currency": "USD"}.items():
        study.set_user_attr(name, value)
    space = {
        "training.learning_rate": distribution_to_json(FloatDistribution(1e-5, 1e-1, log=True)),
        "training.weight_decay": distribution_to_json(FloatDistribution(0.0, 0.3)),
        "model.config.num_hidden_layers": distribution_to_json(IntDistribution(1, 12)),
        "model.adapter.method": distribution_to_json(CategoricalDistribution(["lora", "dora", "ia3"])),
    }
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in _FILLED}
    numbers = random.Random(0)
    for number in range(trials):
        _add_trial(rows, space, number, evaluations, numbers)
    engine = sqlalchemy.create_engine(url)
    tables = sqlalchemy.MetaData()
    tables.reflect(engine)
    with engine.begin() as connection:
        for name, content in rows.items():
            connection.execute(tables.tables[name].insert(), content)
    engine.dispose()


def _add_trial(
    rows: dict[str, list[dict[str, Any]]], space: dict[str, str], number: int, evaluations: int, numbers: random.Random
) -> None:
    key = {"trial_id": number + 1}
    rate, decay = 10 ** numbers.uniform(-5, -1), numbers.uniform(0, 0.3)
    layers, method = numbers.randint(1, 12), numbers.randrange(3)
    params: dict[str, Any] = dict(zip(space, (rate, decay, layers, ("lora", "dora", "ia3")[method]), strict=True))
    state = numbers.choices(("COMPLETE", "PRUNED", "FAIL"), weights=(50, 45, 5))[0]
    length = evaluations if state == "COMPLETE" else numbers.randint(1, evaluations)
    worst = 1.0 + abs(rate - 1e-3) * 20 + decay + abs(layers - 6) / 12
    curve = [worst + 3.0 / step + numbers.gauss(0, 0.01) for step in range(1, length + 1)]
    began = datetime(2026, 1, 1) + timedelta(seconds=30 * number)
    rows["trials"].append(
        {**key, "number": number, "study_id": 1, "state": state, "datetime_start": began}
        | {"datetime_complete": began + timedelta(seconds=length)}
    )
    for (name, text), value in zip(space.items(), (rate, decay, layers, method), strict=True):
        rows["trial_params"].append({**key, "param_name": name, "param_value": float(value), "distribution_json": text})
    rows["trial_intermediate_values"] += [
        {**key, "step": step, "intermediate_value": value, "intermediate_value_type": "FINITE"}
        for step, value in enumerate(curve, start=1)
    ]
    if state == "COMPLETE":
        rows["trial_values"].append({**key, "objective": 0, "value": curve[-1], "value_type": "FINITE"})
    metrics = {"eval/loss": curve[-1], "eval/accuracy": 1 / curve[-1], "eval/f1": 0.9 / curve[-1], "eval/seconds": 0.5}
    usage = {
        "device": "NVIDIA H100", "energy_wh": length * 0.1, "peak_memory_bytes": 10**9, "tokens_per_second": 1e5,
        "mfu": 0.4, "parameters": 10**8, "trainable_parameters": 10**6, "latency_ms": 2.5, "micro_batch_size": 16,
        "gradient_accumulation_steps": 1, "eval_batch_size": 16,
    }  # fmt: skip
    result = {
        "steps": length * 100, "epochs": float(length), "tokens": length * 50_000, "seconds": float(length),
        "attempts": 1, "clock": {"began_at": 1.0 * number, "ended_at": 1.0 * number + length, "process": "host:1"},
        "metrics": metrics, "usage": usage, "checkpoint": None, "error": "it diverged" if state == "FAIL" else None,
        **({"failure": "diverged"} if state == "FAIL" else {}),
    }  # fmt: skip
    for name, content in (("assignment", params), ("result", result)):
        rows["trial_user_attributes"].append({**key, "key": name, "value_json": json.dumps(content)})


if __name__ == "__main__":
    main()
