"""Broken specs: each a good one with a small mistake, and what the user must read then."""

from dataclasses import dataclass

SCRATCH = """\
name: good
task: sequence_classification
model:
  architecture: bert
  config:
    hidden_size: 64
    num_hidden_layers: 1
    num_attention_heads: 2
    intermediate_size: 128
data:
  source:
    builtin: stdlib-docstrings
  tokenizer:
    train: bpe
    vocab_size: 2000
  max_length: 48
  splits:
    validation: 0.1
    test: 0.1
training:
  num_train_epochs: 6
  weight_decay: 0.01
space:
  training.learning_rate:
    log_uniform: [1e-4, 3e-2]
  training.per_device_train_batch_size:
    choice: [16, 32]
constraints:
  - training.per_device_train_batch_size * training.gradient_accumulation_steps <= 64
derive:
  training.per_device_eval_batch_size: 2 * training.per_device_train_batch_size
search:
  algorithm:
    name: tpe
  metric: eval/accuracy
  trials: 12
  scheduler:
    name: asha
    unit: epochs
    grace: 1
resources:
  cpus_per_worker: 1
checkpoints:
  keep: 1
tracking:
  wandb:
    mode: offline
"""

TUNED = """\
name: good
task: sequence_classification
model:
  pretrained: ./tiny
  freeze:
    layers: 1
data:
  source: {builtin: stdlib-docstrings}
  max_length: 48
training:
  num_train_epochs: 3
space:
  training.learning_rate: {log_uniform: [1e-5, 1e-3]}
  model.freeze.layers: {int: [0, 2]}
"""

ADAPTED = TUNED.replace("  model.freeze.layers: {int: [0, 2]}\n", "")

CHATS = """\
name: good
task: instruction_tuning
model:
  architecture: gpt2
  config: {n_embd: 32, n_layer: 1, n_head: 2}
data:
  source: {builtin: stdlib-instructions}
  chat_template: chatml
training:
  num_train_epochs: 2
space:
  training.learning_rate: {log_uniform: [1e-4, 3e-2]}
"""

PAIRS = (
    CHATS.replace("instruction_tuning", "preference").replace("stdlib-instructions", "stdlib-preferences")
    + """\
  preference.beta: {log_uniform: [0.01, 1]}
preference:
  loss: sigmoid
"""
)

PROMPT = """\
name: good
task: few_shot
model:
  pretrained: ./tiny
data:
  source: {builtin: stdlib-docstrings}
  max_length: 16
prompt:
  template: "{text} is of {answer}"
  evaluations: 4
space:
  prompt.shots: {int: [0, 4]}
search:
  scheduler: {name: asha, unit: evaluations, grace: 1, reduction_factor: 2}
"""

