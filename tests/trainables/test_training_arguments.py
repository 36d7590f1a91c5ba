"""Every field of TrainingArguments is either refused with a reason or trains a trial, and resumes exactly."""

import shutil
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_trials import TINY_BERT, Document, labelled, run, weights

from spaces.errors import SpecError
from trainables.arguments import check_training, check_training_name
from trainables.checks import check_trial
from trainables.config import TrialConfig
from trainables.huggingface import training_argument_fields
from trainables.schedules import check_schedule, schedule_arguments
from trainables.training_checks import check_needs_no_gpu, check_together

ON_CPU = not torch.accelerator.is_available()

# Field -> a section that makes use of it.
USED: dict[str, Document] = {
    "per_device_train_batch_size": {"per_device_train_batch_size": 3},
    "per_device_eval_batch_size": {"per_device_eval_batch_size": 5},
    "num_train_epochs": {"num_train_epochs": 0.5},
    "max_steps": {"max_steps": 2},
    "learning_rate": {"learning_rate": 1e-3},
    "lr_scheduler_type": {"lr_scheduler_type": "inverse_sqrt", "warmup_steps": 2},
    "lr_scheduler_kwargs": {"lr_scheduler_type": "cosine", "lr_scheduler_kwargs": {"num_cycles": 2}},
    "warmup_steps": {"warmup_steps": 0.5},
    "optim": {"optim": "adafactor"},
    "weight_decay": {"weight_decay": 0.1},
    "adam_beta1": {"adam_beta1": 0.8},
    "adam_beta2": {"adam_beta2": 0.9},
    "adam_epsilon": {"adam_epsilon": 1e-6},
    "gradient_accumulation_steps": {"gradient_accumulation_steps": 2},
    "average_tokens_across_devices": {"average_tokens_across_devices": False},
    "max_grad_norm": {"max_grad_norm": 0.1},
    "label_smoothing_factor": {"label_smoothing_factor": 0.1},
    "bf16": {"bf16": True},
    "bf16_full_eval": {"bf16_full_eval": True},
    "tf32": {"tf32": False},
    "activation_checkpointing": {"activation_checkpointing": True},
    "activation_checkpointing_kwargs": {
        "activation_checkpointing": True, "activation_checkpointing_kwargs": {"use_reentrant": False},
    },
    "gradient_checkpointing": {"gradient_checkpointing": True},
    "gradient_checkpointing_kwargs": {
        "gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False},
    },
    "torch_compile": {"torch_compile": True, "torch_compile_backend": "eager"},
    "torch_compile_backend": {"torch_compile_backend": "aot_eager"},
    "use_cache": {"use_cache": True},
    "neftune_noise_alpha": {"neftune_noise_alpha": 5.0},
    "torch_empty_cache_steps": {"torch_empty_cache_steps": 1},
    "logging_strategy": {"logging_strategy": "epoch"},
    "logging_steps": {"logging_steps": 0.5},
    "logging_first_step": {"logging_first_step": True},
    "logging_nan_inf_filter": {"logging_nan_inf_filter": False},
    "include_num_input_tokens_seen": {"include_num_input_tokens_seen": "all"},
    "eval_strategy": {"eval_strategy": "steps", "eval_steps": 2},
    "eval_steps": {"eval_strategy": "steps", "eval_steps": 0.5},
    "eval_delay": {"eval_delay": 1},
    "eval_on_start": {"eval_on_start": True},
    "eval_use_gather_object": {"eval_use_gather_object": True},
    "eval_accumulation_steps": {"eval_accumulation_steps": 1},
    "full_determinism": {"full_determinism": True},
    "seed": {"seed": 7},
    "data_seed": {"data_seed": 7},
    "use_cpu": {"use_cpu": True},
    "dataloader_drop_last": {"dataloader_drop_last": True, "per_device_train_batch_size": 7},
    "dataloader_num_workers": {"dataloader_num_workers": 2},
    "dataloader_pin_memory": {"dataloader_pin_memory": False},
    "dataloader_prefetch_factor": {"dataloader_num_workers": 1, "dataloader_prefetch_factor": 3},
    "dataloader_multiprocessing_context": {
        "dataloader_num_workers": 1, "dataloader_multiprocessing_context": "fork",
    },
    "dataloader_in_order": {"dataloader_num_workers": 1, "dataloader_in_order": False},
    "train_sampling_strategy": {"train_sampling_strategy": "batch_rebalance"},
    "length_column_name": {"train_sampling_strategy": "group_by_length", "length_column_name": "length"},
    "ddp_find_unused_parameters": {"ddp_find_unused_parameters": True},
    "ddp_bucket_cap_mb": {"ddp_bucket_cap_mb": 5},
    "ddp_broadcast_buffers": {"ddp_broadcast_buffers": False},
    "ddp_static_graph": {"ddp_static_graph": True},
    "ddp_timeout": {"ddp_timeout": 60},
}  # fmt: skip
# Field -> a section that is right on another machine, and what is said here.
NOT_HERE: dict[str, tuple[Document, str]] = {
    "fp16": ({"fp16": True}, "16-bit floating point needs a GPU"),
    "fp16_full_eval": ({"fp16_full_eval": True, "bf16_full_eval": True}, "choose one of"),
    "use_liger_kernel": ({"use_liger_kernel": True}, "pip install liger-kernel|Liger kernels need a GPU"),
    "liger_kernel_config": ({"liger_kernel_config": {"rope": True}}, "needs `use_liger_kernel: true`"),
    "torch_compile_mode": ({"torch_compile": False, "torch_compile_mode": "default"}, "turns compiling on"),
    "optim_args": ({"optim_args": "rank=4"}, "`adamw_torch` reads none"),
    "optim_target_modules": ({"optim_target_modules": "all-linear"}, "only GaLore and APOLLO"),
    "ddp_backend": ({}, ""),
}


