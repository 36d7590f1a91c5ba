"""Few-shot prompts: shots decide, scores are those of the model, and parts of validation can be compared."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny_trials import Document, run

from spaces.errors import SpecError
from trainables.config import TrialConfig
from trainables.label_scores import LabelScorer, prompt_ids
from trainables.preparation import prepare
from trainables.shots import Shot, shot_chooser
from trainables.task_sections import PromptConfig

COLOURS = ("red", "green", "blue")
THINGS = [f"thing {letter}{letter}" for letter in "abcdefghijkl"]
POOL = [Shot(text=f"{thing} {n}", answer=COLOURS[i % 3]) for i, thing in enumerate(THINGS) for n in range(8)]


@pytest.fixture(scope="module")
def copying_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A llama that has learned, in seconds, to answer as the examples before the question were answered."""
    folder = tmp_path_factory.mktemp("pretraining")
    generator = torch.Generator().manual_seed(0)

    def draw(number: int) -> int:
        return int(torch.randint(number, (), generator=generator))

    texts = []
    for _ in range(600):
        answer = COLOURS[draw(3)]
        asked = [f"thing {chr(97 + draw(26)) * 2} {draw(9)}" for _ in range(6)]
        texts.append("\n\n".join(f"{text}\n{answer}" for text in asked))
    (folder / "texts.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    document = {
        "task": "causal_lm",
        "model": {
            "architecture": "llama",
            "config": {
                "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
                "intermediate_size": 96, "initializer_range": 0.1,
            },
        },
        "data": {
            "source": {"files": str(folder / "texts.jsonl")},
            "tokenizer": {"train": "bpe", "vocab_size": 360},
            "max_length": 96,
        },
        "training": {
            "num_train_epochs": 8, "learning_rate": 5e-3, "per_device_train_batch_size": 8,
            "lr_scheduler_type": "cosine",
        },
    }  # fmt: skip
    ran = run(document, folder / "trial")
    assert ran.failure is None, ran.outcome
    return str(ran.reports[-1].checkpoint)


def asking(folder: Path, model: str, *, data: Document | None = None, **prompt: Any) -> Document:
    """12 kinds of things, each with a colour of its own: 72 to take shots from, 24 to ask about."""
    file = folder / "things.jsonl"
    rows = [{"text": shot.text, "label": shot.answer} for shot in POOL]
    file.write_text("\n".join(map(json.dumps, rows)))
    return {
        "task": "few_shot",
        "model": {"pretrained": model},
        "data": {
            "source": {"files": str(file)},
            "max_length": 20,
            "splits": {"validation": 0.25, "test": 0.0},
            **(data or {}),
        },
        "prompt": prompt,
    }


def accuracy(folder: Path, model: str, **prompt: Any) -> float:
    ran = run(asking(folder, model, **prompt))
    assert ran.failure is None, ran.outcome
    return ran.metrics[-1]["eval/accuracy"]


def test_similar_shots_answer_what_others_cannot(tmp_path: Path, copying_model: str) -> None:
    similar = accuracy(tmp_path, copying_model, shots=2, order="similar")
    assert similar > 0.9
    for others in ({"shots": 0}, {"shots": 2}, {"shots": 3, "order": "label-balanced"}):
        assert accuracy(tmp_path, copying_model, **others) < 0.6


def test_shots_take_labels_by_their_words(tmp_path: Path, copying_model: str) -> None:
    swapped = {"red": "green", "green": "blue", "blue": "red"}
    assert accuracy(tmp_path, copying_model, shots=2, order="similar", words=swapped) > 0.9


