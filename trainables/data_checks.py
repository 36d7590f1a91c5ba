"""What of a `data` section can be known not to work before anything starts: steps, packing, curriculum.

Reads sources only; imports no torch. Every error carries the key path within the trial document.
"""

import ast
import importlib.util
import json
from functools import cache
from pathlib import Path

from spaces.errors import SpecError
from trainables.config import BuiltinSource, TaskName, TrialConfig
from trainables.data_sections import STEPS_FOR_WORDS, StepName, step_and_argument
from trainables.huggingface import RECURRENT, modeling_source
from trainables.places import is_gguf, resolve_pretrained

_PACKAGES: dict[StepName, str] = {
    "language": "py3langid", "lemmatize": "simplemma",
}  # fmt: skip
# Layers that carry a state from token to token know no documents, whatever the positions say.
_STATEFUL = ("causal_conv1d", "selective_scan", "gated_delta_rule", "rwkv", "linear_attention")


def check_documents(trial: TrialConfig) -> None:
    """Raise SpecError for the first thing in how documents become examples that cannot work."""
    _check_cleaning(trial)
    _check_packing(trial)
    _check_curriculum(trial)


def _check_cleaning(trial: TrialConfig) -> None:
    arguments = dict(map(step_and_argument, trial.data.clean))
    for name in arguments:
        if trial.task == "token_classification" and name not in STEPS_FOR_WORDS:
            raise SpecError(
                f"`{name}` may take words away, and each has a tag. For {trial.task} there are "
                f"{', '.join(sorted(STEPS_FOR_WORDS))}.",
                path="data.clean",
            )
        package = _PACKAGES.get(name)
        if package is not None and importlib.util.find_spec(package) is None:
            raise SpecError(
                f"`{name}` needs the package {package}: pip install 'tunesmith[cleaning]'.", path="data.clean"
            )
    fewest, most = arguments.get("min_characters"), arguments.get("max_characters")
    if fewest is not None and most is not None and fewest > most:
        raise SpecError(
            f"no text has {fewest} characters or more (`min_characters`) and {most} or fewer (`max_characters`).",
            path="data.clean",
        )


def _check_packing(trial: TrialConfig) -> None:
    if trial.data.packing != "isolated" or trial.task != "causal_lm":
        return
    adapter = trial.model.adapter
    if adapter is not None and adapter.method in ("prefix_tuning", "prompt_tuning"):
        raise SpecError(
            f"`isolated` and {adapter.method} do not go together: virtual tokens stand before a block, and only its "
            "first document would see them.",
            path="data.packing",
        )
    if trial.training.get("use_cache"):
        raise SpecError(
            "with `use_cache`, transformers lets the documents of a block see each other: leave it out, or set "
            "`data.packing` to `none` or `stream`.",
            path="training.use_cache",
        )
    model_type = trial.model.architecture or _type_of(str(trial.model.pretrained))
    if model_type is not None and not can_isolate(model_type):
        raise SpecError(
            f"`isolated` does not work with `{model_type}`: its tokens would see the documents before theirs. Use "
            "`none` or `stream`.",
            path="data.packing",
        )


@cache
def can_isolate(model_type: str) -> bool:
    """Whether models of this type hand their positions to transformers' causal mask and have no other memory, by their
    source."""
    if model_type in RECURRENT:
        return False
    source = modeling_source(model_type)
    if not source:
        return True  # kept in a folder of another name: what the model does is proven when it is built
    if "create_causal_mask" not in source or any(word in source for word in _STATEFUL):
        return False
    for node in ast.walk(ast.parse(source)):
        # The mask is made by one of several functions, whose arguments may stand in a mapping that they share.
        if isinstance(node, ast.Call):
            names: set[object] = {word.arg for word in node.keywords}
        elif isinstance(node, ast.Dict):
            names = {key.value for key in node.keys if isinstance(key, ast.Constant)}
        else:
            continue
        if names >= {"config", "inputs_embeds", "position_ids"}:
            return True
    return False


def _type_of(place: str) -> str | None:
    """The model type of a local folder; None when it is not known before the model is loaded. Then it is proven when it
    is."""
    try:
        file = Path(resolve_pretrained(place)) / "config.json"
        known = json.loads(file.read_text("utf-8")) if not is_gguf(place) and file.is_file() else {}
    except (SpecError, ValueError):
        return None
    found = known.get("model_type")
    return found if isinstance(found, str) else None


_ALWAYS_BLOCKS: tuple[TaskName, ...] = ("masked_lm",)


def _check_curriculum(trial: TrialConfig) -> None:
    curriculum = trial.data.curriculum
    if curriculum is None:
        return
    is_packed = trial.task == "causal_lm" and trial.data.packing != "none"
    if is_packed or trial.task in _ALWAYS_BLOCKS:
        advice = " Set `data.packing: none`." if is_packed else ""
        raise SpecError(
            f"blocks of several documents are all of one length, and have no difficulty of their own.{advice}",
            path="data.curriculum",
        )
    strategy = trial.training.get("train_sampling_strategy", "random")
    if strategy != "random":
        raise SpecError(
            f"`data.curriculum` orders the examples, and so does `{strategy}`: leave one of them out.",
            path="training.train_sampling_strategy",
        )
    builtin = next((source for source in trial.data.sources if isinstance(source, BuiltinSource)), None)
    if curriculum.by != "length" and builtin is not None:
        raise SpecError(
            f"`{builtin.builtin}` has no column of numbers for this: use `length`, or your own files.",
            path="data.curriculum.by",
        )
