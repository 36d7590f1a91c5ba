"""Adapters: what trains, exact resume, checkpoints that load by themselves, and what is refused before the start."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from tiny_trials import TINY_GPT2, Document, Ran, labelled, prose, run, tuned, weights

from search.load import validate
from search.trial_documents import base_document
from spaces.errors import SpecError
from spaces.space import Space
from trainables.checks import check_trial
from trainables.config import TrialConfig
from trainables.conversion import standard_folder
from trainables.models import build_model
from trainables.preparation import prepare
from trainables.tasks.registry import TASKS

METHODS = {
    "lora": {"method": "lora", "r": 4},
    "named layers": {"method": "lora", "target_modules": ["query", "output.dense"]},
    "dora": {"method": "lora", "r": 2, "dora": True},
    "rslora": {"method": "lora", "r": 2, "rslora": True},
    "ia3": {"method": "ia3"},
    "ia3 everywhere": {"method": "ia3", "target_modules": "all-linear"},
    "prefix tuning": {"method": "prefix_tuning", "virtual_tokens": 4},
    "prompt tuning": {"method": "prompt_tuning", "virtual_tokens": 4},
}


NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def adapted(folder: Path, adapter: Document, **other: Any) -> Document:
    """A small encoder with an adapter."""
    return tuned(folder, model={"adapter": adapter}, **other)


@pytest.fixture(params=METHODS.values(), ids=METHODS)
def document(request: pytest.FixtureRequest, tmp_path: Path) -> Document:
    return adapted(tmp_path, request.param)


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a small pretrained GPT-2."""
    folder = tmp_path_factory.mktemp("language-model")
    return str(
        run(prose(folder, config=TINY_GPT2 | {"n_positions": 64}, num_train_epochs=1), folder / "trial")
        .reports[-1]
        .checkpoint
    )


def adapted_language_model(folder: Path, base: str, adapter: Document, **training: Any) -> Document:
    document = prose(folder, **training)
    document["model"] = {"pretrained": base, "adapter": adapter}
    del document["data"]["tokenizer"]
    return document


def built(document: Document) -> Any:
    """The model as the trial starts with it."""
    trial = TrialConfig.model_validate(document)
    data = prepare(trial.task, trial.model, trial.data)
    transformers.set_seed(42)
    return build_model(TASKS[trial.task], trial.model, data=trial.data, card=data.card, tokenizer=data.tokenizer)


def batches(document: Document) -> Iterator[dict[str, torch.Tensor]]:
    """The validation examples, one at a time."""
    trial = TrialConfig.model_validate(document)
    data = prepare(trial.task, trial.model, trial.data)
    collate = TASKS[trial.task].collator(data.tokenizer, trial.data, model=built(document), is_training=False)
    return (collate([example]) for example in data.validation)


def checkpoint_of(ran: Ran) -> Path:
    return Path(str(ran.reports[-1].checkpoint))


# --- every method ----------------------------------------------------------------------------------------


def test_the_adapter_and_the_head_train_and_the_base_does_not(document: Document, tmp_path: Path) -> None:
    names = {name for name, weight in built(document).named_parameters() if weight.requires_grad}
    is_addition = {name: any(part in name for part in ("lora_", "ia3_", "prompt_encoder")) for name in names}
    assert any(is_addition.values())
    assert [name for name, is_added in is_addition.items() if not is_added and "classifier" not in name] == []
    before = peft.get_peft_model_state_dict(built(document))
    after = weights(run(document, tmp_path / "trial"))
    assert after.keys() == before.keys()
    assert [name for name, values in after.items() if values == before[name].flatten().tolist()] == []


@pytest.mark.quick("dora", "ia3 everywhere", "prefix tuning")
def test_a_resumed_adapter_equals_an_uninterrupted_one(document: Document, tmp_path: Path) -> None:
    document["training"] |= {"eval_strategy": "steps", "eval_steps": 3, "max_steps": 9}
    whole = run(document, tmp_path / "whole")
    run(document, tmp_path / "resumed", stop_after=2)
    resumed = run(document, tmp_path / "resumed")
    assert resumed.metrics == whole.metrics[1:]
    assert weights(resumed) == weights(whole)


def test_a_checkpoint_holds_what_trained_names_its_base_and_gives_the_same_loss(
    document: Document, tmp_path: Path
) -> None:
    document["training"]["num_train_epochs"] = 1
    ran = run(document, tmp_path / "trial")
    facts = json.loads((checkpoint_of(ran) / "adapter_config.json").read_text())
    assert (Path(facts["base_model_name_or_path"]) / "config.json").is_file()
    assert facts["peft_type"].lower().replace("_", "") in document["model"]["adapter"]["method"].replace("_", "")
    size = (checkpoint_of(ran) / "adapter_model.safetensors").stat().st_size
    assert size < 0.8 * (tmp_path / "base" / "model.safetensors").stat().st_size
    place = str(checkpoint_of(ran))
    base = peft.PeftConfig.from_pretrained(place).base_model_name_or_path
    labels = transformers.AutoConfig.from_pretrained(place)
    below = transformers.AutoModelForSequenceClassification.from_pretrained(base, config=labels)
    model = peft.PeftModel.from_pretrained(below, place).eval()
    with torch.no_grad():
        losses = [float(model(**batch).loss) for batch in batches(document)]
    assert sum(losses) / len(losses) == pytest.approx(ran.metrics[-1]["eval/loss"], rel=1e-4)