@pytest.mark.parametrize("calibrate", [False, True])
def test_the_loss_is_that_of_the_labels_among_each_other(tmp_path: Path, copying_model: str, calibrate: bool) -> None:
    document = asking(tmp_path, copying_model, shots=1, seed=3, calibrate=calibrate)
    trial = TrialConfig.model_validate(document)
    data = prepare(trial.task, trial.model, trial.data)
    assert trial.prompt is not None
    pool = [Shot(text=row["text"], answer=row["answer"]) for row in data.train]
    (shot,) = shot_chooser(trial.prompt, pool)("anything")
    model = transformers.AutoModelForCausalLM.from_pretrained(copying_model).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(copying_model)

    def probabilities(text: str) -> torch.Tensor:
        prompt = f"{shot.text}\n{shot.answer}\n\n{text}\n"
        scores = [log_probability(model, tokenizer, prompt, colour) for colour in data.card.labels]
        return torch.tensor(scores).softmax(dim=0)

    # Zhao et al. 2021, section 5: W = diag(1 / mean of p without content), then normalised
    bias = torch.stack([probabilities(text) for text in ("N/A", "[MASK]", "")]).mean(dim=0) if calibrate else 1.0
    losses = []
    for row in data.validation:
        calibrated = probabilities(row["text"]) / bias
        losses.append(-math.log(float(calibrated[row["labels"]] / calibrated.sum())))
    assert run(document).metrics[-1]["eval/loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-4)


@torch.no_grad()
def log_probability(model: Any, tokenizer: Any, prompt: str, word: str) -> float:
    start = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    ids = start + tokenizer(word, add_special_tokens=False)["input_ids"]
    logs = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(dim=-1)
    return sum(float(logs[place - 1, ids[place]]) for place in range(len(start), len(ids)))


@pytest.mark.parametrize("batch_size", [1, 3, 50])
def test_words_of_any_length_are_scored_as_one_by_one(copying_model: str, batch_size: int) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(copying_model).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(copying_model)
    words = ["red", "greenish blue", " red and blue", "redred"]
    prompts = ["thing aa 1\n", "thing bb 2\nred\n\nthing aa 1\n", "a"]
    scores, num_tokens = LabelScorer(model, tokenizer, words, batch_size=batch_size).scores(prompts)
    expected = [[log_probability(model, tokenizer, prompt, word) for word in words] for prompt in prompts]
    assert torch.allclose(torch.tensor(scores), torch.tensor(expected, dtype=torch.float64), atol=1e-4)
    assert num_tokens >= sum(len(prompt_ids(tokenizer, prompt)) for prompt in prompts)


def test_words_that_are_one_token_each_cost_one_reading_of_the_prompt(copying_model: str) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(copying_model).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(copying_model)
    _, num_tokens = LabelScorer(model, tokenizer, ["a", "b", "c"], batch_size=4).scores(["thing aa 1\n"])
    assert num_tokens == len(prompt_ids(tokenizer, "thing aa 1\n"))


# --- reports ---------------------------------------------------------------------------------------------


def test_each_evaluation_is_of_the_same_texts_for_every_trial(tmp_path: Path, copying_model: str) -> None:
    whole = run(asking(tmp_path, copying_model, shots=2, evaluations=4))
    progress = [(one.progress.evaluation, one.progress.step, one.progress.epoch) for one in whole.reports]
    assert progress == [(1, 6, 0.25), (2, 12, 0.5), (3, 18, 0.75), (4, 24, 1.0)]
    assert [one.progress.is_final for one in whole.reports] == [False, False, False, True]
    at_once = run(asking(tmp_path, copying_model, shots=2))
    assert whole.metrics[-1] == at_once.metrics[-1]
    first = run(asking(tmp_path, copying_model, shots=2, max_examples=6))
    assert set(map(tuple, (first.metrics[-1].items(),))) != set(map(tuple, (at_once.metrics[-1].items(),)))


def test_a_stopped_trial_asks_no_further(tmp_path: Path, copying_model: str) -> None:
    ran = run(asking(tmp_path, copying_model, evaluations=4), tmp_path / "trial", stop_after=2)
    assert ran.steps == [6, 12]
    assert ran.outcome is None


def test_rows_and_metrics_are_those_of_its_task(tmp_path: Path, copying_model: str) -> None:
    ran = run(asking(tmp_path, copying_model, evaluations=2))
    for made, row in zip(ran.reports, ran.rows, strict=True):
        assert set(made.metrics) == {"eval/loss", "eval/accuracy", "eval/precision", "eval/recall", "eval/f1"}
        assert row["evaluation"] == made.progress.evaluation
        assert made.checkpoint is None
    assert ran.reports[-1].progress.tokens > ran.reports[0].progress.tokens > 0


def test_the_batch_size_changes_nothing(tmp_path: Path, copying_model: str) -> None:
    losses = []
    for size in (1, 7):
        document = asking(tmp_path, copying_model) | {"training": {"per_device_eval_batch_size": size}}
        losses.append(run(document).metrics[-1]["eval/loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_the_test_split_is_never_read(tmp_path: Path, copying_model: str) -> None:
    document = asking(tmp_path, copying_model, order="similar")
    document["data"]["splits"] = {"validation": 0.2, "test": 0.2}
    trial = TrialConfig.model_validate(document)
    prepared = prepare(trial.task, trial.model, trial.data)
    held_out = prepared.directory / "test"
    shutil.move(held_out, tmp_path / "hidden")
    try:
        assert run(document).failure is None
    finally:
        shutil.move(tmp_path / "hidden", held_out)


def test_a_prompt_that_is_too_long_is_a_result_of_its_trial(tmp_path: Path, copying_model: str) -> None:
    ran = run(asking(tmp_path, copying_model, shots=40))
    assert ran.outcome is not None
    assert ran.outcome.failure is not None
    assert "98 positions: take fewer shots" in ran.outcome.failure.message
    assert not ran.reports


def test_labels_that_read_the_same_are_refused(tmp_path: Path, copying_model: str) -> None:
    ran = run(asking(tmp_path, copying_model, words={"red": "blue"}))
    assert ran.outcome is not None
    assert ran.outcome.failure is not None
    assert "has the tokens of another" in ran.outcome.failure.message


def test_a_text_is_cut_at_max_length(tmp_path: Path, copying_model: str) -> None:
    document = asking(tmp_path, copying_model, shots=0, data={"max_length": 3})
    trial = TrialConfig.model_validate(document)
    data = prepare(trial.task, trial.model, trial.data)
    for row in data.validation:
        assert len(data.tokenizer(row["text"])["input_ids"]) <= 3


def test_a_target_is_generated_up_to_the_stop(tmp_path: Path, copying_model: str) -> None:
    data = {"answer": "target", "target": "label", "max_target_length": 12}
    ran = run(asking(tmp_path, copying_model, data=data, shots=2, order="similar"))
    assert ran.metrics[-1]["eval/exact_match"] > 0.9
    assert set(ran.metrics[-1]) == {"eval/exact_match", "eval/rougeL"}
    sample = ran.reports[-1].samples[0]
    assert sample["prompt"].count("thing") == 3
    on = run(asking(tmp_path, copying_model, data=data, shots=2, order="similar", stop=""))
    assert on.metrics[-1]["eval/exact_match"] == 0.0


def test_asking_leaves_nothing_for_the_next_trial(tmp_path: Path, copying_model: str) -> None:
    first = run(asking(tmp_path, copying_model, shots=3))
    run(asking(tmp_path, copying_model, shots=1, seed=5, calibrate=True))
    assert run(asking(tmp_path, copying_model, shots=3)).rows == first.rows


# --- shots -----------------------------------------------------------------------------------------------


def test_random_shots_are_those_of_their_seed() -> None:
    chosen = [shot_chooser(PromptConfig(shots=6, seed=seed), POOL)("x") for seed in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2]
    assert len(set(chosen[0])) == 6


@pytest.mark.parametrize("number", [1, 3, 7, 12])
def test_balanced_shots_have_each_label_as_often(number: int) -> None:
    unbalanced = POOL[:20] + [Shot(text=f"more {n}", answer="red") for n in range(50)]
    chosen = shot_chooser(PromptConfig(shots=number, order="label-balanced"), unbalanced)("x")
    counts = [sum(shot.answer == colour for shot in chosen) for colour in COLOURS]
    assert sum(counts) == number
    assert max(counts) - min(counts) <= 1


def test_more_shots_than_examples_are_all_of_them() -> None:
    for order in ("random", "label-balanced", "similar"):
        chosen = shot_chooser(PromptConfig(shots=500, order=order), POOL)("thing aa")
        assert sorted(shot.text for shot in chosen) == sorted(shot.text for shot in POOL)


def test_the_most_similar_shot_stands_next_to_the_question() -> None:
    pool = [Shot(text=text, answer="x") for text in ("a red boat", "a blue car", "a red boat at sea", "nothing")]
    chosen = shot_chooser(PromptConfig(shots=2, order="similar"), pool)("red boat at sea")
    assert [shot.text for shot in chosen] == ["a red boat", "a red boat at sea"]


TEMPLATES = {
    "no answer": ("{text}", r"`\{text\}` once and then"),
    "answer first": ("{answer} {text}", "and then"),
    "another name": ("{txt} {answer}", r"`\{txt\}`.*Did you mean `text`"),
    "an open brace": ("{text} {answer", "a brace is written"),
    "twice": ("{text} {text} {answer}", "once"),
}


@pytest.mark.parametrize(("template", "says"), TEMPLATES.values(), ids=TEMPLATES)
def test_a_broken_template_is_refused(template: str, says: str) -> None:
    with pytest.raises((SpecError, ValueError), match=says):
        PromptConfig(template=template)


def test_the_loss_of_guessing_is_the_logarithm_of_the_labels(tmp_path: Path, copying_model: str) -> None:
    metrics = run(asking(tmp_path, copying_model, shots=3, order="label-balanced")).metrics[-1]
    assert metrics["eval/loss"] > 0.9 * math.log(3)