def refused() -> dict[str, str]:
    """Fields that a spec may not have, with what is said."""
    found = {}
    for name in training_argument_fields():
        try:
            check_training_name(name)
        except SpecError as error:
            found[name] = error.message
    return found


def test_no_field_is_forgotten() -> None:
    assert set(training_argument_fields()) == refused().keys() | USED.keys() | NOT_HERE.keys() | {
        "deepspeed", "fsdp", "fsdp_config",
    }  # fmt: skip


@pytest.mark.parametrize(("name", "said"), refused().items(), ids=refused())
def test_a_refused_field_says_what_to_do_instead(name: str, said: str) -> None:
    assert said.startswith("this is not set here: ")
    assert len(said) > len("this is not set here: ") + 10


@pytest.mark.parametrize("name", [name for name in USED if name not in refused()])
def test_a_usable_field_trains_a_trial(tmp_path: Path, name: str) -> None:
    assert name in USED[name]
    document = labelled(tmp_path, **({"max_steps": 4} | USED[name]))
    check_trial(TrialConfig.model_validate(document))
    ran = run(document)
    assert ran.outcome is not None
    assert ran.outcome.failure is None, ran.outcome.failure.message
    assert ran.reports[-1].progress.is_final


@pytest.mark.parametrize("name", [name for name in NOT_HERE if NOT_HERE[name][1]])
def test_what_cannot_work_here_is_said_before_the_start(name: str) -> None:
    section, said = NOT_HERE[name]

    def check() -> None:
        check_together(section)
        check_needs_no_gpu(section)

    with pytest.raises(SpecError, match=said) as caught:
        check()
    assert caught.value.path == name


