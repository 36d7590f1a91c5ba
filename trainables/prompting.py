"""A trial without training: a pretrained model answers validation by a prompt, and is measured as it goes.

Knows no Ray, no W&B and no spec file. Metrics are those of all examples so far: evaluation k of every trial is of the
same examples, so that a scheduler may compare them. It saves nothing.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from spaces.objectives import name_on_test
from spaces.reports import Progress, ReportFunction, Row, TrialFailed, TrialFailure, TrialReport
from trainables.config import TrialConfig
from trainables.data.splits import draw_indices
from trainables.generation import generate
from trainables.label_scores import LabelScorer, check_fits, prompt_ids
from trainables.metrics import EVAL_LOSS, answer_metrics, classification_metrics
from trainables.models import build_model
from trainables.preparation import PreparedData, load_test_split
from trainables.shots import Choose, Shot, shot_chooser
from trainables.task_sections import PromptConfig
from trainables.tasks.registry import TASKS

if TYPE_CHECKING:
    from datasets import Dataset

    from trainables.trial_log import TrialLog

_SAMPLES_REPORTED = 16
_DEFAULT_BATCH = 8
_QUESTIONS_AT_ONCE = 256
# Zhao et al. 2021: what a prompt says when it is asked nothing is its bias.
_WITHOUT_CONTENT = ("N/A", "[MASK]", "")


@dataclass(frozen=True, kw_only=True)
class Question:
    """One example of validation, ready to be asked."""

    prompt: str
    """All that stands before the answer, blanks at its end left out: they belong to the answer's first token."""
    text: str
    """The text it is about."""
    expected: str
    """The label's name, or the target."""
    label: int
    """The label's position."""


class PromptWriter:
    """Writes prompts as the spec says: instruction, shots, question."""

    def __init__(self, prompt: PromptConfig, choose: Choose) -> None:
        self._prompt = prompt
        self._choose = choose
        before, _, _ = prompt.template.partition("{answer}")
        self.gap = before[len(before.rstrip(" ")) :]
        """Blanks between the prompt and its answer."""

    def word(self, answer: str) -> str:
        """What is said for a label or a target."""
        return self._prompt.words.get(answer, answer)

    def write(self, text: str, *, like: str | None = None) -> str:
        """The whole prompt for `text`, up to its answer, with the shots for `like` (default: `text`)."""
        prompt, chosen = self._prompt, self._choose(text if like is None else like)
        shots = [prompt.template.format(text=shot.text, answer=self.word(shot.answer)) for shot in chosen]
        before, _, _ = prompt.template.partition("{answer}")
        question = before.format(text=text).rstrip(" ")
        head = [prompt.instruction] if prompt.instruction else []
        return prompt.separator.join([*head, *shots, question])


@dataclass(kw_only=True)
class Answers:
    """What was measured so far."""

    scores: list[list[float]] = field(default_factory=list)
    """Log-probabilities of the labels, of each question."""
    labels: list[int] = field(default_factory=list)
    """The right ones."""
    said: list[str] = field(default_factory=list)
    """What was generated."""
    expected: list[str] = field(default_factory=list)
    """What should have been."""

    def metrics(self) -> dict[str, float]:
        """Of all questions so far."""
        import numpy as np

        if self.said:
            return {f"eval/{name}": value for name, value in answer_metrics(self.said, self.expected).items()}
        scores, labels = np.asarray(self.scores), np.asarray(self.labels)
        named = {f"eval/{name}": value for name, value in classification_metrics(scores, labels).items()}
        return {EVAL_LOSS: float(-scores[np.arange(len(labels)), labels].mean())} | named


def ask(trial: TrialConfig, data: PreparedData, report: ReportFunction, *, log: "TrialLog", attempt: int) -> None:
    """Ask all questions, with a report after each part. Raises TrialFailed when a prompt does not fit the model."""
    import torch

    prompt = trial.prompt
    assert prompt is not None, "a trial of this task has the section"
    task = TASKS[trial.task]
    model = build_model(task, trial.model, data=trial.data, card=data.card, tokenizer=data.tokenizer)
    model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    pool = [Shot(text=row["text"], answer=row["answer"]) for row in data.train.select_columns(["text", "answer"])]
    writer = PromptWriter(prompt, shot_chooser(prompt, pool))
    questions = _questions(trial, data.validation, writer)
    asks_labels = trial.data.answer == "label"
    answer = _Labels(trial, data, model, writer) if asks_labels else _Targets(trial, data, model)
    prompts = [prompt_ids(data.tokenizer, question.prompt) for question in questions]
    check_fits(prompts, model=model, answer_length=answer.longest)
    answers = Answers()
    tokens = asked = 0
    log.began_at = time.time()
    for evaluation, part in enumerate(_parts(questions, prompt.evaluations), 1):
        began = time.monotonic()
        tokens += answer(part, answers)
        asked += len(part)
        metrics = answers.metrics()
        if not all(map(math.isfinite, metrics.values())):
            message = f"the model gave no finite number to an answer among the first {asked} texts"
            raise TrialFailed(TrialFailure(kind="diverged", message=message))
        if trial.measure_test and asked == len(questions):
            metrics |= _on_test(trial, data, writer, answer)
        place: Row = {"step": asked, "epoch": round(asked / len(questions), 6), "tokens": tokens}
        row: Row = place | {"evaluation": evaluation} | metrics | {"eval/seconds": time.monotonic() - began}
        progress = Progress(
            step=asked, epoch=round(asked / len(questions), 6), tokens=tokens, evaluation=evaluation,
            is_final=asked == len(questions),
        )  # fmt: skip
        samples = [
            {"prompt": one.prompt, "expected": one.expected, "generated": said}
            for one, said in zip(questions, answers.said, strict=False)
        ]
        report(
            TrialReport(
                progress=progress, metrics=metrics, rows=[row], samples=samples[:_SAMPLES_REPORTED],
                seconds=log.seconds, attempt=attempt, began_at=log.began_at,
            )
        )  # fmt: skip


