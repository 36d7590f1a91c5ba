"""Preparing a large text file: time, memory of all processes together, and the same again from the cache.

    python benchmarks/data_preparation.py [--gigabytes 0.2] [--vocab-size 8000]

The peer, in the same run: `datasets.load_dataset` and `map` with the same tokenizer on all cores, blocks of the same
length. Memory is what all processes of a preparation hold at once at most, pages of mapped files included.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import psutil

LENGTH = 512
_SAMPLING_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One process and all that it started."""

    seconds: float
    peak_bytes: int
    said: dict[str, Any]


def main() -> None:
    """Make the file, prepare it both ways, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=0.2, help="size of the text file")
    parser.add_argument("--vocab-size", type=int, default=8000, help="tokens of the tokenizer that is trained")
    parser.add_argument("--step", choices=["ours", "peer"], help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--tokenizer", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        print(json.dumps(ours(arguments) if arguments.step == "ours" else peer(arguments)))
        return
    with tempfile.TemporaryDirectory(prefix="tunesmith-bench-") as folder:
        file = Path(folder) / "text.jsonl"
        write_text(file, num_bytes=int(arguments.gigabytes * 1e9))
        size = file.stat().st_size
        print(f"{size / 1e9:.2f} GB of text; {os.cpu_count()} cores", flush=True)
        first = measure("ours", file, Path(folder), vocab_size=arguments.vocab_size)
        show("tunesmith", first, size)
        again = measure("ours", file, Path(folder), vocab_size=arguments.vocab_size)
        print(f"{'tunesmith, from cache':<24}{again.said['prepare_seconds']:>8.2f} s", flush=True)
        tokenizer = Path(first.said["directory"]) / "tokenizer"
        other = measure("peer", file, Path(folder), vocab_size=arguments.vocab_size, tokenizer=tokenizer)
        show("datasets.map", other, size)
        print(f"tunesmith takes {first.said['encode_seconds'] / other.said['prepare_seconds']:.2f} of the peer's time "
              "without the training of the tokenizer, which the peer is handed")  # fmt: skip


def show(name: str, found: Measured, size: int) -> None:
    """A line of the table."""
    speed = size / 1e6 / found.said["prepare_seconds"]
    print(
        f"{name:<24}{found.said['prepare_seconds']:>8.1f} s{speed:>8.1f} MB/s"
        f"   peak memory {found.peak_bytes / 1e9:.2f} GB   {found.said['blocks']:,} blocks",
        flush=True,
    )


def write_text(file: Path, *, num_bytes: int) -> None:
    """Paragraphs of the Python manual in random order, with numbers in them, so that no two documents are equal."""
    paragraphs = [part.strip() for text in topics.values() for part in text.split("\n\n") if len(part) > 40]
    rng = random.Random(0)
    written = 0
    with file.open("w", encoding="utf-8") as out:
        while written < num_bytes:
            text = f"{rng.randrange(10**9)} " + "\n\n".join(rng.choices(paragraphs, k=rng.randint(1, 8)))
            written += out.write(json.dumps({"text": text}) + "\n")


def measure(step: str, file: Path, folder: Path, *, vocab_size: int, tokenizer: Path | None = None) -> Measured:
    """Run one step in a process of its own and watch its memory."""
    command = [sys.executable, __file__, "--step", step, "--file", str(file), "--cache", str(folder / step)]
    command += ["--vocab-size", str(vocab_size)] + (["--tokenizer", str(tokenizer)] if tokenizer else [])
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak = [0]

    def watch() -> None:
        while process.poll() is None:
            peak[0] = max(peak[0], tree_bytes(process.pid))
            time.sleep(_SAMPLING_SECONDS)

    watcher = threading.Thread(target=watch)
    watcher.start()
    out, _ = process.communicate()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"{step} failed")
    said = json.loads(out.strip().splitlines()[-1])
    return Measured(seconds=time.monotonic() - began, peak_bytes=peak[0], said=said)


def tree_bytes(pid: int) -> int:
    """Resident memory of a process and all below it; pages that they share count once for each."""
    try:
        root = psutil.Process(pid)
        return sum(each.memory_info().rss for each in (root, *root.children(recursive=True)))
    except psutil.Error:
        return 0


def ours(arguments: argparse.Namespace) -> dict[str, Any]:
    """What a search does before its first trial."""
    from trainables.config import TrialConfig
    from trainables.preparation import prepare

    document = {
        "task": "causal_lm",
        "model": {"architecture": "gpt2"},
        "data": {
            "source": {"files": str(arguments.file)}, "max_length": LENGTH,
            "tokenizer": {"train": "bpe", "vocab_size": arguments.vocab_size},
        },
    }  # fmt: skip
    trial = TrialConfig.model_validate(document)
    began = time.monotonic()
    marks: dict[str, float] = {}

    def on_progress(words: str) -> None:
        marks.setdefault(words.split()[0], time.monotonic())
        print(f"  {time.monotonic() - began:6.1f} s  {words}", file=sys.stderr, flush=True)

    data = prepare(trial.task, trial.model, trial.data, cache_directory=arguments.cache, on_progress=on_progress)
    seconds = time.monotonic() - began
    training = marks.get("tokenizing", 0.0) - marks.get("training", 0.0)
    return {
        "prepare_seconds": seconds,
        "encode_seconds": seconds - training,
        "directory": str(data.directory),
        "blocks": len(data.train) + len(data.validation),
    }


def peer(arguments: argparse.Namespace) -> dict[str, Any]:
    """The recipe of transformers' run_clm: load, tokenize, group, on all cores."""
    os.environ["HF_HOME"] = str(arguments.cache)
    import datasets
    from transformers import AutoTokenizer

    datasets.disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(arguments.tokenizer)
    end = tokenizer.eos_token_id

    def tokenize(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        ids = tokenizer(batch["text"], verbose=False)["input_ids"]
        stream = [token for each in ids for token in (*each, end)]
        return {"input_ids": [stream[at : at + LENGTH] for at in range(0, len(stream) - LENGTH + 1, LENGTH)]}

    began = time.monotonic()
    loaded = datasets.load_dataset("json", data_files=str(arguments.file), split="train")
    parts = loaded.train_test_split(test_size=0.1, seed=0)
    blocks = parts.map(tokenize, batched=True, remove_columns=["text"], num_proc=os.cpu_count())
    return {"prepare_seconds": time.monotonic() - began, "blocks": sum(map(len, blocks.values()))}


if __name__ == "__main__":
    main()
