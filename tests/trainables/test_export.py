"""Exported folders: what transformers loads from them, in a process without tunesmith, is the trial's model."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from tiny_trials import (
    TINY_BART,
    TINY_BERT,
    TINY_GPT2,
    TINY_LLAMA,
    TINY_RECURRENT,
    Document,
    chats,
    labelled,
    masked,
    pairs,
    preferences,
    prose,
    run,
    tagged,
    tuned,
)

import trainables.recurrent  # noqa: F401  # the trial's own model is loaded as a trial would
from spaces.errors import SpecError
from trainables.config import TrialConfig
from trainables.export import ExportedModel, export_model
from trainables.generation import generate
from trainables.preparation import prepare
from trainables.tasks.registry import TASKS


def wide(folder: Path, **training: Any) -> Document:
    """A language model by muP, four times as wide as its base."""
    document = prose(folder, config={"n_embd": 64, "n_layer": 1, "n_head": 4}, **training)
    document["model"]["parametrization"] = {"scheme": "mup", "base": {"n_embd": 16, "n_head": 2}}
    return document


def roomy(make: Callable[..., Document], folder: Path, **training: Any) -> Document:
    """With positions for a whole conversation."""
    document = make(folder, **training)
    document["data"]["max_length"] = 128
    return document


CASES: dict[str, Callable[..., Document]] = {
    "language model": prose,
    "mup": wide,
    "llama": partial(prose, architecture="llama", config=TINY_LLAMA),
    "classifier": partial(labelled, config=TINY_BERT | {"initializer_range": 0.2}),
    "gpt2 classifier": partial(labelled, architecture="gpt2", config=TINY_GPT2),
    "masked": masked,
    "tags": tagged,
    "bart": partial(pairs, architecture="bart", config=TINY_BART),
    "chats": partial(roomy, chats),
    "preferences": partial(roomy, preferences),
    "lstm": partial(prose, architecture="lstm", config=TINY_RECURRENT),
    "gru classifier": partial(labelled, architecture="gru", config=TINY_RECURRENT | {"bidirectional": True}),
    "LoRA": partial(tuned, model={"adapter": {"method": "lora", "r": 4}}),
}

# What a stranger does: it finds no module of tunesmith, and proves it.
STRANGER = """
import json, sys, torch, transformers
torch.set_num_threads(1)
told = {}
for name, case in json.load(open(sys.argv[1])).items():
    model = getattr(transformers, case["auto_class"]).from_pretrained(case["folder"], trust_remote_code=True).eval()
    with torch.no_grad():
        logits = model(**{key: torch.tensor(value) for key, value in case["inputs"].items()}).logits
    answer = None
    if case["pipeline"]:
        made = transformers.pipeline(case["pipeline"], model=case["folder"], trust_remote_code=True)
        answer = made(case["asked"])
    told[name] = {"logits": logits.flatten().tolist(), "answer": answer}
ours = [name for name in sys.modules if name.split(".")[0] in ("trainables", "search", "spaces", "analysis")]
print(json.dumps({"told": told, "ours": ours}, default=float))
"""


@dataclass(kw_only=True)
class Case:
    """A trial, its export and what a stranger got from it."""

    trial: TrialConfig
    checkpoint: Path
    folder: Path
    exported: ExportedModel
    inputs: dict[str, Any]
    asked: Any
    told: dict[str, Any] = field(default_factory=dict)

    def model(self) -> Any:
        """The trial's model as it was saved."""
        auto_class = getattr(transformers, TASKS[self.trial.task].auto_class)
        if self.trial.model.adapter is None:
            return auto_class.from_pretrained(self.checkpoint).eval()
        base = peft.PeftConfig.from_pretrained(self.checkpoint).base_model_name_or_path
        config = transformers.AutoConfig.from_pretrained(self.checkpoint)
        below = auto_class.from_pretrained(base, config=config)
        return peft.PeftModel.from_pretrained(below, self.checkpoint).eval()

    def logits(self) -> torch.Tensor:
        """Of the trial's model."""
        with torch.no_grad():
            found: torch.Tensor = self.model()(**{key: torch.tensor(each) for key, each in self.inputs.items()}).logits
        return found


