"""Takes secrets out of what is shown to others. Goes by names alone; knows no file format and no service."""

import re
from collections.abc import Mapping
from typing import Any

REDACTED = "[redacted]"

# `hub_token` and `api_key` are secrets; `max_tokens`, `tokenizer` and `bos_token_id` are not.
_SECRET_NAME = re.compile(
    r"(^|.*[_\-.])(token|api_?key|access_?key|private_?key|password|passwd|secret|secret_?key|credentials?)$",
    re.IGNORECASE,
)
# Special tokens of a tokenizer are text, not secrets.
_SPECIAL_TOKEN = re.compile(
    r"^(additional_special|begin|bos|boi|cls|decoder_start|end|eoi|eos|extra|image|mask|pad|sep|special|unk)_token$",
    re.IGNORECASE,
)


def redact(document: Mapping[str, Any]) -> dict[str, Any]:
    """A copy in which values under secret names are `[redacted]`, at any depth. Null and "" stay: nothing to hide."""
    return {
        key: REDACTED if is_secret_name(str(key)) and value not in (None, "") else _redacted(value)
        for key, value in document.items()
    }


def is_secret_name(name: str) -> bool:
    """Whether a value of this name should not be shown: `hub_token`, `password`, `training.hub_token`."""
    last = name.rpartition(".")[2]
    return _SECRET_NAME.match(last) is not None and _SPECIAL_TOKEN.match(last) is None


def _redacted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return redact(value)
    if isinstance(value, list | tuple):
        return [_redacted(item) for item in value]
    return value