OWN = """\
name: good
trainable: own_module:train
config:
  step_size: 0.1
space:
  config.step_size: {log_uniform: [1e-3, 1]}
search:
  metric: loss
  scheduler: {name: asha, unit: steps, grace: 10, max: 100}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class BadSpec:
    """One mistake."""

    name: str
    """What is wrong."""
    old: str
    """What stands in the good spec."""
    new: str
    """What stands there instead. The line that the error must name ends in `# here`."""
    says: tuple[str, ...]
    """What the error must say: the key path, the rule, what was given, the nearest name."""
    good: str = SCRATCH
    """The good spec."""

    @property
    def text(self) -> str:
        """The broken spec."""
        assert self.good.count(self.old) == 1, f"{self.old!r} must stand once in the good spec"
        return self.good.replace(self.old, self.new)

    @property
    def line(self) -> int | None:
        """The line that the error must name."""
        lines = self.text.splitlines()
        return next((number for number, line in enumerate(lines, 1) if line.endswith("# here")), None)


def _bad(name: str, old: str, new: str, *says: str, good: str = SCRATCH) -> BadSpec:
    return BadSpec(name=name, old=old, new=new, says=says, good=good)


def _line(old: str, new: str) -> tuple[str, str]:
    return f"{old}\n", f"{new}  # here\n"


def _rate(distribution: str) -> tuple[str, str]:
    """Another distribution for the learning rate."""
    path = "  training.learning_rate:"
    return f"{path}\n    log_uniform: [1e-4, 3e-2]\n", f"{path}  # here\n{distribution}\n"


_CONSTRAINT = "constraints:\n  - training.per_device_train_batch_size * training.gradient_accumulation_steps <= 64\n"


def _constraint(text: str) -> str:
    return f"constraints:  # here\n  - {text}\n"


UNKNOWN_KEYS = [
    _bad("top level", *_line("training:", "trainin:"), "trainin: unknown key", "Did you mean `training`?"),
    _bad("model", *_line("  architecture: bert", "  architecture: bert\n  trust: true"), "model.trust: unknown key",
         "Known here: adapter, architecture, config, freeze"),
    _bad("model.freeze", *_line("    layers: 1", "    layer: 1"), "model.freeze.layer: unknown key", "`layers`?",
         "Known here: all_but_head, embeddings, layers.", good=TUNED),
    _bad("data", *_line("  max_length: 48", "  max_lenght: 48"), "data.max_lenght: unknown key", "`max_length`?"),
    _bad("data.source", *_line("    builtin: stdlib-docstrings", "    builtin: stdlib-docstrings\n    revison: main"),
         "data.source.revison: unknown key", "Known here: builtin, weight."),
    _bad("data.source.files", *_line("    builtin: stdlib-docstrings", "    files: {train: a.csv, valid: b.csv}"),
         "data.source.files.valid: unknown key", "`validation`?", "Known here: test, train, validation."),
    _bad("data.tokenizer", *_line("    vocab_size: 2000", "    vocabsize: 2000"), "data.tokenizer.vocabsize: unknown",
         "`vocab_size`?", "Known here: lowercase, train, train_on_megabytes, vocab_size."),
    _bad("data.splits", *_line("    test: 0.1", "    tests: 0.1"), "data.splits.tests: unknown key", "`test`?"),
    _bad("search", *_line("  trials: 12", "  trails: 12"), "search.trails: unknown key", "`trials`?"),
    _bad("search.scheduler", *_line("    grace: 1", "    grace_period: 1"), "search.scheduler.grace_period",
         "Known here: brackets, factors, grace"),
    _bad("search.algorithm", *_line("    name: tpe", "    name: tpe\n    startup_trial: 5"),
         "search.algorithm.startup_trial: unknown", "`startup_trials`?"),
    _bad("resources", *_line("  cpus_per_worker: 1", "  cpus: 1"), "resources.cpus: unknown key", "cpus_per_worker"),
    _bad("tracking", *_line("  wandb:", "  mlflow:"), "tracking.mlflow: unknown key", "Known here: wandb."),
    _bad("tracking.wandb", *_line("    mode: offline", "    projct: x"), "tracking.wandb.projct", "`project`?"),
    _bad("checkpoints", *_line("  keep: 1", "  keep_best: 1"), "checkpoints.keep_best: unknown", "keep, max_disk, save"),
]  # fmt: skip

VALUES = [
    _bad("name is a number", *_line("name: good", "name: 5"), "name: expected a text, but got 5", "quotes"),
    _bad("name is a path", *_line("name: good", "name: ../up"), "name: expected a name", "letters", "'../up'"),
    _bad("no name", "name: good\n", "", "name: this key is required"),
    _bad("trials is a word", *_line("  trials: 12", "  trials: many"), "search.trials: expected a whole number, but got 'many'"),
    _bad("trials is a fraction", *_line("  trials: 12", "  trials: 2.5"), "search.trials: expected a whole number", "2.5"),
    _bad("trials is zero", *_line("  trials: 12", "  trials: 0"), "search.trials: expected a number > 0, but got 0"),
    _bad("section is a list", *_line("resources:\n  cpus_per_worker: 1", "resources: [1]"),
         "resources: expected a mapping, but got [1]"),
    _bad("section is a text", *_line("tracking:\n  wandb:\n    mode: offline", "tracking: offline"),
         "tracking: expected a mapping, but got 'offline'"),
    _bad("stop condition of no metric", *_line("  metric: eval/accuracy",
         "  metric: eval/accuracy\n  stop_trial_when: [eval/los > 3]"),
         "search.stop_trial_when.0: `eval/los > 3` speaks of `eval/los`", "`eval/loss`?"),
    _bad("guard that all trials would meet", "training:\n", "stopping: {diverged_above: 0.5}  # here\ntraining:\n",
         "stopping.diverged_above: `diverged_above > 1` must hold", "0.5"),
    _bad("metric near miss", *_line("  metric: eval/accuracy", "  metric: accuracy"), "search.metric:",
         "no metric `accuracy`", "`eval/accuracy`?", "Known: eval/loss"),
    _bad("metric of another task", *_line("  metric: eval/accuracy", "  metric: eval/perplexity"), "search.metric:",
         "sequence_classification has no metric `eval/perplexity`"),
    _bad("wrong mode", *_line("  trials: 12", "  mode: min"), "search.mode:", "larger", "leave it out"),
    _bad("unknown mode", *_line("  trials: 12", "  mode: minimum"), "search.mode: expected one of min, max", "`min`?"),
    _bad("unknown task", *_line("task: sequence_classification", "task: sequence_clasification"),
         "task: expected one of causal_lm, masked_lm", "`sequence_classification`?"),
    _bad("key of another task", *_line("  max_length: 48", "  mask_probability: 0.3"),
         "data.mask_probability: sequence_classification does not read this, only masked_lm"),
    _bad("target of a classifier", *_line("  max_length: 48", "  target: summary"), "data.target:", "only seq2seq_lm"),
    _bad("mask probability", *_line("  max_length: 48", "  mask_probability: 1.5"), "data.mask_probability", "< 1"),
    _bad("label kind", *_line("  max_length: 48", "  label_kind: clas"), "data.label_kind: expected one of class, classes, number", "`class`?"),
    _bad("builtin without such labels", *_line("    builtin: stdlib-docstrings", "    builtin: stdlib-docs"),
         "data.source.builtin: `stdlib-docs` has no labels for this task", "`stdlib-docstrings` would fit"),
    _bad("unknown algorithm", *_line("    name: tpe", "    name: tpee"), "search.algorithm.name: expected one of auto",
         "'tpee'", "`tpe`?"),
    _bad("unknown algorithm in short", *_line("  algorithm:\n    name: tpe", "  algorithm: bayes"),
         "search.algorithm", "expected one of auto, grid", "but got 'bayes'"),
    _bad("argument of another algorithm", *_line("    name: tpe", "    name: random\n    startup_trials: 5"),
         "search.algorithm.startup_trials: only `tpe` and `gp` have this", "`random`"),
    _bad("candidates of another algorithm", *_line("    name: tpe", "    name: grid\n    candidates: 9"),
         "search.algorithm.candidates: only `tpe` has this", "`grid`"),
    _bad("sequence of another algorithm", *_line("    name: tpe", "    name: cma_es\n    sequence: halton"),
         "search.algorithm.sequence: only `quasi_random`", "`cma_es`"),
    _bad("unknown sequence", *_line("    name: tpe", "    name: quasi_random\n    sequence: halten"),
         "search.algorithm.sequence: expected one of sobol, halton", "`halton`?"),
    _bad("population of one", *_line("    name: tpe", "    name: nsga2\n    population: 1"),
         "search.algorithm.population: expected a number >= 2, but got 1"),
    _bad("unknown startup", *_line("    name: tpe", "    name: tpe\n    startup: quasirandom"),
         "search.algorithm.startup: expected one of random, quasi_random", "`quasi_random`?"),
    _bad("unknown scheduler", *_line("    name: asha", "    name: ashe"), "search.scheduler.name", "`asha`?"),
    _bad("argument of another scheduler", "    name: asha\n    unit: epochs\n    grace: 1\n",
         "    name: none\n    grace: 2  # here\n", "search.scheduler.grace: only `asha`, `hyperband`, `pasha`, `median` and `patience` have this", "`none`"),
    _bad("reduction without scheduler", "    name: asha\n    unit: epochs\n    grace: 1\n",
         "    name: none\n    reduction_factor: 2  # here\n", "search.scheduler.reduction_factor: only `asha`, `hyperband` and `pasha`"),
    _bad("patience of asha", *_line("    grace: 1", "    patience: 3"),
         "search.scheduler.patience: only `patience` has this", "`asha`"),
    _bad("one bracket", "    name: asha\n    unit: epochs\n    grace: 1\n",
         "    name: hyperband\n    brackets: 1  # here\n", "search.scheduler.brackets: expected a number >= 2, but got 1"),
    _bad("no patience", "    name: asha\n    unit: epochs\n    grace: 1\n",
         "    name: patience\n    patience: 0  # here\n", "search.scheduler.patience: expected a number > 0, but got 0"),
    _bad("unknown unit", *_line("    unit: epochs", "    unit: epoch"), "search.scheduler.unit", "`epochs`?"),
    _bad("concurrent trials", *_line("  cpus_per_worker: 1", "  concurrent_trials: atuo"),
         "resources.concurrent_trials: expected `auto` or a whole number, but got 'atuo'", "`auto`?"),
    _bad("no CPU", *_line("  cpus_per_worker: 1", "  cpus_per_worker: 0"), "resources.cpus_per_worker", "> 0", "got 0"),
    _bad("less than no GPU", *_line("  cpus_per_worker: 1", "  gpus_per_worker: -1"), "resources.gpus_per_worker", ">= 0"),
    _bad("one and a half GPUs", *_line("  cpus_per_worker: 1", "  gpus_per_worker: 1.5"),
         "resources.gpus_per_worker: a fraction shares one GPU; several are whole, but got 1.5"),
    _bad("W&B mode", *_line("    mode: offline", "    mode: ofline"), "tracking.wandb.mode", "`offline`?"),
    _bad("constraints are a text", *_line("constraints:\n  - training.per_device_train_batch_size * training.gradient_accumulation_steps <= 64",
         "constraints: 1 < 2"),
         "constraints: expected a list"),
    _bad("task and trainable", "name: good\n", "name: good\ntrainable: a:b\n", "either `task` or `trainable`", "both"),
    _bad("neither task nor trainable", "task: sequence_classification\n", "", "either `task` or `trainable`", "neither"),
    _bad("config of a task", "training:\n", "config: {a: 1}\ntraining:\n", "`config` belongs to a `trainable`"),
]  # fmt: skip

TRAINING = [
    _bad("typo", *_line("  weight_decay: 0.01", "  wieght_decay: 0.01"), "training.wieght_decay:",
         "TrainingArguments has no such field", "`weight_decay`?"),
    _bad("wrong type", *_line("  weight_decay: 0.01", "  weight_decay: small"),
         "training.weight_decay: expected a number, but got 'small'"),
    _bad("list", *_line("  weight_decay: 0.01", "  weight_decay: [0.01]"), "training.weight_decay: expected a number",
         "[0.01]"),
    _bad("owned", *_line("  weight_decay: 0.01", "  output_dir: out"), "training.output_dir: this is not set here",
         "storage"),
    _bad("negative lr", *_line("  weight_decay: 0.01", "  learning_rate: -1e-4"), "training.learning_rate:",
         "> 0", "-0.0001"),
    _bad("eval_steps without strategy", *_line("  weight_decay: 0.01", "  eval_steps: 10"), "training.eval_steps:",
         "needs `eval_strategy: steps`"),
    _bad("strategy without eval_steps", *_line("  weight_decay: 0.01", "  eval_strategy: steps"), "training.eval_strategy:",
         "needs `eval_steps`"),
    _bad("no evaluation", *_line("  weight_decay: 0.01", "  eval_strategy: no"), "training.eval_strategy:",
         "expected one of epoch, steps, but got 'no'"),
    _bad("unknown scheduler", *_line("  weight_decay: 0.01", "  lr_scheduler_type: cosin"),
         "training.lr_scheduler_type:", "'cosin'", "`cosine`?"),
    _bad("unknown optimizer", *_line("  weight_decay: 0.01", "  optim: adamw_trch"), "training.optim:",
         "'adamw_trch'", "`adamw_torch`?"),
]  # fmt: skip

MODEL = [
    _bad("config typo", *_line("    hidden_size: 64", "    hiden_size: 64"), "model.config.hiden_size:",
         "the configuration of `bert` has no such field", "`hidden_size`?"),
    _bad("config type", *_line("    hidden_size: 64", "    hidden_size: wide"),
         "model.config.hidden_size: expected a whole number, but got 'wide'"),
    _bad("derived field", *_line("    hidden_size: 64", "    vocab_size: 100"), "model.config.vocab_size: leave this out",
         "tokenizer"),
    _bad("unknown architecture", *_line("  architecture: bert", "  architecture: brt"), "model.architecture:",
         "no model type `brt` for sequence_classification", "`bert`?"),
    _bad("heads do not divide", *_line("    num_attention_heads: 2", "    num_attention_heads: 3"),
         "model.config.num_attention_heads:", "hidden_size 64", "num_attention_heads 3"),
    _bad("default heads do not divide", "    hidden_size: 64\n    num_hidden_layers: 1\n    num_attention_heads: 2\n", "    hidden_size: 64  # here\n", "model.config.hidden_size:",
         "num_attention_heads 12 (the default)"),
    _bad("no heads", *_line("    num_attention_heads: 2", "    num_attention_heads: 0"),
         "model.config.num_attention_heads: `num_attention_heads >= 1` must hold, but got 0"),
    _bad("too few positions", *_line("    hidden_size: 64", "    max_position_embeddings: 32"),
         "model.config.max_position_embeddings:", "32 positions", "up to 48 tokens"),
    _bad("both origins", "model:\n", "model:  # here\n  pretrained: ./tiny\n",
         "model: give either `pretrained`", "both"),
    _bad("no origin", "model:\n  architecture: bert\n", "model:  # here\n", "model: give either `pretrained`", "neither"),
    _bad("freeze from scratch", "model:\n", "model:  # here\n  freeze: {layers: 1}\n",
         "model: `freeze` needs `pretrained`"),
    _bad("adapter from scratch", "model:\n", "model:  # here\n  adapter: {r: 4}\n", "model: `adapter` needs `pretrained`"),
    _bad("unfreezing from scratch", "model:\n", "model:  # here\n  unfreeze: {every: 1}\n", "model: `unfreeze` needs `pretrained`"),
    _bad("initial weights of a pretrained model", *_line("  pretrained: ./tiny", "  pretrained: ./tiny\n  initialization: he"),
         "model: `initialization` draws random weights", good=TUNED.replace("model:\n", "model:  # here\n")),
    _bad("unknown scheme", *_line("  architecture: bert", "  architecture: bert\n  initialization: xavir"),
         "model.initialization: expected one of default, xavier, he, scaled, but got 'xavir'", "`xavier`?"),
    _bad("argument of another scheme", *_line("  architecture: bert", "  architecture: bert\n  initialization: {scheme: he, std: 0.1}"),
         "model.initialization.std: only `scaled` has this", "`he`"),
    _bad("unknown adapter", *_line("  freeze:\n    layers: 1", "  adapter: {method: loar}"),
         "model.adapter.method: expected one of lora, ia3", "'loar'", "`lora`?", good=ADAPTED),
    _bad("typo in an adapter", *_line("  freeze:\n    layers: 1", "  adapter: {rank: 8}"), "model.adapter.rank: unknown key",
         "Known here: alpha, dora", good=ADAPTED),
    _bad("argument of another adapter", *_line("  freeze:\n    layers: 1", "  adapter: {method: ia3, r: 4}"),
         "model.adapter.r: only `lora` has this", "`ia3`", "when", good=ADAPTED),
    _bad("rank zero", *_line("  freeze:\n    layers: 1", "  adapter: {r: 0}"), "model.adapter.r: expected a number > 0", good=ADAPTED),
    _bad("adapter and freezing", "model:\n", "model:  # here\n  adapter: {r: 4}\n", "`adapter` and `freeze` do not go together",
         good=ADAPTED),
    _bad("few bits without adapter", "model:\n", "model:  # here\n  quantization: {bits: 4}\n", "`quantization` needs `adapter`", good=TUNED),
    _bad("three bits", *_line("  freeze:\n    layers: 1", "  quantization: {bits: 3}"), "model.quantization.bits: expected one of 4, 8",
         good=ADAPTED),
    _bad("factor above one", *_line("  freeze:\n    layers: 1", "  layer_decay: 1.5"), "model.layer_decay: expected a number <= 1",
         good=ADAPTED),
    _bad("unknown unit of unfreezing", *_line("  freeze:\n    layers: 1", "  unfreeze: {unit: epoch}"), "model.unfreeze.unit:", "`epochs`?",
         good=ADAPTED),
    _bad("head and layers frozen", "  freeze:\n", "  freeze:  # here\n    all_but_head: true\n", "model.freeze: `all_but_head` freezes",
         good=ADAPTED),
    _bad("recurrent typo", *_line("  architecture: bert", "  architecture: lstmm"), "no model type `lstmm`", "`lstm`?"),
    _bad("another search missing", *_line("  pretrained: ./tiny", "  pretrained: search:./gone#best"), "model.pretrained:",
         "is no search", good=TUNED),
    _bad("gguf file missing", *_line("  pretrained: ./tiny", "  pretrained: ./gone.gguf"), "model.pretrained: there is no file",
         good=TUNED),
    _bad("folder missing", *_line("  pretrained: ./tiny", "  pretrained: ./tinny"), "model.pretrained:",
         "there is no folder", "tinny", good=TUNED),
    _bad("no model folder", *_line("  pretrained: ./tiny", "  pretrained: ./empty"), "model.pretrained:",
         "no config.json", good=TUNED),
    _bad("broken model folder", *_line("  pretrained: ./tiny", "  pretrained: ./broken"), "model.pretrained:",
         "cannot read", "config.json", good=TUNED),
    _bad("package missing", *_line("  pretrained: ./tiny", "  pretrained: package:no_such_thing/model"),
         "model.pretrained:", "pip install no-such-thing", good=TUNED),
    _bad("config of a pretrained model", *_line("  pretrained: ./tiny", "  pretrained: ./tiny\n  config: {hidden_size: 8}"),
         "model.config.hidden_size:", "a pretrained model brings its own", good=TUNED),
    _bad("own tokens for a pretrained model", *_line("  max_length: 48", "  tokenizer: {train: bpe}"), "data.tokenizer:",
         "a pretrained model needs its own tokenizer", good=TUNED),
    _bad("freezes too much", *_line("    layers: 1", "    layers: 3"), "model.freeze.layers:", "has 2 layers", "3",
         good=TUNED),
    _bad("too long for a pretrained model", *_line("  max_length: 48", "  max_length: 65"), "data.max_length:",
         "64 positions", "65 tokens", good=TUNED),
]  # fmt: skip

DATA = [
    _bad("two kinds of source", "  source:\n    builtin: stdlib-docstrings\n",
         "  source:  # here\n    builtin: stdlib-docstrings\n    hub: imdb\n", "data.source:", "exactly one of"),
    _bad("no source", "  source:\n    builtin: stdlib-docstrings\n", "  source: {}  # here\n", "data.source:", "nothing"),
    _bad("source missing", "data:\n  source:\n    builtin: stdlib-docstrings\n", "data:  # here\n",
         "data.source: this key is required"),
    _bad("source is a text", *_line("  source:\n    builtin: stdlib-docstrings", "  source: imdb"),
         "data.source: expected a mapping or a list, but got 'imdb'"),
    _bad("unknown builtin", *_line("    builtin: stdlib-docstrings", "    builtin: stdlib-docstring"),
         "data.source.builtin: expected one of stdlib-docs, stdlib-docstrings", "`stdlib-docstrings`?"),
    _bad("files are a number", *_line("    builtin: stdlib-docstrings", "    files: 5"),
         "data.source.files: expected a text or a mapping, but got 5"),
    _bad("splits too large", "  splits:\n    validation: 0.1\n    test: 0.1\n",
         "  splits:  # here\n    validation: 0.5\n    test: 0.5\n", "data.splits:", "`validation + test < 1`", "0.5 + 0.5"),
    _bad("split of two", *_line("    test: 0.1", "    test: 2"), "data.splits.test: expected a number < 1, but got 2"),
    _bad("no length", *_line("  max_length: 48", "  max_length: 0"), "data.max_length: expected a number > 0"),
    _bad("tiny vocabulary", *_line("    vocab_size: 2000", "    vocab_size: 20"), "data.tokenizer.vocab_size:", ">= 300"),
    _bad("unknown kind of tokenizer", *_line("    train: bpe", "    train: bpee"), "data.tokenizer.train:", "`bpe`"),
    _bad("typo in the kind of tokenizer", "  tokenizer:\n    train: bpe\n", "  tokenizer:  # here\n    trian: bpe\n",
         "data.tokenizer: one of the keys `pretrained`, `train` is required", "`trian`", "`train`?"),
    _bad("tokenizer folder missing", *_line("  tokenizer:\n    train: bpe\n    vocab_size: 2000",
         "  tokenizer: {pretrained: ./gone}"), "data.tokenizer.pretrained:", "there is no folder"),
]  # fmt: skip

SPACE = [
    _bad("unknown field", *_line("  training.learning_rate:", "  training.learning_rat:"),
         "space.training.learning_rat:", "`learning_rate`?"),
    _bad("unknown section", *_line("  training.learning_rate:", "  optimizer.learning_rate:"),
         "space.optimizer.learning_rate:", "a path starts with `model.` or `data.` or `training.`"),
    _bad("no section", *_line("  training.learning_rate:", "  learning_rate:"), "space.learning_rate:",
         "Did you mean `training.learning_rate`?"),
    _bad("section alone", *_line("  training.learning_rate:", "  training:"), "space.training:",
         "a whole section cannot vary", "`training.learning_rate`"),
    _bad("unknown key of data", *_line("  training.learning_rate:", "  data.tokenizer.vocab:"),
         "space.data.tokenizer.vocab:", "there is no `vocab`", "vocab_size"),
    _bad("path too long", *_line("  training.learning_rate:", "  data.max_length.x:"), "space.data.max_length.x:",
         "leads too far"),
    _bad("unknown key of the model's config", *_line("  training.learning_rate:", "  model.config.n_layers:"),
         "space.model.config.n_layers:", "no such field"),
    _bad("unknown distribution", *_rate("    loguniform: [1e-4, 3e-2]"),
         "space.training.learning_rate:", "`log_uniform`?", "Known kinds"),
    _bad("plain number", "  training.learning_rate:\n    log_uniform: [1e-4, 3e-2]\n",
         "  training.learning_rate: 1e-4  # here\n", "space.training.learning_rate:", "fixed value 0.0001"),
    _bad("plain list", "  training.learning_rate:\n    log_uniform: [1e-4, 3e-2]\n",
         "  training.learning_rate: [1e-4, 1e-3]  # here\n", "space.training.learning_rate:", "{choice: ["),
    _bad("low above high", *_rate("    uniform: [1, 0]"), "space.training.learning_rate:",
         "`low < high`", "Exchange"),
    _bad("log with zero", *_rate("    log_uniform: [0, 1]"), "space.training.learning_rate:",
         "`0 < low < high`", "`uniform`"),
    _bad("values not allowed", *_rate("    uniform: [-1, 1]"), "space.training.learning_rate:",
         "a value is not allowed: `learning_rate > 0` must hold, but got -1.0"),
    _bad("choice of a typo", "  training.learning_rate:\n    log_uniform: [1e-4, 3e-2]\n",
         "  training.lr_scheduler_type:  # here\n    choice: [linear, cosin]\n", "space.training.lr_scheduler_type:",
         "a value is not allowed", "'cosin'", "`cosine`?"),
    _bad("choice of another type", "  training.learning_rate:\n    log_uniform: [1e-4, 3e-2]\n",
         "  data.max_length:  # here\n    choice: [32, long]\n", "space.data.max_length:",
         "a value is not allowed: expected a whole number, but got 'long'"),
    _bad("choice of too much", "  training.learning_rate:\n    log_uniform: [1e-4, 3e-2]\n",
         "  data.splits.test:  # here\n    choice: [0.1, 0.95]\n", "space.data.splits.test:",
         "validation + test < 1", "0.95"),
    _bad("freezing from scratch", "  training.learning_rate:\n    log_uniform: [1e-4, 3e-2]\n",
         "  model.freeze.layers:  # here\n    int: [0, 2]\n", "space.model.freeze.layers:", "`freeze` needs `pretrained`"),
    _bad("freezing more layers than there are", *_line("  model.freeze.layers: {int: [0, 2]}",
         "  model.freeze.layers: {int: [0, 3]}"), "space.model.freeze.layers:", "has 2 layers", good=TUNED),
    _bad("combination", "  training.learning_rate:\n    log_uniform: [1e-4, 3e-2]\n",
         "  model.config.hidden_size:\n    choice: [64, 62]\n  model.config.num_attention_heads:  # here\n"
         "    choice: [2, 4]\n", "space.model.config", "cannot work", "multiple of the number of heads",
         "model.config.hidden_size=62", "constraint"),
    _bad("when on an unknown path", "    choice: [16, 32]\n", "    choice: [16, 32]\n    when: {training.optm: x}  # here\n",
         "space.training.per_device_train_batch_size.when:", "`training.optm`"),
    _bad("when in a circle", "space:\n  training.learning_rate:\n    log_uniform: [1e-4, 3e-2]\n  training.per_device_train_batch_size:\n    choice: [16, 32]\n",
         "space:  # here\n  training.learning_rate:\n    choice: [1, 2]\n    when: {training.per_device_train_batch_size: 16}\n  training.per_device_train_batch_size:\n"
         "    choice: [16, 32]\n    when: {training.learning_rate: 1}\n", "circle",
         "`training.learning_rate` -> `training.per_device_train_batch_size`"),
    _bad("when never true", "    log_uniform: [1e-4, 3e-2]\n",
         "    log_uniform: [1e-4, 3e-2]\n    when: {training.per_device_train_batch_size: 64}  # here\n",
         "space.training.learning_rate.when:", "can never be 64"),
    _bad("unknown name in a constraint", *_line("  - training.per_device_train_batch_size * training.gradient_accumulation_steps <= 64",
         "  - training.batch_size <= 64"), "constraints.0:", "`training.batch_size`", "neither"),
    _bad("unsafe constraint", *_line("  - training.per_device_train_batch_size * training.gradient_accumulation_steps <= 64",
         "  - __import__('os').system('true') == 0"), "constraints.0:", "`__import__('os').system`", "not known"),
    _bad("constraint without comparison", _CONSTRAINT, _constraint("2 * training.seed"), "constraints",
         "must be true or false"),
    _bad("impossible constraint", _CONSTRAINT, _constraint("training.per_device_train_batch_size <= 8"),
         "constraints:", "none of 10,000 random configurations"),
    _bad("derivation in a circle",
         "derive:\n  training.per_device_eval_batch_size: 2 * training.per_device_train_batch_size\n",
         "derive:  # here\n  training.warmup_steps: training.seed\n  training.seed: training.warmup_steps\n", "derive:", "circle"),
    _bad("derived and searched", *_line("  training.per_device_eval_batch_size: 2 * training.per_device_train_batch_size",
         "  training.learning_rate: 1e-3 * training.seed"), "derive.training.learning_rate:", "searched too"),
    _bad("derived into nowhere", *_line("  training.per_device_eval_batch_size: 2 * training.per_device_train_batch_size",
         "  training.eval_batch: 2 * training.seed"), "derive.training.eval_batch:", "no such field"),
    _bad("derived value not allowed", *_line("  training.per_device_eval_batch_size: 2 * training.per_device_train_batch_size",
         "  training.per_device_eval_batch_size: 0 * training.per_device_train_batch_size"),
         "derive.training.per_device_eval_batch_size:", "> 0"),
    _bad("brute force over a continuous range", *_line("  algorithm:\n    name: tpe", "  algorithm: brute_force"),
         "search.algorithm", "`brute_force` needs a finite space"),
    _bad("grid over a continuous range", *_line("  algorithm:\n    name: tpe", "  algorithm: grid"), "search.algorithm",
         "`grid` needs a finite space", "`step`"),
]  # fmt: skip

SCHEDULER = [
    _bad("grace not below max", *_line("    grace: 1", "    grace: 6"), "search.scheduler.grace:", "`grace < max`",
         "6 epochs"),
    _bad("max beyond the training", *_line("    grace: 1", "    max: 100\n    grace: 8"), "search.scheduler.grace:", "6 epochs"),
    _bad("hyperband of tokens without max", "  scheduler:\n    name: asha\n    unit: epochs\n",
         "  scheduler:  # here\n    name: hyperband\n    unit: tokens\n", "search.scheduler.max:", "how many tokens"),
    _bad("median with too much grace", "    name: asha\n    unit: epochs\n    grace: 1\n",
         "    name: median\n    grace: 7  # here\n", "search.scheduler.grace:", "`grace < max`", "6 epochs"),
    _bad("tokens without max", "  scheduler:\n    name: asha\n    unit: epochs\n",
         "  scheduler:  # here\n    name: asha\n    unit: tokens\n", "search.scheduler.max:", "how many tokens"),
    _bad("evaluations of steps", "  scheduler:\n    name: asha\n    unit: epochs\n",
         "  scheduler:  # here\n    name: asha\n    unit: evaluations\n", "search.scheduler.max:", "how many evaluations",
         good=SCRATCH.replace("  weight_decay: 0.01\n", "  max_steps: 100\n")),
    _bad("epochs derived", "  scheduler:\n    name: asha\n", "  scheduler:  # here\n    name: asha\n", "search.scheduler.max:", "how many epochs",
         good=SCRATCH.replace("  training.per_device_eval_batch_size: 2 *", "  training.num_train_epochs: 1 +")),
]  # fmt: skip

START = [
    _bad("not a list", *_line("  trials: 12", "  start_from: {training.learning_rate: 1e-3}"),
         "search.start_from: expected `scaling_laws` or a list"),
    _bad("not searched", *_line("  trials: 12", "  start_from: [{training.learning_rat: 1e-3}]"),
         "search.start_from.0:", "`training.learning_rat` is not searched", "`training.learning_rate`?"),
    _bad("outside", *_line("  trials: 12", "  start_from: [{training.learning_rate: 1}]"),
         "search.start_from.0.training.learning_rate: the space does not hold 1 here"),
    _bad("no such choice", *_line("  trials: 12", "  start_from: [{training.learning_rate: 1e-3, training.per_device_train_batch_size: 24}]"),
         "search.start_from.0.training.per_device_train_batch_size: the space does not hold 24"),
    _bad("more than trials", *_line("  trials: 12", "  trials: 1\n  start_from: [{}, {}]"),
         "search.start_from:", "2 points", "only 1 trials"),
    _bad("twice", *_line("  trials: 12", "  start_from: [{training.learning_rate: 1e-3, training.per_device_train_batch_size: 16}, {training.per_device_train_batch_size: 16, training.learning_rate: 1e-3}]"),
         "search.start_from.1: this point stands there already"),
    _bad("against a constraint", *_line("  trials: 12", "  start_from: [{training.per_device_train_batch_size: 32}]"),
         "search.start_from.0:", "they break", good=SCRATCH.replace("<= 64", "<= 16")),
]  # fmt: skip

TRAINABLE = [
    _bad("module missing", *_line("trainable: own_module:train", "trainable: own_modul:train"),
         "trainable: there is no module `own_modul`", "`own_module`?", good=OWN),
    _bad("function missing", *_line("trainable: own_module:train", "trainable: own_module:trian"),
         "trainable: module `own_module` has no function `trian`", "`train`?", good=OWN),
    _bad("no colon", *_line("trainable: own_module:train", "trainable: own_module.train"),
         "trainable: expected `module:function` or `folder/file.py:function`", good=OWN),
    _bad("empty module name", *_line("trainable: own_module:train", "trainable: a..b:train"), "trainable:", "no module",
         good=OWN),
    _bad("no metric", "  metric: loss\n", "", "`trainable` needs `search.metric`", good=OWN),
    _bad("model of a trainable", "config:\n", "model: {architecture: bert}\nconfig:\n", "`model` belongs to a `task`",
         good=OWN),
    _bad("space without default", *_line("  config.step_size: {log_uniform: [1e-3, 1]}", "  config.step: {int: [1, 3]}"),
         "space.config.step:", "`config` has no such entry", "`step_size`?", good=OWN),
    _bad("asha without max", *_line("  scheduler: {name: asha, unit: steps, grace: 10, max: 100}",
         "  scheduler: {name: asha, unit: steps}"), "search.scheduler.max:", "how many steps", good=OWN),
]  # fmt: skip

_TWO = "resources:\n  workers: 2\n"
WORKERS = [
    _bad("no worker", *_line("  cpus_per_worker: 1", "  workers: 0"), "resources.workers:"),
    _bad("half a GPU each", "  cpus_per_worker: 1\n", "  workers: 2\n  gpus_per_worker: 0.5  # here\n",
         "resources.gpus_per_worker:", "one whole GPU or none"),
    _bad("sharding one worker", *_line("  weight_decay: 0.01", "  fsdp: true"), "training.fsdp:", "`resources.workers` is 1"),
    _bad("sharding on CPUs", *_line("  weight_decay: 0.01", "  fsdp: true"), "training.fsdp:", "Leave `fsdp` out",
         good=SCRATCH.replace("resources:\n", _TWO)),
    _bad("old name of sharding", *_line("  weight_decay: 0.01", "  fsdp: full_shard"), "training.fsdp:", "true or false"),
    _bad("sharding option", "  weight_decay: 0.01\n", "  fsdp: true\n  fsdp_config:\n    cpu_ofload: true  # here\n",
         "training.fsdp_config.cpu_ofload:", "`cpu_offload`?"),
    _bad("sharded checkpoints", "  weight_decay: 0.01\n",
         "  fsdp: true\n  fsdp_config:\n    state_dict_type: SHARDED_STATE_DICT  # here\n",
         "training.fsdp_config.state_dict_type:", "loads by itself"),
    _bad("sharding options without sharding", *_line("  weight_decay: 0.01", "  fsdp_config: {cpu_offload: true}"),
         "training.fsdp_config:", "`fsdp: true`"),
    _bad("own backend", *_line("  weight_decay: 0.01", "  ddp_backend: gloo"), "training.ddp_backend:", "nccl on GPUs"),
]  # fmt: skip

TASKS = [
    _bad("unknown chat template", *_line("  chat_template: chatml", "  chat_template: chatlm"), "data.chat_template: expected one of alpaca, chatml",
         "`chatml`?", good=CHATS),
    _bad("broken chat template", *_line("  chat_template: chatml", "  chat_template: '{% for message in messages %}'"),
         "data.chat_template: this is no Jinja template", good=CHATS),
    _bad("chat template without messages", *_line("  chat_template: chatml", "  chat_template: '{{ prompt }}'"), "data.chat_template:",
         "never names them", good=CHATS),
    _bad("chats of a classifier", *_line("  max_length: 48", "  chat_template: chatml"), "data.chat_template: sequence_classification does not read this",
         "instruction_tuning and preference"),
    _bad("conversations and prompts", "  chat_template: chatml\n", "  messages: chat\n  response: answer  # here\n", "data.response:", "whole conversations",
         good=CHATS),
    _bad("conversations of a builtin", *_line("  source: {builtin: stdlib-instructions}", "  source: {builtin: stdlib-instructions}"),
         "has no messages", "Use your own files", good=CHATS.replace("  chat_template: chatml\n", "  messages: chat\n")),
    _bad("answers of a builtin", *_line("  source: {builtin: stdlib-instructions}", "  source: {builtin: stdlib-docs}"),
         "data.source.builtin: `stdlib-docs` has no prompts", "`stdlib-instructions` would fit", good=CHATS),
    _bad("packing what runs on", *_line("  chat_template: chatml", "  pack: true"), "data.pack: `lstm` cannot keep packed examples apart",
         good=CHATS.replace("architecture: gpt2", "architecture: lstm").replace("{n_embd: 32, n_layer: 1, n_head: 2}", "{}")),
    _bad("packing pairs", *_line("  chat_template: chatml", "  pack: true"), "data.pack: preference does not read this", good=PAIRS),
    _bad("unknown loss", *_line("  loss: sigmoid", "  loss: sigmoyd"), "preference.loss: expected one of sigmoid, hinge, ipo, simpo", "`sigmoid`?", good=PAIRS),
    _bad("argument of another loss", *_line("  loss: sigmoid", "  margin: 1.0"), "preference.margin: only `simpo` has this", "`sigmoid`", good=PAIRS),
    _bad("smoothing of another loss", "  loss: sigmoid\n", "  loss: ipo\n  label_smoothing: 0.1  # here\n", "preference.label_smoothing: only `sigmoid`", good=PAIRS),
    _bad("beta of zero", *_line("  loss: sigmoid", "  beta: 0"), "preference.beta: expected a number > 0", good=PAIRS),
    _bad("smoothing of tokens", *_line("  num_train_epochs: 2", "  label_smoothing_factor: 0.1"), "training.label_smoothing_factor:",
         "`preference.label_smoothing`", good=PAIRS),
    _bad("key of preference", *_line("  loss: sigmoid", "  betta: 0.1"), "preference.betta: unknown key", "`beta`?", good=PAIRS),
    _bad("section of another task", "preference:\n", "prompt: {shots: 1}  # here\npreference:\n", "prompt: only `task: few_shot` has this section", good=PAIRS),
    _bad("preference of a classifier", "training:\n", "preference: {beta: 0.2}  # here\ntraining:\n", "preference: only `task: preference` has this section"),
    _bad("beta of a classifier", *_line("  training.learning_rate:", "  preference.beta:"), "space.preference.beta: a path starts with"),
    _bad("section alone", *_line("  preference.beta: {log_uniform: [0.01, 1]}", "  preference: {choice: [a, b]}"), "space.preference: a whole section cannot vary",
         "`preference.beta`", good=PAIRS),
    _bad("beta out of range", *_line("  preference.beta: {log_uniform: [0.01, 1]}", "  preference.beta: {uniform: [-1, 1]}"), "space.preference.beta: a value is not allowed",
         good=PAIRS),
    _bad("template without answer", *_line('  template: "{text} is of {answer}"', '  template: "{text} is"'), "prompt.template:", "`{answer}` once", good=PROMPT),
    _bad("template with another name", *_line('  template: "{text} is of {answer}"', '  template: "{text} is {label}"'), "prompt.template:", "but got `{label}`",
         good=PROMPT),
    _bad("unknown order", *_line("  evaluations: 4", "  order: simlar"), "prompt.order: expected one of random, label-balanced, similar", "`similar`?", good=PROMPT),
    _bad("negative shots", *_line("  evaluations: 4", "  shots: -1"), "prompt.shots: expected a number >= 0", good=PROMPT),
    _bad("asking what never learned", "  pretrained: ./tiny\n", "  architecture: gpt2  # here\n", "model.architecture: few_shot asks a model that was trained", good=PROMPT),
    _bad("training a prompt", "prompt:\n", "training:\n  learning_rate: 0.1  # here\nprompt:\n", "training.learning_rate: few_shot does not train", good=PROMPT),
    _bad("searching rates for a prompt", *_line("  prompt.shots: {int: [0, 4]}", "  training.learning_rate: {choice: [0.1, 0.2]}"),
         "space.training.learning_rate:", "does not train", good=PROMPT),
    _bad("adapter of a prompt", "  pretrained: ./tiny\n", "  pretrained: ./tiny\n  layer_decay: 0.9  # here\n", "model.layer_decay: few_shot does not train", good=PROMPT),
    _bad("other texts for each trial", *_line("  prompt.shots: {int: [0, 4]}", "  prompt.evaluations: {int: [1, 4]}"), "space.prompt.evaluations: this cannot vary",
         "could not be compared", good=PROMPT),
    _bad("words of a target", "  max_length: 16\nprompt:\n", "  max_length: 16\n  answer: target\nprompt:\n  calibrate: true  # here\n", "prompt.calibrate: this is for labels",
         good=PROMPT.replace("stdlib-docstrings", "stdlib-summaries")),
    _bad("grace of a prompt", *_line("  scheduler: {name: asha, unit: evaluations, grace: 1, reduction_factor: 2}",
         "  scheduler: {name: asha, unit: evaluations, grace: 4}"), "search.scheduler", "at most 4 evaluations", good=PROMPT),
]  # fmt: skip

BUDGET = [
    _bad("unknown limit", *_line("  trials: 12", "  budget: {tim: 2h}"), "search.budget.tim: unknown key", "`time`?"),
    _bad("no unit of time", *_line("  trials: 12", "  budget: {time: 2 fortnights}"), "search.budget.time: expected an amount such as `2h`", "'2 fortnights'"),
    _bad("no time at all", *_line("  trials: 12", "  budget: {time: 0}"), "search.budget.time: expected a number > 0"),
    _bad("energy in hours", *_line("  trials: 12", "  budget: {energy: 5h}"), "search.budget.energy: expected an amount such as `500Wh`"),
    _bad("money without a price", *_line("  trials: 12", "  budget: {cost: 5}"), "search.budget.cost:", "resources.price_per_hour"),
    _bad("hours of no GPU", *_line("  trials: 12", "  budget: {gpu_hours: 5}"), "search.budget.gpu_hours:", "resources.gpus_per_worker"),
    _bad("a plateau of none", *_line("  trials: 12", "  budget: {plateau: {trials: 0}}"), "search.budget.plateau.trials: expected a number > 0"),
    _bad("a plateau of no length", *_line("  trials: 12", "  budget: {plateau: {min_change: 0.1}}"), "search.budget.plateau", "trials"),
    _bad("disk in hours", *_line("  keep: 1", "  max_disk: 5h"), "checkpoints.max_disk: expected an amount such as `20GB`"),
    _bad("learning from W&B", *_line("  trials: 12", "  warm_start: ['wandb:']"), "search.warm_start.0", "`wandb:ENTITY/PROJECT"),
    _bad("learning from a number", *_line("  trials: 12", "  warm_start: [7]"), "search.warm_start.0"),
    _bad("unknown key of learning", *_line("  trials: 12", "  warm_start: [{search: ./a, point: 3}]"), "search.warm_start.0.point: unknown key", "`points`?"),
]  # fmt: skip

BELIEFS = [
    _bad("unknown preset", "space:\n", "space:\n  preset: bert-finetun  # here\n", "space.preset: there is no preset `bert-finetun`", "`bert-finetune`?"),
    _bad("preset of another model", "space:\n", "space:\n  preset: bert-finetune  # here\n", "space.preset: `bert-finetune` is for an encoder such as BERT, pretrained"),
    _bad("prior beyond its range", *_rate("    log_uniform: [1e-4, 3e-2]\n    prior: 1"), "space.training.learning_rate: `prior` must lie from 0.0001 to 0.03"),
    _bad("confidence without a prior", *_rate("    log_uniform: [1e-4, 3e-2]\n    confidence: high"), "space.training.learning_rate: `confidence` is that of a `prior`"),
    _bad("laws of a classifier", *_line("  trials: 12", "  start_from: scaling_laws"), "search.start_from: scaling laws", "`task: causal_lm`"),
    _bad("mup without a base", *_line("  architecture: bert", "  architecture: bert\n  parametrization: mup"), "model.parametrization.base: `mup` needs the widths"),
]  # fmt: skip

GROUPS = {"task": TASKS, "belief": BELIEFS, "unknown key": UNKNOWN_KEYS, "value": VALUES, "training": TRAINING, "model": MODEL, "data": DATA, "space": SPACE,
          "scheduler": SCHEDULER, "start": START, "trainable": TRAINABLE, "workers": WORKERS, "budget": BUDGET}  # fmt: skip
BAD_SPECS = {f"{group}: {bad.name}": bad for group, bads in GROUPS.items() for bad in bads}
