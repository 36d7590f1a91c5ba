"""Small texts and configurations for the tests of data."""

from pathlib import Path

import pytest

from trainables.config import ModelConfig

# Four groups of lines, ten texts each: enough for stratified splits of a fifth.
TOPICS = {
    "sea": "waves and salt",
    "sky": "clouds and wind",
    "wood": "leaves and moss",
    "town": "streets and bells",
}


@pytest.fixture
def scratch_model() -> ModelConfig:
    return ModelConfig(architecture="gpt2")


@pytest.fixture
def labelled_csv(tmp_path: Path) -> Path:
    """Forty texts, no two alike, with four labels."""
    file = tmp_path / "labelled.csv"
    rows = [f"{label} number {n} has {words},{label}" for label, words in TOPICS.items() for n in range(10)]
    file.write_text("text,label\n" + "\n".join(rows) + "\n")
    return file