# --- LoRA ------------------------------------------------------------------------------------------------


def test_an_adapter_in_between_changes_nothing(tmp_path: Path) -> None:
    document = labelled(tmp_path, num_train_epochs=1)
    before = run(document, tmp_path / "before")
    assert run(adapted(tmp_path, {"r": 2}, max_steps=2)).failure is None
    after = run(document, tmp_path / "after")
    assert after.rows == before.rows
    assert weights(after) == weights(before)


def test_accumulated_batches_of_an_adapter_train_like_one_large_batch(tmp_path: Path) -> None:
    adapter = {"r": 2, "dropout": 0.0}
    same = {"logging_steps": 1, "optim": "sgd", "learning_rate": 0.1, "config": NO_DROPOUT}
    whole = run(adapted(tmp_path, adapter, per_device_train_batch_size=8, **same))
    parts = run(adapted(tmp_path, adapter, per_device_train_batch_size=4, gradient_accumulation_steps=2, **same))
    for one, other in zip(whole.rows, parts.rows, strict=True):
        assert one == pytest.approx(other, rel=1e-3)


def test_gradient_checkpointing_changes_no_number_of_an_adapter(tmp_path: Path) -> None:
    kept, again = (
        run(adapted(tmp_path, {"dropout": 0.0}, config=NO_DROPOUT, max_steps=4, gradient_checkpointing=switch))
        for switch in (False, True)
    )
    assert again.metrics == [pytest.approx(metrics, rel=1e-4) for metrics in kept.metrics]
    assert again.metrics[-1]["eval/loss"] != run(adapted(tmp_path, {}, max_steps=1)).metrics[-1]["eval/loss"]


def test_dropout_of_the_base_can_be_set_below_an_adapter(tmp_path: Path) -> None:
    model = built(adapted(tmp_path, {"dropout": 0.2}, config={"hidden_dropout_prob": 0.4}))
    assert model.base_model.model.bert.embeddings.dropout.p == 0.4
    query = model.base_model.model.bert.encoder.layer[0].attention.self.query
    assert query.lora_dropout["default"].p == 0.2


def test_alpha_follows_the_rank_and_methods_have_their_own_arguments(tmp_path: Path) -> None:
    spec = validate(
        tuned(tmp_path)
        | {
            "name": "x",
            "model": {"pretrained": str(tmp_path / "base"), "adapter": {"method": "lora"}},
            "space": {
                "model.adapter.method": {"choice": ["lora", "ia3"]},
                "model.adapter.r": {"choice": [4, 16], "when": {"model.adapter.method": "lora"}},
            },
            "derive": {"model.adapter.alpha": "2 * model.adapter.r if model.adapter.method == 'lora' else 16"},
        }
    )
    space = Space.parse(spec.space, constraints=(), derive=spec.derive, document=base_document(spec))
    trials = [TrialConfig.model_validate(space.apply(assignment)) for assignment in space.grid()]
    adapters = [trial.model.adapter for trial in trials]
    assert [(one.method, one.r, one.alpha) for one in adapters if one] == [
        ("lora", 4, 8), ("lora", 16, 32), ("ia3", 8, 16),
    ]  # fmt: skip
    assert built(adapted(tmp_path, {"r": 16, "alpha": 32})).peft_config["default"].lora_alpha == 32


def test_layers_of_a_head_that_has_several_all_train(tmp_path: Path) -> None:
    config = transformers.AutoConfig.for_model(
        "distilbert", vocab_size=300, dim=16, n_layers=1, n_heads=2, hidden_dim=16
    )
    document = adapted(tmp_path, {"r": 2})
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path / "base")
    whole = {name.split(".")[2] for name, weight in built(document).named_parameters()
             if weight.requires_grad and "lora" not in name}  # fmt: skip
    assert whole == {"pre_classifier", "classifier"}
    assert run(document | {"training": {"max_steps": 1}}).failure is None


def test_a_pooler_that_no_checkpoint_brought_trains_too(tmp_path: Path) -> None:
    document = adapted(tmp_path, {"r": 2})
    base = str(tmp_path / "base")
    transformers.BertModel.from_pretrained(base, add_pooling_layer=False).save_pretrained(base)
    training = {name for name, weight in built(document).named_parameters() if weight.requires_grad}
    assert any("pooler" in name and name.endswith("weight") and "lora" not in name for name in training)


# --- language models -------------------------------------------------------------------------------------


