"""What a search leaves in W&B besides runs: its spec, cards of its data, its best model. Knows runs only by use.

The data itself is never sent: an artifact of type `dataset` holds the card, and is named after the fingerprint.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search.tracker import TrainedModel
from search.yaml_text import parse_yaml, to_yaml
from spaces.redaction import redact

_TRAINING_STATE = re.compile(
    r"(optimizer|scheduler|scaler)\.(pt|bin)|optimizer_\d+|rng_state.*\.pth|trainer_state\.json|training_args\.bin"
    r"|divergence\.json"
)
"""What going on with training needs, and using the model does not. It is two thirds of a checkpoint."""


def spec_artifact(search: str, spec: Path) -> Any:
    """The resolved spec, secrets taken out."""
    import wandb

    content, _ = parse_yaml(spec.read_text("utf-8"))
    artifact = wandb.Artifact(f"{search}-spec", type="spec", description=f"The spec of search {search}, as resolved.")
    with artifact.new_file("spec.yaml", mode="w", encoding="utf-8") as file:
        file.write(to_yaml(redact(content)))
    return artifact


def data_artifact(card: Mapping[str, Any]) -> Any:
    """What is in prepared data, in numbers. Equal fingerprints give one artifact, across searches."""
    import wandb

    told = ("fingerprint", "task", "source", "documents", "examples", "tokens", "vocab_size", "max_length")
    artifact = wandb.Artifact(
        f"data-{card['fingerprint']}",
        type="dataset",
        description=f"The card of prepared data ({card['source']}); the data itself is not here.",
        metadata={name: card[name] for name in told},
    )
    with artifact.new_file("card.json", mode="w", encoding="utf-8") as file:
        file.write(json.dumps(card, indent=2, sort_keys=True, ensure_ascii=False))
    return artifact


def model_artifact(search: str, model: TrainedModel) -> Any:
    """The files that using the model needs, read from the checkpoint when they are sent."""
    import wandb

    artifact = wandb.Artifact(
        f"{search}-model",
        type="model",
        description=f"The model of trial {model.number}, the best of search {search}.",
        metadata={"trial": model.number, **redact(model.facts)},
    )
    for file in model_files(model.checkpoint):
        name = file.relative_to(model.checkpoint).as_posix()
        artifact.add_file(str(file), name=name, policy="immutable", skip_cache=True)  # no second copy on this disk
    return artifact


def model_files(checkpoint: Path) -> list[Path]:
    """The files of a checkpoint without what only training reads."""
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file())
    return [file for file in files if not _TRAINING_STATE.fullmatch(file.name)]


def use(run: Any, artifact: Any) -> None:
    """Record that a run has used an artifact that is logged with it.

    `run.use_artifact` refuses an offline run, and waits for the server in an online one. What it calls does neither.
    """
    run._log_artifact(artifact, aliases=[], is_user_created=True, use_after_commit=True)
