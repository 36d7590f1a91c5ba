"""A trial goes on from another trial's checkpoint: its weights, its optimizer state, and hyperparameters of its own."""

import copy
from pathlib import Path
from typing import Any

import pytest
from tiny_trials import TINY_GPT2, Document, Ran, labelled, masked, prose, run, weights

from spaces.errors import SpecError
from spaces.reports import Row
from trainables.checkpoints import TrialDirectory
from trainables.handover import hand_over
from trainables.mutable import check_mutable, is_mutable

STILL = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}


def _document(folder: Path, **training: Any) -> Document:
    return prose(folder, config=TINY_GPT2 | STILL, num_train_epochs=3, logging_steps=1, **training)


def _handed_over(folder: Path, donor: Document, receiver: Document) -> tuple[Ran, Ran]:
    """The donor stops after an epoch, the receiver too; then the receiver goes on from the donor's checkpoint."""
    given = run(donor, folder / "donor", stop_after=1)
    run(receiver, folder / "receiver", stop_after=1)
    hand_over(TrialDirectory(folder / "donor"), TrialDirectory(folder / "receiver"))
    return given, run(receiver, folder / "receiver")


def _rates(rows: list[Row]) -> list[float]:
    return [float(row["train/learning_rate"]) for row in rows if "train/learning_rate" in row]  # type: ignore[arg-type]  # a number


def test_a_receiver_goes_on_with_the_donors_weights_bit_for_bit(tmp_path: Path) -> None:
    donor = _document(tmp_path, learning_rate=0.01)
    # With a learning rate of 0 nothing may change any more: what it ends with is what it was given.
    receiver = _document(tmp_path, learning_rate=0.0, weight_decay=0.0, seed=7)
    given, taken = _handed_over(tmp_path, donor, receiver)
    assert taken.failure is None
    assert len(taken.metrics) == 3  # the donor's evaluation again, and two more
    assert weights(taken) == weights(given)
    assert [metrics["eval/loss"] for metrics in taken.metrics] == [given.metrics[0]["eval/loss"]] * 3


def test_a_receiver_without_changes_goes_on_as_its_donor_would_have(tmp_path: Path) -> None:
    donor, receiver = _document(tmp_path, learning_rate=0.01), _document(tmp_path, learning_rate=0.3, seed=7)
    run(donor, tmp_path / "donor", stop_after=1)
    run(receiver, tmp_path / "receiver", stop_after=1)
    hand_over(TrialDirectory(tmp_path / "donor"), TrialDirectory(tmp_path / "receiver"))
    taken, went_on = run(donor, tmp_path / "receiver"), run(donor, tmp_path / "donor")
    assert weights(taken) == weights(went_on)
    assert taken.rows == went_on.rows


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
@pytest.mark.quick("cosine")
def test_the_receivers_own_learning_rate_takes_effect_at_its_place_in_the_schedule(
    tmp_path: Path, schedule: str
) -> None:
    donor = _document(tmp_path, learning_rate=0.01, lr_scheduler_type=schedule)
    receiver = _document(tmp_path, learning_rate=0.002, lr_scheduler_type=schedule)
    alone = run(receiver, tmp_path / "alone")
    _, taken = _handed_over(tmp_path, donor, receiver)
    later = _rates([row for row in taken.rows if row["epoch"] > 1])  # type: ignore[operator]  # a number
    assert later == pytest.approx(_rates(alone.rows)[-len(later) :])
    assert weights(taken) != weights(alone)


@pytest.mark.parametrize(
    ("name", "value"), [("weight_decay", 0.3), ("adam_beta1", 0.5), ("adam_beta2", 0.9), ("max_grad_norm", 0.001)]
)
@pytest.mark.quick("weight_decay-0.3", "adam_beta1-0.5")
def test_other_hyperparameters_of_the_receiver_take_effect(tmp_path: Path, name: str, value: float) -> None:
    donor = _document(tmp_path, learning_rate=0.01)
    _, taken = _handed_over(tmp_path, donor, _document(tmp_path, learning_rate=0.01) | {})
    _, changed = _handed_over(tmp_path / "b", donor, _changed(donor, name, value))
    assert weights(taken) != weights(changed)


def _changed(document: Document, name: str, value: float) -> Document:
    changed = copy.deepcopy(document)
    changed["training"][name] = value
    return changed


def test_a_masked_model_may_change_how_much_it_hides(tmp_path: Path) -> None:
    donor, receiver = masked(tmp_path, num_train_epochs=3), masked(tmp_path, num_train_epochs=3)
    receiver["data"]["mask_probability"] = 0.4
    _, taken = _handed_over(tmp_path, donor, receiver)
    assert taken.failure is None


def test_the_learning_rates_of_layers_are_handed_over_each_by_itself(tmp_path: Path) -> None:
    donor, receiver = labelled(tmp_path, num_train_epochs=3), labelled(tmp_path, num_train_epochs=3)
    for document, decay in ((donor, 0.9), (receiver, 0.5)):
        document["model"] |= {"layer_decay": decay}
    given, taken = _handed_over(tmp_path, donor, receiver)
    alone = run(donor, tmp_path / "donor")
    assert taken.failure is None
    assert weights(taken) != weights(alone)
    assert given.steps == [9]


def test_the_donor_keeps_its_checkpoint_and_shares_its_files(tmp_path: Path) -> None:
    document = _document(tmp_path)
    run(document, tmp_path / "donor", stop_after=1)
    run(document, tmp_path / "receiver", stop_after=1)
    donor = TrialDirectory(tmp_path / "donor")
    for _ in range(2):  # a second time changes nothing
        taken = hand_over(donor, TrialDirectory(tmp_path / "receiver"))
    given = donor.latest()
    assert given is not None
    assert taken.report == given.report
    assert (taken.path / "optimizer.pt").samefile(given.path / "optimizer.pt")
    # What the receiver does with its copy does not reach the donor.
    run(document, tmp_path / "receiver")
    assert (given.path / "model.safetensors").is_file()


def test_without_a_checkpoint_there_is_nothing_to_hand_over(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="has no checkpoint to hand over"):
        hand_over(TrialDirectory(tmp_path / "donor"), TrialDirectory(tmp_path / "receiver"))


@pytest.mark.parametrize(
    "path",
    [
        "training.learning_rate", "training.max_grad_norm", "model.config.hidden_dropout_prob",
        "model.config.attn_pdrop", "model.adapter.dropout", "config.anything",
    ],
)  # fmt: skip
def test_what_keeps_the_meaning_of_weights_and_state_can_change(path: str) -> None:
    assert is_mutable(path)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("training.per_device_train_batch_size", "counted in batches"),
        ("training.optim", "state of one optimizer"),
        ("training.num_train_epochs", "same length"),
        ("model.config.hidden_size", "weights would not fit"),
        ("data.max_length", "other tokens"),
        ("training.warmup_steps", "schedule goes on"),
    ],
)
def test_what_does_not_is_refused_with_the_reason(path: str, reason: str) -> None:
    with pytest.raises(SpecError, match=reason):
        check_mutable(path)