def _on_test(
    trial: TrialConfig, data: PreparedData, writer: PromptWriter, answer: "_Labels | _Targets"
) -> dict[str, float]:
    """The same asked of the test split, as `test/...`."""
    answers = Answers()
    questions = _questions(trial, load_test_split(data), writer)
    for part in _parts(questions, -(-len(questions) // _QUESTIONS_AT_ONCE)):
        answer(part, answers)
    return {name_on_test(name): value for name, value in answers.metrics().items()}


def _questions(trial: TrialConfig, examples: "Dataset", writer: PromptWriter) -> list[Question]:
    """In an order that is drawn once for all trials: files may be sorted by label."""
    assert trial.prompt is not None
    number = len(examples)
    wanted = min(trial.prompt.max_examples or number, number)
    rows = examples.select(draw_indices(number, limit=wanted, seed=trial.data.splits.seed))
    return [
        Question(
            prompt=writer.write(row["text"]), text=row["text"], expected=writer.word(row["answer"]), label=row["labels"]
        )
        for row in rows.select_columns(["text", "answer", "labels"])
    ]


def _parts(questions: Sequence[Question], number: int) -> Iterator[Sequence[Question]]:
    """`number` parts of equal size, or of one question each where there are not so many."""
    number = min(number, len(questions))
    ends = [round(len(questions) * part / number) for part in range(number + 1)]
    for start, end in pairwise(ends):
        yield questions[start:end]


class _Labels:
    """Chooses the label whose word is the likeliest."""

    def __init__(self, trial: TrialConfig, data: PreparedData, model: Any, writer: PromptWriter) -> None:
        assert trial.prompt is not None
        words = [writer.gap + writer.word(name) for name in data.card.labels]
        self._scorer = LabelScorer(model, data.tokenizer, words, batch_size=_batch_size(trial))
        self._writer = writer
        self._calibrates = trial.prompt.calibrate
        self._blank: dict[str, Any] = {}
        self.longest = self._scorer.longest_word
        """Tokens of an answer."""

    def __call__(self, questions: Sequence[Question], answers: Answers) -> int:
        import numpy as np

        scores, num_tokens = self._scorer.scores([question.prompt for question in questions])
        if self._calibrates:
            scores = scores - self._bias(questions)
        log_normalizer = np.logaddexp.reduce(scores, axis=1, keepdims=True)
        answers.scores += (scores - log_normalizer).tolist()
        answers.labels += [question.label for question in questions]
        return num_tokens

    def _bias(self, questions: Sequence[Question]) -> Any:
        """What each label scores when there is nothing to judge, after the same shots as the question itself."""
        import numpy as np

        blanks = [
            [self._writer.write(blank, like=question.text) for blank in _WITHOUT_CONTENT] for question in questions
        ]
        new = sorted({prompt for prompts in blanks for prompt in prompts} - self._blank.keys())
        if new:
            for prompt, scores in zip(new, self._scorer.scores(new)[0], strict=True):
                self._blank[prompt] = scores - np.logaddexp.reduce(scores)
        means = [np.logaddexp.reduce([self._blank[prompt] for prompt in prompts], axis=0) for prompts in blanks]
        return np.asarray(means) - math.log(len(_WITHOUT_CONTENT))


class _Targets:
    """Lets the model write the answer."""

    def __init__(self, trial: TrialConfig, data: PreparedData, model: Any) -> None:
        assert trial.prompt is not None
        self._stop, self.longest = trial.prompt.stop, trial.data.max_target_length
        self._model, self._tokenizer, self._batch_size = model, data.tokenizer, _batch_size(trial)

    def __call__(self, questions: Sequence[Question], answers: Answers) -> int:
        ids = [prompt_ids(self._tokenizer, question.prompt) for question in questions]
        said = generate(self._model, self._tokenizer, ids, max_new_tokens=self.longest, batch_size=self._batch_size)
        answers.said += [(text.split(self._stop)[0] if self._stop else text).strip() for text in said]
        answers.expected += [question.expected for question in questions]
        return sum(map(len, ids))


def _batch_size(trial: TrialConfig) -> int:
    return int(trial.training.get("per_device_eval_batch_size", _DEFAULT_BATCH))
