"""Whether a search has nothing left to do, as the session that ended it has noted: so it is known without a Ray, and
without its data. Knows neither trials nor budgets.
"""

import hashlib

import optuna

from analysis.records import SearchFiles

_ENDED = "ended_with_spec"
"""Attribute of the study: the digest of the spec that was carried out to its end."""


def note_end(study: optuna.Study, files: SearchFiles) -> None:
    """All that the spec asks for is done, and summarised."""
    study.set_user_attr(_ENDED, _digest(files))


def forget_end(study: optuna.Study) -> None:
    """Another session begins, and whether it comes to an end is not known."""
    if study.user_attrs.get(_ENDED) is not None:
        study.set_user_attr(_ENDED, None)


def has_ended(study: optuna.Study, files: SearchFiles) -> bool:
    """Whether the end was noted, and nothing was asked for since: a retry, an extension, or a change by hand."""
    return study.user_attrs.get(_ENDED) == _digest(files)


def _digest(files: SearchFiles) -> str:
    return hashlib.sha256(files.spec.read_bytes()).hexdigest()