def texts_of(document: Document) -> list[str]:
    lines = Path(document["data"]["source"]["files"]).read_text().splitlines()
    found = [json.loads(line)["text"] for line in lines] if "label" in lines[0] else lines
    return [text if isinstance(text, str) else " ".join(text) for text in found]


def made(name: str, folder: Path) -> Case:
    document = CASES[name](folder, num_train_epochs=1)
    trial = TrialConfig.model_validate(document)
    ran = run(document, folder / "trial")
    assert ran.failure is None, ran.outcome
    checkpoint = Path(str(ran.reports[-1].checkpoint))
    (to := folder / "exported").mkdir()
    exported = export_model(checkpoint, to, trial)
    data = prepare(trial.task, trial.model, trial.data)
    length = min(len(ids) for ids in data.validation["input_ids"][:4])
    ids = [list(ids[:length]) for ids in data.validation["input_ids"][:4]]
    inputs = {"input_ids": ids, "attention_mask": [[1] * length] * len(ids)}
    if trial.task == "seq2seq_lm":
        inputs["decoder_input_ids"] = [[0, 5, 6]] * len(ids)
    asked: Any = texts_of(document)[0] if trial.task not in ("seq2seq_lm", "instruction_tuning", "preference") else None
    if trial.task in ("instruction_tuning", "preference"):
        asked = [{"role": "user", "content": "boat 3, red?"}]
    if trial.task == "causal_lm":
        asked = "the red boat"
    if trial.task == "masked_lm":
        asked = "the red [MASK] of captain 3 sails home"
    return Case(trial=trial, checkpoint=checkpoint, folder=to, exported=exported, inputs=inputs, asked=asked)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    found = {name: made(name, tmp_path_factory.mktemp("export")) for name in CASES}
    place = tmp_path_factory.mktemp("stranger")
    orders = {
        name: {"folder": str(case.folder), "auto_class": case.exported.auto_class, "inputs": case.inputs,
               "pipeline": case.exported.pipeline, "asked": case.asked}
        for name, case in found.items()
    }  # fmt: skip
    (place / "orders.json").write_text(json.dumps(orders))
    (place / "stranger.py").write_text(STRANGER)
    alone = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    alone |= {"HF_HOME": str(place / "hf"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "stranger.py", "orders.json"],
        cwd=place,
        env=alone,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert told["ours"] == []
    for name, case in found.items():
        case.told = told["told"][name]
    return found


@pytest.mark.parametrize("name", CASES)
def test_the_exported_model_is_the_trials_model_to_the_last_logit(cases: dict[str, Case], name: str) -> None:
    case = cases[name]
    own = case.logits()
    tolerance = 1e-4 if case.trial.model.adapter is not None else 1e-6  # merging rounds
    assert torch.allclose(torch.tensor(case.told["logits"]).view_as(own), own, atol=tolerance)
    assert own.abs().max() > 0.01


@pytest.mark.parametrize("name", ["classifier", "gpt2 classifier", "gru classifier", "LoRA"])
def test_a_pipeline_gives_the_label_and_probability_of_the_trials_model(cases: dict[str, Case], name: str) -> None:
    case = cases[name]
    data = prepare(case.trial.task, case.trial.model, case.trial.data)
    with torch.no_grad():
        encoded = data.tokenizer(
            case.asked, return_tensors="pt", truncation=True, max_length=case.trial.data.max_length
        )
        shares = case.model()(input_ids=encoded["input_ids"]).logits.softmax(-1)[0]
    (answer,) = case.told["answer"]
    assert answer["label"] == data.card.labels[int(shares.argmax())]
    assert answer["score"] == pytest.approx(float(shares.max()), abs=1e-4)


@pytest.mark.parametrize("name", ["chats", "preferences"])
def test_a_chat_is_answered_as_in_the_trials_evaluation(cases: dict[str, Case], name: str) -> None:
    case = cases[name]
    tokenizer = prepare(case.trial.task, case.trial.model, case.trial.data).tokenizer
    prompt = tokenizer.apply_chat_template(case.asked, add_generation_prompt=True, tokenize=False)
    ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    most = case.trial.data.max_target_length if name == "chats" else 24
    (expected,) = generate(case.model(), tokenizer, [ids], max_new_tokens=most, batch_size=1)
    answer = case.told["answer"][0]["generated_text"][-1]["content"].strip()
    assert answer.startswith(expected) or expected.startswith(answer)
    assert answer


def test_a_language_model_goes_on_with_a_text_as_far_as_it_has_positions(cases: dict[str, Case]) -> None:
    for name in ("language model", "llama", "lstm"):
        answer = cases[name].told["answer"][0]["generated_text"]
        assert answer.startswith(cases[name].asked)
        assert len(answer) > len(cases[name].asked)


def test_a_masked_word_is_found_by_the_pipeline(cases: dict[str, Case]) -> None:
    best = cases["masked"].told["answer"][0]
    assert 0 < best["score"] <= 1
    assert best["token_str"]


def test_tags_have_their_names(cases: dict[str, Case]) -> None:
    names = {found["entity"] for found in cases["tags"].told["answer"]}
    assert names <= {"B-COL", "B-PER", "I-PER"}


def test_nothing_of_the_training_is_exported(cases: dict[str, Case]) -> None:
    for case in cases.values():
        names = {path.name for path in case.folder.iterdir()}
        assert not [name for name in names if name.endswith((".pt", ".pth", ".bin", ".pkl"))]
        assert "trainer_state.json" not in names
        assert {"config.json", "model.safetensors", "tokenizer_config.json"} <= names
        assert str(case.checkpoint.parents[2]) not in (case.folder / "config.json").read_text()


def test_labels_come_by_name(cases: dict[str, Case]) -> None:
    config = json.loads((cases["classifier"].folder / "config.json").read_text())
    assert sorted(config["label2id"]) == ["blue", "green", "red"]
    assert {int(number) for number in config["id2label"]} == {0, 1, 2}


def test_an_adapter_can_stay_one(cases: dict[str, Case], tmp_path: Path) -> None:
    case = cases["LoRA"]
    kept = export_model(case.checkpoint, tmp_path, case.trial, merge=False)
    assert kept.is_adapter
    assert (tmp_path / "adapter_config.json").is_file()
    assert not (tmp_path / "model.safetensors").exists()
    base = peft.PeftConfig.from_pretrained(tmp_path).base_model_name_or_path
    below = transformers.AutoModelForSequenceClassification.from_pretrained(
        base, config=transformers.AutoConfig.from_pretrained(tmp_path)
    )
    loaded = peft.PeftModel.from_pretrained(below, tmp_path).eval()
    with torch.no_grad():
        logits = loaded(**{key: torch.tensor(value) for key, value in case.inputs.items()}).logits
    assert torch.equal(logits, case.logits())


def test_what_cannot_be_merged_says_so(tmp_path: Path) -> None:
    document = tuned(tmp_path, model={"adapter": {"method": "prefix_tuning", "virtual_tokens": 2}}, num_train_epochs=1)
    ran = run(document, tmp_path / "trial")
    assert ran.failure is None, ran.outcome
    trial, checkpoint = TrialConfig.model_validate(document), Path(str(ran.reports[-1].checkpoint))
    (to := tmp_path / "to").mkdir()
    with pytest.raises(SpecError, match=r"cannot be merged.*--no-merge"):
        export_model(checkpoint, to, trial, merge=True)
    assert export_model(checkpoint, to, trial).is_adapter


def test_weights_that_are_not_safe_are_refused(cases: dict[str, Case], tmp_path: Path) -> None:
    (tmp_path / "unsafe").mkdir()
    (tmp_path / "unsafe" / "pytorch_model.bin").write_bytes(b"")
    (to := tmp_path / "to").mkdir()
    with pytest.raises(SpecError, match="safetensors"):
        export_model(tmp_path / "unsafe", to, cases["classifier"].trial)