# --- what does not go together ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "path", "said"),
    [
        ({"fp16": True, "bf16": True}, "fp16", "choose one of `fp16` and `bf16`"),
        ({"use_cpu": True, "fp16": True}, "fp16", "on a CPU it would be ignored. `bf16` works on both"),
        ({"use_cpu": True, "tf32": True}, "tf32", "needs an NVIDIA GPU"),
        ({"optim": "galore_adamw"}, "optim", "pip install galore-torch"),
        ({"optim": "adamw_8bit"}, "optim", "pip install bitsandbytes"),
        ({"optim": "sgd", "optim_args": "a=1"}, "optim_args", "`sgd` reads none"),
        ({"lr_scheduler_kwargs": {"num_cycles": 2}}, "lr_scheduler_kwargs.num_cycles", "`linear` has no such argument"),
        ({"lr_scheduler_type": "cosine", "lr_scheduler_kwargs": {"num_cycle": 2}}, "lr_scheduler_kwargs.num_cycle",
         "Did you mean `num_cycles`?"),
        ({"lr_scheduler_type": "cosine", "lr_scheduler_kwargs": {"num_cycles": "two"}},
         "lr_scheduler_kwargs.num_cycles", "expected a number, but got 'two'"),
        ({"lr_scheduler_type": "warmup_stable_decay"}, "lr_scheduler_kwargs", "needs `num_decay_steps`"),
        ({"lr_scheduler_type": "cosine_with_min_lr"}, "lr_scheduler_kwargs", "needs `min_lr` or `min_lr_rate`"),
        ({"lr_scheduler_type": "constant_with_warmup", "lr_scheduler_kwargs": {"a": 1}}, "lr_scheduler_kwargs.a",
         "It takes none"),
        ({"dataloader_prefetch_factor": 2}, "dataloader_prefetch_factor", "needs `dataloader_num_workers`"),
        ({"train_sampling_strategy": "by_length"}, "train_sampling_strategy", "expected one of random"),
        ({"activation_checkpointing_kwargs": {"use_reentrant": False}}, "activation_checkpointing_kwargs", "needs"),
        ({"torch_empty_cache_steps": 0}, "torch_empty_cache_steps", ">= 1"),
        ({"logging_steps": 2.5}, "logging_steps", "whole number of steps"),
        ({"label_smoothing_factor": 1.0}, "label_smoothing_factor", "< 1"),
        ({"logging_nan_inf_filter": True}, "logging_nan_inf_filter", "ends the trial"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_go_together_are_refused(section: Document, path: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        check_together(section)
    assert caught.value.path == path
    assert said in caught.value.message


# Schedules with the arguments they cannot do without.
SCHEDULES: dict[str, Document] = {
    "linear": {}, "cosine": {"num_cycles": 0.25}, "cosine_with_restarts": {"num_cycles": 2},
    "polynomial": {"lr_end": 1e-6, "power": 2.0}, "constant": {}, "constant_with_warmup": {},
    "inverse_sqrt": {"timescale": 10}, "reduce_lr_on_plateau": {"patience": 1, "factor": 0.5},
    "cosine_with_min_lr": {"min_lr_rate": 0.1}, "cosine_warmup_with_min_lr": {"min_lr": 1e-5},
    "warmup_stable_decay": {"num_decay_steps": 2, "decay_type": "linear"}, "greedy": {"patience": 1, "min_lr": 1e-5},
}  # fmt: skip


def test_every_schedule_of_transformers_is_known() -> None:
    assert set(schedule_arguments()) == set(SCHEDULES)


@pytest.mark.parametrize(("name", "arguments"), SCHEDULES.items(), ids=SCHEDULES)
@pytest.mark.quick(
    "constant_with_warmup", "cosine_with_restarts", "greedy", "reduce_lr_on_plateau", "warmup_stable_decay"
)
def test_every_schedule_trains_and_resumes_exactly(tmp_path: Path, name: str, arguments: Document) -> None:
    section = {
        "lr_scheduler_type": name, "lr_scheduler_kwargs": arguments, "eval_strategy": "steps", "eval_steps": 2,
        "max_steps": 6, "logging_steps": 1,
    } | ({"warmup_steps": 2} if name != "constant" else {})  # fmt: skip
    check_training(section)
    check_schedule(section)
    document = labelled(tmp_path, **section)
    whole = run(document, tmp_path / "whole")
    assert whole.failure is None
    run(document, tmp_path / "resumed", stop_after=2)
    resumed = run(document, tmp_path / "resumed")
    assert resumed.metrics == whole.metrics[1:]
    rates = [row["train/learning_rate"] for row in whole.rows if "train/learning_rate" in row]
    again = [row["train/learning_rate"] for row in resumed.rows if "train/learning_rate" in row]
    assert again[-2:] == rates[-2:]


# --- exact on resume -------------------------------------------------------------------------------------

RESUMED: dict[str, Document] = {
    "accumulation in mid-epoch": {"gradient_accumulation_steps": 2, "eval_steps": 3, "per_device_train_batch_size": 5},
    "grouped by length": {"train_sampling_strategy": "group_by_length"},
    "grouped by length, accumulated": {
        "train_sampling_strategy": "group_by_length", "gradient_accumulation_steps": 3, "eval_steps": 2,
        "per_device_train_batch_size": 4,
    },
    "rebalanced": {"train_sampling_strategy": "batch_rebalance"},
    "in order": {"train_sampling_strategy": "sequential"},
    "two workers": {"dataloader_num_workers": 2},
    "the last batch dropped": {"dataloader_drop_last": True, "per_device_train_batch_size": 7},
    "noise on embeddings": {"neftune_noise_alpha": 5.0},
    "checkpointed activations": {"activation_checkpointing": True},
    "another optimizer": {"optim": "adafactor"},
}  # fmt: skip


@pytest.mark.parametrize("section", RESUMED.values(), ids=RESUMED)
@pytest.mark.parametrize("stopped_at", [1, 3], ids=["in the first epoch", "in the second"])
@pytest.mark.quick(
    "in the first epoch-accumulation in mid-epoch",
    "in the second-another optimizer",
    "in the second-checkpointed activations",
    "in the first epoch-grouped by length, accumulated",
    "in the second-in order",
    "in the second-noise on embeddings",
    "in the first epoch-rebalanced",
    "in the second-the last batch dropped",
    "in the second-two workers",
)
def test_a_trial_resumes_exactly_where_it_was(tmp_path: Path, section: Document, stopped_at: int) -> None:
    document = labelled(tmp_path, **({"eval_strategy": "steps", "eval_steps": 4, "num_train_epochs": 2} | section))
    whole = run(document, tmp_path / "whole")
    begun = run(document, tmp_path / "resumed", stop_after=stopped_at)
    resumed = run(document, tmp_path / "resumed")
    assert begun.rows + resumed.rows[len(resumed.reports[0].rows) :] == whole.rows
    assert weights(resumed) == weights(whole)


# --- the same numbers, said in another way ----------------------------------------------------------------


def test_checkpointed_activations_change_no_number(tmp_path: Path) -> None:
    plain, saved = (
        run(labelled(tmp_path, activation_checkpointing=value, max_steps=6)).rows for value in (False, True)
    )
    for one, other in zip(plain, saved, strict=True):
        assert one == pytest.approx(other, rel=1e-5)


def test_bf16_on_a_cpu_needs_no_second_word(tmp_path: Path) -> None:
    if not ON_CPU:
        pytest.skip("needs a machine without a GPU")
    plain, half = (run(labelled(tmp_path, max_steps=4, bf16=value)).metrics[-1] for value in (False, True))
    assert half["eval/loss"] == pytest.approx(plain["eval/loss"], rel=0.02)
    assert half != plain


@pytest.mark.skipif(not ON_CPU, reason="needs a machine without a GPU")
@pytest.mark.parametrize("name", ["fp16", "tf32", "use_liger_kernel"])
def test_a_trial_that_needs_a_gpu_fails_without_one_and_says_so(tmp_path: Path, name: str) -> None:
    ran = run(labelled(tmp_path, max_steps=1, **{name: True}))
    assert ran.outcome is not None
    assert ran.outcome.failure is not None
    assert "GPU" in ran.outcome.failure.message
    assert f"training.{name}" in ran.outcome.failure.message


COMPILED = [
    "eager",
    pytest.param(
        "inductor",
        marks=[
            pytest.mark.slow,
            pytest.mark.skipif(
                shutil.which("g++") is None or not (Path(sysconfig.get_paths()["include"]) / "Python.h").exists(),
                reason="compiling needs a C++ compiler and Python's headers",
            ),
        ],
    ),
]


@pytest.mark.parametrize("backend", COMPILED)
def test_a_compiled_trial_trains_alike_resumes_and_leaves_nothing(tmp_path: Path, backend: str) -> None:
    config = TINY_BERT | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    plain = labelled(tmp_path, config=config, num_train_epochs=2)
    document = labelled(tmp_path, config=config, num_train_epochs=2, torch_compile=True, torch_compile_backend=backend)
    before = run(plain, tmp_path / "before")
    whole = run(document, tmp_path / "whole")
    assert whole.failure is None
    for one, other in zip(whole.metrics, before.metrics, strict=True):
        assert one["eval/loss"] == pytest.approx(other["eval/loss"], rel=1e-3)
    run(document, tmp_path / "resumed", stop_after=1)
    assert run(document, tmp_path / "resumed").metrics == whole.metrics
    assert weights(run(plain, tmp_path / "after")) == weights(before)


def test_a_compiled_trial_leaves_no_model_in_memory(tmp_path: Path) -> None:
    import gc

    from transformers import PreTrainedModel

    run(labelled(tmp_path, max_steps=2, torch_compile_backend="eager"))
    assert not [thing for thing in gc.get_objects() if isinstance(thing, PreTrainedModel)]


@pytest.mark.skipif(ON_CPU, reason="needs a GPU")
def test_fp16_trains_on_a_gpu(tmp_path: Path) -> None:
    assert run(labelled(tmp_path, max_steps=4, fp16=True)).failure is None


def test_a_document_of_defaults_is_right(tmp_path: Path) -> None:
    from trainables.arguments import resolved_training

    trial: Any = labelled(tmp_path)
    check_trial(TrialConfig.model_validate(trial | {"training": resolved_training(trial["training"])}))
