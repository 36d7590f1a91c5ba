"""Is the best learning rate of a narrow model that of a wide one? A sweep over rates and widths, with and without muP.

A GPT-2 of two blocks on the Python language reference, equal data for all. Everything is really trained, here, without
Ray; results are added to a file, and what stands there is not trained again.

    nice -n 10 python benchmarks/mup_transfer.py --results /tmp/mup.jsonl
"""

import argparse
import json
import math
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

WIDTHS = (64, 128, 256)
RATES = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032)
SCHEMES = ("standard", "mup")
METRIC = "eval/bits_per_byte"
_HEAD_WIDTH = 16
_BASE = WIDTHS[0]
_BASE_SPREAD = 0.08


def document(width: int, rate: float, scheme: str, *, steps: int, seed: int) -> dict[str, Any]:
    """The trial."""
    return {
        "task": "causal_lm",
        "model": {
            "architecture": "gpt2",
            "config": {"n_embd": width, "n_head": width // _HEAD_WIDTH, "n_layer": 2, "resid_pdrop": 0.0,
                       "embd_pdrop": 0.0, "attn_pdrop": 0.0, "initializer_range": _spread(width, scheme)},
            "parametrization": {"scheme": scheme, "base": {"n_embd": _BASE, "n_head": _BASE // _HEAD_WIDTH}},
        },
        "data": {
            "source": {"builtin": "stdlib-docs"}, "tokenizer": {"train": "bpe", "vocab_size": 1000}, "max_length": 64,
        },
        "training": {
            "learning_rate": rate, "per_device_train_batch_size": 8, "per_device_eval_batch_size": 64,
            "max_steps": steps, "eval_strategy": "steps", "eval_steps": steps, "lr_scheduler_type": "cosine",
            "warmup_steps": 0.1, "logging_steps": 1000, "seed": seed,
        },
    }  # fmt: skip


def _spread(width: int, scheme: str) -> float:
    """Of initial weights: GPT-2's 0.02 is for a width of about 1000, so for the base it is larger. Both schemes let it
    fall with the square root of the width, muP by itself."""
    return _BASE_SPREAD if scheme == "mup" else _BASE_SPREAD * math.sqrt(_BASE / width)


def trained(work: tuple[int, float, str, int, int]) -> dict[str, Any]:
    """The result of one training."""
    import torch

    from spaces.reports import TrialReport
    from trainables.trial import parse_document, run_trial

    torch.set_num_threads(1)
    width, rate, scheme, steps, seed = work
    reports: list[TrialReport] = []
    outcome = run_trial(
        parse_document(document(width, rate, scheme, steps=steps, seed=seed)), reports.append, directory=None,
        save_checkpoints=False,
    )  # fmt: skip
    # A trial that diverged has no value.
    value = reports[-1].metrics[METRIC] if reports and outcome.failure is None else math.inf
    return {"width": width, "rate": rate, "scheme": scheme, "steps": steps, "seed": seed, "value": value}


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True, help="a file of JSON lines")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    found = _read(arguments.results)
    wanted = [
        (width, rate, scheme, arguments.steps, seed)
        for width in WIDTHS
        for seed in range(arguments.seeds)
        for rate in RATES
        for scheme in SCHEMES
        if width != _BASE or scheme == "mup"  # at the base both are the same
    ]
    missing = [work for work in wanted if work not in found]
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for result in pool.map(trained, missing):
            with arguments.results.open("a") as lines:
                lines.write(json.dumps(result) + "\n")
            sys.stderr.write(f"{result}\n")
    found = _read(arguments.results)
    sys.stdout.write(_table(found, steps=arguments.steps, seeds=arguments.seeds))


def _read(file: Path) -> dict[tuple[Any, ...], float]:
    if not file.is_file():
        return {}
    results = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    return {tuple(one[name] for name in ("width", "rate", "scheme", "steps", "seed")): one["value"] for one in results}


def _table(found: dict[tuple[Any, ...], float], *, steps: int, seeds: int) -> str:
    lines = [f"| width | | {' | '.join(f'{rate:g}' for rate in RATES)} |", f"| --- | --- |{' --- |' * len(RATES)}"]
    for scheme in SCHEMES:
        for width in WIDTHS:
            of = "mup" if width == _BASE else scheme
            means = [sum(found[width, rate, of, steps, seed] for seed in range(seeds)) / seeds for rate in RATES]
            best = min(means)
            cells = [f"**{mean:.3f}**" if mean == best else f"{mean:.3f}" for mean in means]
            lines.append(f"| {width} | {scheme} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
