"""What one trial is: the frozen pydantic models of the sections of a trial document.

Knows no torch, no ray and no YAML, so that `tunesmith --help` and `tunesmith check` stay quick.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveInt,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from spaces.errors import SpecError
from trainables.data_sections import AugmentConfig, CleaningStep, CurriculumConfig, check_steps
from trainables.fold_sections import FoldConfig, FoldsConfig
from trainables.model_sections import (
    AdapterConfig,
    FreezeConfig,
    InitializationConfig,
    ParametrizationConfig,
    QuantizationConfig,
    UnfreezeConfig,
    scheme_as_mapping,
)
from trainables.section import Section
from trainables.task_sections import PreferenceConfig, PromptConfig, check_sections, section_of

TaskName = Literal[
    "causal_lm", "masked_lm", "seq2seq_lm", "sequence_classification", "token_classification", "instruction_tuning",
    "preference", "few_shot",
]  # fmt: skip
BuiltinSourceName = Literal[
    "stdlib-docs", "stdlib-docstrings", "stdlib-summaries", "stdlib-code", "stdlib-statements", "stdlib-lengths",
    "stdlib-instructions", "stdlib-preferences",
]  # fmt: skip

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


def _absolute(place: str) -> str:
    """A local path as seen from every process and every later session: relative ones are meant from where
    tunesmith was started. Hub ids, `package:` places and URLs stay as they are."""
    path = Path(place).expanduser()
    is_local = place.startswith(("~", "./", "../")) or path.exists()
    return str(path.absolute()) if is_local and "://" not in place else place


def _absolute_files(pattern: str) -> str:
    """As `_absolute`, for what can only be a file."""
    return pattern if "://" in pattern else str(Path(pattern).expanduser().absolute())


Place = Annotated[str, AfterValidator(_absolute)]
"""A local folder, a hub id, or `package:import_name/folder`."""
Files = Annotated[str, AfterValidator(_absolute_files)]
"""Path or glob of local files."""


def _absolute_trainable(trainable: str) -> str:
    place, _, name = trainable.rpartition(":")
    return f"{_absolute_files(place)}:{name}" if place.endswith(".py") else trainable


Trainable = Annotated[
    str, Field(pattern=r"^(.*[^/]\.py|[\w.]+):[A-Za-z_]\w*$"), AfterValidator(_absolute_trainable)
]  # fmt: skip
"""`module:function`, or `folder/file.py:function`."""


# --- model -----------------------------------------------------------------------------------------------


class ModelConfig(Section):
    """Where the model comes from: a pretrained checkpoint, or an architecture built from scratch."""

    pretrained: Place | None = None
    """A local folder, a hub id, or `package:import_name/folder` for a model that was installed by pip; each may also
    name a `.gguf` file. `search:FOLDER#best` or `search:FOLDER#3` is the checkpoint of a trial of another search."""
    architecture: str | None = None
    """From scratch: any transformers model type, such as `gpt2`, `llama` or `bert`, or `rnn`, `lstm`, `gru`."""
    config: dict[str, Any] = Field(default_factory=dict)
    """Fields of the model's transformers configuration, such as `hidden_size`; of a pretrained model its dropouts
    only. The vocabulary size and the number of labels follow from the data."""
    initialization: Annotated[
        InitializationConfig,
        BeforeValidator(
            scheme_as_mapping,
            json_schema_input_type=Literal["default", "xavier", "he", "scaled"] | InitializationConfig,
        ),
    ] = InitializationConfig()
    """From scratch: how random weights are drawn. A scheme, or a mapping with `scheme` and its arguments."""
    parametrization: Annotated[
        ParametrizationConfig,
        BeforeValidator(scheme_as_mapping, json_schema_input_type=Literal["standard", "mup"] | ParametrizationConfig),
    ] = ParametrizationConfig()
    """From scratch: how weights and learning rates follow the width. A scheme, or a mapping with `scheme` and
    `base`."""
    adapter: AdapterConfig | None = None
    """Train a small addition to the pretrained weights instead of themselves. Default: all weights train."""
    quantization: QuantizationConfig | None = None
    """Load the pretrained weights below an adapter in few bits. Default: in 32 bits."""
    freeze: FreezeConfig | None = None
    """Weights that do not train. Default: all train."""
    unfreeze: UnfreezeConfig | None = None
    """Let the blocks of a pretrained model join the training one after another. Default: all train at once."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Each block's learning rate is that of the block above times this; the head has the full one, the embeddings the
    lowest. 1: the same for all."""
    trust_remote_code: bool = False
    """Allow the checkpoint's own Python code to run. Off unless asked for."""

    @model_validator(mode="after")
    def _one_origin(self) -> "ModelConfig":
        if (self.pretrained is None) == (self.architecture is None):
            raise SpecError(
                "give either `pretrained` (a folder or hub id) or `architecture` (from scratch), "
                + ("but both are set." if self.pretrained else "but neither is set.")
            )
        if self.pretrained is None:
            for name, reason in _NEEDS_PRETRAINED.items():
                if getattr(self, name) is not None:
                    raise SpecError(f"`{name}` needs `pretrained`: {reason}.")
        elif self.initialization != InitializationConfig():
            raise SpecError("`initialization` draws random weights, but `pretrained` brings its own.")
        elif self.parametrization.scheme != "standard":
            raise SpecError("`parametrization` is about random weights, but `pretrained` brings its own.")
        return self

    @model_validator(mode="after")
    def _what_trains(self) -> "ModelConfig":
        if self.adapter is not None:
            for name in ("freeze", "unfreeze"):
                if getattr(self, name) is not None:
                    raise SpecError(
                        f"`adapter` and `{name}` do not go together: an adapter leaves all weights of the model frozen "
                        "as long as it trains."
                    )
        elif self.quantization is not None:
            raise SpecError("`quantization` needs `adapter`: weights of few bits cannot be trained themselves.")
        if self.unfreeze is not None and self.freeze is not None and self.freeze.all_but_head:
            raise SpecError("`freeze.all_but_head` and `unfreeze` do not go together: nothing would ever be unfrozen.")
        return self


