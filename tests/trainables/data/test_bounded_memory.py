"""Large data in little memory: mapped pages are let go, long steps tell of themselves, tokenizers learn of a sample."""

from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from trainables.config import DataConfig, ModelConfig
from trainables.data import steps
from trainables.data.arrow_files import write_columns
from trainables.data.mapped_pages import release_pages
from trainables.data.steps import Step
from trainables.preparation import prepare


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux only")
def test_pages_of_a_mapped_file_are_let_go_and_read_again(tmp_path: Path) -> None:
    schema = pa.schema([("n", pa.list_(pa.int64()))])
    batches = ({"n": [list(range(1000))] * 1000} for _ in range(12))
    rows = write_columns(tmp_path / "rows.arrow", schema=schema, batches=batches)

    def total() -> int:
        return sum(int(chunk.flatten().to_numpy().sum()) for chunk in rows.data.column("n").chunks)

    process = psutil.Process()
    first = total()
    full = process.memory_info().rss
    release_pages(tmp_path)
    assert full - process.memory_info().rss > 60e6  # of 96 MB
    assert total() == first == 12_000 * 499_500


def test_only_files_of_that_folder_are_let_go(tmp_path: Path) -> None:
    from trainables.data.mapped_pages import _mappings

    schema = pa.schema([("n", pa.int64())])
    kept = write_columns(tmp_path / "a" / "kept.arrow", schema=schema, batches=[{"n": list(range(10_000))}])
    assert list(_mappings(tmp_path / "b")) == []
    assert len(list(_mappings(tmp_path / "a"))) >= 1
    assert len(kept) == 10_000


def test_a_step_says_how_far_it_is_how_fast_and_how_long_it_takes() -> None:
    now = [0.0]
    said: list[str] = []
    made = Step("tokenizing", total=1000, on_progress=said.append, now=lambda: now[0])
    for second in range(1, 12):
        now[0] = second
        made.add(documents=10, num_bytes=2_000_000)
    assert said == [
        "tokenizing: 50 of 1,000 documents, 2.0 MB/s, 95 s left".replace("95 s", "2 min"),
        "tokenizing: 100 of 1,000 documents, 2.0 MB/s, 90 s left".replace("90 s", "2 min"),
    ]


def test_all_documents_are_counted_while_they_are_read_and_tokenized(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "_EVERY_SECONDS", 0.0)
    (tmp_path / "text.txt").write_text("".join(f"line number {number}\n" for number in range(2500)))
    config = DataConfig(source={"files": str(tmp_path / "text.txt")}, tokenizer={"train": "bpe", "vocab_size": 300})
    said: list[str] = []
    prepare("causal_lm", ModelConfig(architecture="gpt2"), config, cache_directory=tmp_path, on_progress=said.append)
    assert any(words.startswith("reading documents: 2,500 documents") for words in said)
    assert any(words.startswith("tokenizing: 2,500 of 2,500 documents") for words in said)


def test_a_tokenizer_learns_of_a_sample_spread_over_all_of_train(tmp_path: Path) -> None:
    lines = [f"{'begin' if number < 3000 else 'final'} {number}\n" for number in range(6000)]
    (tmp_path / "text.txt").write_text("".join(lines))

    def vocabulary(megabytes: float) -> set[str]:
        config = DataConfig(
            source={"files": str(tmp_path / "text.txt")},
            tokenizer={"train": "bpe", "vocab_size": 600, "train_on_megabytes": megabytes},
        )
        made = prepare("causal_lm", ModelConfig(architecture="gpt2"), config, cache_directory=tmp_path)
        return set(made.tokenizer.get_vocab())

    sample = vocabulary(0.01)
    assert {"begin", "final"} <= sample
    assert len(sample) < len(vocabulary(100))