def test_an_adapter_of_a_language_model_loads_by_its_checkpoint_alone(language_model: str, tmp_path: Path) -> None:
    document = adapted_language_model(tmp_path, language_model, {"r": 4})
    ran = run(document, tmp_path / "trial")
    model = transformers.AutoModelForCausalLM.from_pretrained(str(checkpoint_of(ran))).eval()
    with torch.no_grad():
        losses = [float(model(**batch).loss) for batch in batches(document)]
    assert sum(losses) / len(losses) == pytest.approx(ran.metrics[-1]["eval/loss"], rel=1e-4)
    assert ran.metrics[-1]["eval/loss"] < ran.metrics[0]["eval/loss"]


@pytest.mark.parametrize("method", ["prefix_tuning", "prompt_tuning"])
def test_learned_tokens_leave_the_loss_to_the_tokens_that_any_model_predicts(
    language_model: str, tmp_path: Path, method: str
) -> None:
    document = adapted_language_model(tmp_path, language_model, {"method": method, "virtual_tokens": 3})
    model = built(document).eval()
    batch = next(batches(document))
    with torch.no_grad():
        output = model(**batch)
        logits = output.logits[:, -batch["input_ids"].shape[1] :]
        expected = torch.nn.functional.cross_entropy(logits[0, :-1], batch["input_ids"][0, 1:])
    assert float(output.loss) == pytest.approx(float(expected), rel=1e-5)
    assert run(document).failure is None


def test_a_trial_goes_on_from_an_adapter_merged_into_its_base(language_model: str, tmp_path: Path) -> None:
    first = run(adapted_language_model(tmp_path, language_model, {"r": 4}), tmp_path / "first")
    again = adapted_language_model(tmp_path, str(checkpoint_of(first)), {"r": 4}, eval_on_start=True, max_steps=1)
    assert run(again).metrics[0]["eval/loss"] == pytest.approx(first.metrics[-1]["eval/loss"], rel=1e-4)


def test_the_trial_that_merges_gives_what_a_later_one_gives(language_model: str, tmp_path: Path) -> None:
    first = run(adapted_language_model(tmp_path, language_model, {"r": 2}, max_steps=1), tmp_path / "first")
    document = adapted_language_model(tmp_path, str(checkpoint_of(first)), {"r": 2}, max_steps=2, logging_steps=1)
    merging, finding = run(document), run(document)
    assert merging.rows == finding.rows
    assert merging.failure is None


def test_an_adapter_is_merged_once(language_model: str, tmp_path: Path) -> None:
    first = run(adapted_language_model(tmp_path, language_model, {"r": 2}, max_steps=1), tmp_path / "first")
    folder = Path(standard_folder(str(checkpoint_of(first))))
    made = (folder / "model.safetensors").stat().st_mtime_ns
    assert standard_folder(str(checkpoint_of(first))) == str(folder)
    assert (folder / "model.safetensors").stat().st_mtime_ns == made


# --- refused before the start ----------------------------------------------------------------------------

REFUSED = {
    "unknown layer": ({"target_modules": ["qery"]}, {}, r"has no layer `qery`\. Did you mean `query`\?.*value"),
    "too many virtual tokens": ({"method": "prompt_tuning", "virtual_tokens": 500}, {}, "512 positions.*500 virtual"),
    "prefix and checkpointing": ({"method": "prefix_tuning"}, {"gradient_checkpointing": True}, "without its prefix"),
}


@pytest.mark.parametrize(("adapter", "training", "says"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_work_is_refused(tmp_path: Path, adapter: Document, training: Document, says: str) -> None:
    document = adapted(tmp_path, adapter, **training)
    with pytest.raises(SpecError, match=says):
        check_trial(TrialConfig.model_validate(document))


def test_learned_embeddings_before_a_classifier_that_looks_for_padding_are_refused(
    language_model: str, tmp_path: Path
) -> None:
    document = labelled(tmp_path)
    document["model"] = {"pretrained": language_model, "adapter": {"method": "prompt_tuning"}}
    del document["data"]["tokenizer"]
    with pytest.raises(SpecError, match="cannot find the end of a text"):
        check_trial(TrialConfig.model_validate(document))


def test_an_adapter_whose_base_is_gone_is_refused(tmp_path: Path) -> None:
    facts = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": str(tmp_path / "gone")}
    (tmp_path / "adapter_config.json").write_text(json.dumps(facts))
    document = prose(tmp_path)
    document["model"] = {"pretrained": str(tmp_path)}
    del document["data"]["tokenizer"]
    with pytest.raises(SpecError, match=r"its base `.*gone` is gone"):
        check_trial(TrialConfig.model_validate(document))


def test_an_adapter_that_cannot_be_merged_is_refused(language_model: str, tmp_path: Path) -> None:
    document = adapted_language_model(tmp_path, language_model, {"method": "prompt_tuning"}, max_steps=1)
    document["model"]["pretrained"] = str(checkpoint_of(run(document, tmp_path / "trial")))
    with pytest.raises(SpecError, match="kind PROMPT_TUNING, which cannot be merged"):
        check_trial(TrialConfig.model_validate(document))