_NEEDS_PRETRAINED = {
    "freeze": "freezing random weights would train nothing useful",
    "unfreeze": "random weights that wait to be trained are useless to those above them",
    "adapter": "an adapter changes little, and random weights need to change much",
    "quantization": "random weights that cannot train are useless",
}

# --- data ------------------------------------------------------------------------------------------------


class _WeightedSource(Section):
    """What sources have in common."""

    weight: Annotated[float, Field(ge=0)] = 1.0
    """In a list of sources: its share of the bytes of the training text, relative to the others' weights."""


class BuiltinSource(_WeightedSource):
    """Text that every Python carries: no download, no file."""

    builtin: BuiltinSourceName
    """`stdlib-docs`: English prose of the language reference, for language models. `stdlib-docstrings`:
    docstrings labelled by the package they stand in, for classification. `stdlib-summaries`: docstrings with
    their first line as the target, for seq2seq. `stdlib-code`: lines of source whose tokens are labelled by their
    kind, for token classification. `stdlib-statements`: docstrings of functions labelled by the kinds of statements
    in them (`label_kind: classes`). `stdlib-lengths`: the same with the log2 of their lines (`label_kind: number`).
    `stdlib-instructions`: questions what a function does, answered by the first paragraph of its docstring, for
    instruction tuning. `stdlib-preferences`: the same with the first sentence, and that of a function of another
    package as the rejected answer."""


class HubSource(_WeightedSource):
    """A dataset on the Hugging Face hub, or a local dataset folder."""

    hub: Place
    """The dataset's id, such as `imdb` or `org/name`."""
    config: str | None = None
    """The dataset's configuration name, where it has several."""
    revision: str | None = None
    """A commit or tag. Pin it for results that can be repeated."""


class SplitFiles(Section):
    """Files that are split already. A part that is not given is taken from `train`."""

    train: Files
    """Path or glob of the training files."""
    validation: Files | None = None
    """Path or glob of the validation files."""
    test: Files | None = None
    """Path or glob of the test files."""


class FilesSource(_WeightedSource):
    """Local csv, json, jsonl, parquet or txt files."""

    files: Files | SplitFiles
    """A path or glob (`data/*.jsonl`), or one for each of train, validation and test."""


Source = BuiltinSource | HubSource | FilesSource


class TrainedTokenizer(Section):
    """A tokenizer trained on the training split."""

    train: Literal["bpe", "wordpiece", "unigram", "char"]
    """Kind. `bpe`, `wordpiece` and `unigram` work on bytes; `char` has a token for each frequent character and spells
    the others in bytes. None has an unknown token: each gives back every text as it was."""
    vocab_size: Annotated[int, Field(ge=300, le=1_000_000)] = 4096
    """At most so many tokens in the vocabulary, special tokens included. `wordpiece` needs 600: all bytes twice, at the
    beginning of a word and within."""
    lowercase: bool = False
    """Make all text lower case first."""
    train_on_megabytes: Annotated[float, Field(gt=0)] = 100.0
    """Train on at most so much text, taken evenly from all of the training part: more of it changes little and takes
    time and memory."""

    @model_validator(mode="after")
    def _has_room_for_bytes(self) -> "TrainedTokenizer":
        if self.train == "wordpiece" and self.vocab_size < 600:
            raise SpecError(f"wordpiece needs `vocab_size >= 600` for all bytes, but got {self.vocab_size}.")
        return self


class PretrainedTokenizer(Section):
    """A tokenizer that exists."""

    pretrained: Place
    """A local folder, a hub id, or `package:import_name/folder`."""


class SplitsConfig(Section):
    """How much of the data is held out, and how. Parts that the source brings itself are used as they are."""

    validation: Fraction = 0.1
    """Share of the documents that measures trials."""
    test: Fraction = 0.1
    """Share of the documents that no search ever sees; `confirm` reports on it."""
    by: Literal["random", "group", "time", "hash"] = "random"
    """`random`: each document by itself. `group`: documents of one `group` stay together. `time`: the latest are test,
    those before them validation. `hash`: by the text alone, so that documents keep their part when others are added."""
    group: str | None = None
    """With `by: group`: the column that says which documents belong together."""
    time: str | None = None
    """With `by: time`: the column with their times, as numbers or ISO dates."""
    stratify: bool | None = None
    """Keep the share of each label equal in all parts. Default: true for classification split at random."""
    leakage_check: Literal["warn", "error", "off"] = "warn"
    """Look for held-out documents that nearly stand in train too, and warn of them, or refuse the data."""
    seed: int = 0
    """One seed for the whole search: otherwise two trials would differ by their data."""
    fold: FoldConfig | None = None
    """Validation is this fold of what test leaves, instead of a share. Set by `search.cross_validation`."""
    test_fold: FoldConfig | None = None
    """Test is this fold of all documents, instead of a share. Set by `search.cross_validation.outer_folds`."""
    train_on_validation: bool = False
    """Train on all but test, and let test stand in for validation. Set by `confirm` after a cross-validation."""

    @model_serializer(mode="wrap")
    def _documents_of_searches_stay_as_they_were(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Evidence is the same document, and a cache the same data: what no search sets is not written there."""
        values: dict[str, Any] = serialize(self)
        if not self.train_on_validation:
            values.pop("train_on_validation", None)
        return values

    @model_validator(mode="after")
    def _leaves_some_to_train(self) -> "SplitsConfig":
        if self.validation <= 0:
            raise SpecError(
                f"`validation > 0` must hold, but got {self.validation}: without it no trial can be ranked."
            )
        for kind in ("group", "time"):
            if self.by == kind and getattr(self, kind) is None:
                raise SpecError(f"`by: {kind}` needs the column: set `{kind}` as well.")
            if self.by != kind and getattr(self, kind) is not None:
                raise SpecError(f"`{kind}` is read with `by: {kind}` only, but `by` is `{self.by}`.")
        if self.by != "random" and self.stratify:
            raise SpecError(f"`stratify` goes with `by: random` only, but `by` is `{self.by}`.")
        if self.validation + self.test >= 1:
            raise SpecError(
                f"`validation + test < 1` must hold, but got {self.validation} + {self.test}: "
                "nothing is left to train on."
            )
        return self


def _sources(value: Any) -> Any:
    """One source, or several in a list."""
    if not isinstance(value, list | tuple):
        source = _source_by_key(value)
        if getattr(source, "weight", 1.0) != 1.0:
            raise SpecError("a weight is for a list of sources: there is only one here.")
        return source
    if not value:
        raise SpecError("a list of sources needs at least one.")
    sources = []
    for index, each in enumerate(value):
        if not isinstance(each, dict | Section):
            raise SpecError(
                f"a source is a mapping, such as `{{builtin: stdlib-docs}}`, but got {each!r}.", path=str(index)
            )
        try:
            sources.append(_source_by_key(each))
        except ValidationError as error:
            # The same findings, one level deeper: pydantic puts them below the field, and their entry can be named.
            found: list[Any] = [item | {"loc": (index, *item["loc"])} for item in error.errors()]
            raise ValidationError.from_exception_data(error.title, found) from None
        except SpecError as error:
            raise error.at(str(index)) from None
    if not sum(source.weight for source in sources) > 0:
        raise SpecError("at least one source must have a weight above 0.")
    return tuple(sources)


def _source_by_key(value: Any) -> Any:
    """Choose the source by its key, so that an error speaks of that source only."""
    kinds: dict[str, type[Section]] = {"builtin": BuiltinSource, "hub": HubSource, "files": FilesSource}
    if not isinstance(value, dict):
        return value
    named = [key for key in kinds if key in value]
    if len(named) != 1:
        raise SpecError(
            f"a source has exactly one of `builtin`, `hub`, `files`, but got {sorted(map(str, value)) or 'nothing'}."
        )
    return kinds[named[0]].model_validate(value)


def _tokenizer_by_key(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "train" in value:
        return TrainedTokenizer.model_validate(value)
    return PretrainedTokenizer.model_validate(value)


class DataConfig(Section):
    """Which text, how it is tokenized and how it is split. What changes tokens is part of the cache's key."""

    source: Annotated[Source | tuple[Source, ...], BeforeValidator(_sources)]
    """`{builtin: NAME}`, `{files: GLOB}` or `{hub: ID}`; or a list of them, each with a `weight`, that are mixed for
    training. Validation and test hold all sources, whatever their weights: trials that differ in them compare."""
    text: str = "text"
    """Column that holds the text; for token classification a list of words."""
    label: str = "label"
    """Column that holds the label; for token classification a list with a tag for each word."""
    label_kind: Literal["class", "classes", "number"] = "class"
    """Sequence classification. `class`: each text has one label. `classes`: any number of labels, as a list, or in a
    csv cell separated by commas. `number`: a number to be predicted (regression)."""
    target: str = "target"
    """Column that holds the text to be produced (seq2seq, few_shot with `answer: target`)."""
    prompt: str = "prompt"
    """Instruction tuning, preference: column that holds what the user says."""
    response: str = "response"
    """Instruction tuning: column that holds the answer."""
    system: str | None = None
    """Instruction tuning, preference: column that holds the system message; it may be empty. Default: none."""
    messages: str | None = None
    """Instruction tuning: column that holds whole conversations, lists of `{role, content}`, instead of prompt and
    response. Every turn of the assistant is learned."""
    chosen: str = "chosen"
    """Preference: column that holds the better answer."""
    rejected: str = "rejected"
    """Preference: column that holds the worse answer."""
    chat_template: str | None = None
    """Instruction tuning, preference: how a conversation is written: `chatml`, `alpaca`, or a Jinja text. Default: the
    tokenizer's own, else `alpaca`."""
    pack: bool = False
    """Instruction tuning: put several short examples into one of `max_length` tokens; none sees another."""
    answer: Literal["label", "target"] = "label"
    """few_shot: whether the model chooses among the labels, or generates a target."""
    tokenizer: Annotated[TrainedTokenizer | PretrainedTokenizer, BeforeValidator(_tokenizer_by_key)] | None = None
    """`{train: bpe, vocab_size: N}` (or `wordpiece`, `unigram`, `char`), or `{pretrained: PLACE}`. Default: the
    pretrained model's own, else a BPE of 4096 tokens trained on the training split."""
    clean: Annotated[tuple[CleaningStep, ...], BeforeValidator(check_steps)] = ()
    """Steps that clean the documents before they are split, one after another, each a name or `{name: argument}`:
    `[strip_html, {min_characters: 20}, deduplicate]`. Default: documents stay as they are."""
    augment: AugmentConfig | None = None
    """Sequence classification: add changed copies of the training texts. Default: none."""
    packing: Literal["stream", "isolated", "none"] = "stream"
    """Causal language models. `stream`: all documents in one stream, cut into blocks; a token sees all before it in its
    block. `isolated`: the same blocks, but a token sees its own document only. `none`: one document a block, padded."""
    curriculum: CurriculumConfig | None = None
    """Show training examples in order of difficulty at first. Default: always in random order."""
    max_length: PositiveInt = 128
    """Tokens of an example: longer texts are cut (classification, chats) or continue in the next block (language
    models)."""
    max_target_length: PositiveInt = 64
    """Seq2seq: tokens of a target; longer ones are cut. Instruction tuning, few_shot: the most that is generated."""
    mask_probability: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.15
    """Masked language models: share of the tokens to be predicted. In validation it is always 0.15, at the same
    places for every trial."""
    generate: NonNegativeInt = 64
    """Seq2seq, instruction tuning: so many validation texts are generated at each evaluation, for BLEU, ROUGE and exact
    matches. 0: none."""
    max_documents: PositiveInt | None = None
    """Use only this many documents, drawn with the split seed. Default: all."""
    splits: SplitsConfig = SplitsConfig()
    """Shares of validation and test."""

    @property
    def sources(self) -> tuple[Source, ...]:
        """All of them, also when there is one."""
        return self.source if isinstance(self.source, tuple) else (self.source,)


# --- training beyond transformers' arguments -------------------------------------------------------------


class StoppingConfig(Section):
    """When a trial ends itself because it no longer improves. It is then finished, and its value is that of its last
    evaluation, as for every trial."""

    patience: PositiveInt | None = None
    """Evaluations in a row without an improvement after which the trial ends. Default: it trains to its end."""
    min_delta: Annotated[float, Field(ge=0.0)] = 0.0
    """A smaller change than this is no improvement."""
    metric: str | None = None
    """What must improve. Default: the task's first metric."""
    diverged_above: Annotated[float, Field(ge=0.0)] = 3.0
    """A trial has failed, as diverged, when its training and its evaluation loss are this many times the loss of
    guessing without a model (or of the first evaluation, where that is not known) at three evaluations in a row, none
    of them its best. 0: only when a loss is no number."""

    @model_validator(mode="after")
    def _leaves_room_to_learn(self) -> "StoppingConfig":
        if 0 < self.diverged_above <= 1:
            raise SpecError(
                f"`diverged_above > 1` must hold, but got {self.diverged_above:g}: every trial begins by guessing. 0 "
                "switches the guard off.",
                path="diverged_above",
            )
        return self


class RegularizationConfig(Section):
    """Penalties that are added to the training loss. The evaluation loss has none, so that trials compare."""

    l1: Annotated[float, Field(ge=0.0)] = 0.0
    """Times the sum of the absolute values of all weights that train, biases and norms left out."""


# --- the trial -------------------------------------------------------------------------------------------


class TrialConfig(Section):
    """Everything one training run needs: the typed form of a trial document."""

    task: TaskName
    """What is learned."""
    model: ModelConfig
    """Which model learns it."""
    data: DataConfig
    """From which text."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Any field of transformers.TrainingArguments."""
    stopping: StoppingConfig = StoppingConfig()
    """When it ends before its planned end."""
    regularization: RegularizationConfig = RegularizationConfig()
    """What is added to the training loss."""
    preference: PreferenceConfig | None = None
    """Preference: what a pair teaches."""
    prompt: PromptConfig | None = None
    """few_shot: how a text is put to the model."""
    folds: FoldsConfig | None = None
    """Several trainings in one trial, for each fold or seed. Default: one."""
    measure_test: bool = False
    """Measure the test split as well, at the last evaluation, as `test/...`. Set by `confirm`, and by nothing else."""

    @model_validator(mode="before")
    @classmethod
    def _own_section(cls, values: Any) -> Any:
        """A task's own section has defaults only: it may be left out."""
        own = section_of(values.get("task")) if isinstance(values, dict) else None
        return {**values, own: {}} if own is not None and values.get(own) is None else values

    @model_validator(mode="after")
    def _no_section_of_another_task(self) -> "TrialConfig":
        check_sections(self.task, {"preference": self.preference, "prompt": self.prompt})
        return self


class CustomTrialConfig(Section):
    """A trial of the user's own function instead of a task."""

    trainable: Trainable
    """`module:function` or `folder/file.py:function`."""
    config: dict[str, Any] = Field(default_factory=dict)
    """Handed to the function as it is. `seed` in it seeds the process too."""
    folds: FoldsConfig | None = None
    """Several calls in one trial: `config.seed` and `config.fold` tell the function which one it is. Default: one."""
