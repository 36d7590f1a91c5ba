"""What a search says it is: spec.yaml with all defaults and a fingerprint, and what its study says of itself."""

import hashlib
import json
import secrets
from datetime import UTC, datetime
from typing import Any

from analysis.kept import kept_in
from analysis.records import SearchFiles, replace_text
from search.load import RECORDED, load_spec
from search.plan import Plan, make_plan
from search.provenance import provenance
from search.spec import SearchSpec
from search.tracker import SearchIdentity
from search.yaml_text import parse_yaml, to_yaml
from spaces.documents import get_path, has_path
from spaces.errors import SpecError


def write_spec(plan: Plan) -> SearchIdentity:
    """spec.yaml: the spec with defaults filled in, which is a spec again, and what identifies this search."""
    resolved = resolved_spec(plan.spec)
    # The same spec run twice is two searches: without the random part their W&B runs would share ids.
    fingerprint = fingerprint_of(plan.spec)[:8] + secrets.token_hex(2)
    recorded = {
        "fingerprint": fingerprint,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **provenance(),
        **({"preset": plan.preset.name} if plan.preset is not None else {}),
    }
    replace_text(plan.files.spec, to_yaml({**resolved, RECORDED: recorded}))
    return _identity(plan, fingerprint)


def recorded_plan(files: SearchFiles) -> tuple[Plan, SearchIdentity]:
    """The plan of an existing search and its identity, wherever its folder lies now."""
    loaded = load_spec(files.spec, overrides=[f"storage={json.dumps(kept_in(files))}"])
    recorded = parse_yaml(files.spec.read_text("utf-8"))[0][RECORDED]
    plan = make_plan(loaded)
    if plan.files.path != files.path:
        raise SpecError(f"the folder of search `{plan.spec.name}` was renamed to `{files.path.name}`: name it back.")
    return plan, _identity(plan, recorded["fingerprint"])


def _identity(plan: Plan, fingerprint: str) -> SearchIdentity:
    confirmed = plan.spec.confirmation
    return SearchIdentity(
        name=plan.spec.name,
        fingerprint=confirmed.fingerprint if confirmed else fingerprint,
        directory=plan.files.path,
        confirmed_search=confirmed.search if confirmed else None,
    )


def resolved_spec(spec: SearchSpec) -> dict[str, Any]:
    """The spec with every default filled in, as plain values."""
    resolved: dict[str, Any] = spec.model_dump(mode="json", exclude_none=True)
    resolved["space"] = spec.space  # as written: null has a meaning there
    return {name: value for name, value in resolved.items() if value not in ({}, [], ())}


def fingerprint_of(spec: SearchSpec) -> str:
    """Equal for specs that mean the same search."""
    text = json.dumps(resolved_spec(spec) | {"storage": None}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def study_attributes(plan: Plan) -> dict[str, Any]:
    """What the study keeps of the plan, for whoever has the study and not the spec."""
    folds = plan.spec.search.folds
    repeated = {
        "trainings": len(folds.runs), "fold_kind": folds.kind, "divisions": folds.divisions,
        "test_share": folds.test_share,
    } if folds else {}  # fmt: skip
    return {
        "num_trials": plan.num_trials,
        "step_unit": plan.step_unit,
        "gpus_per_trial": plan.spec.resources.workers * plan.spec.resources.gpus_per_worker,
        "currency": plan.spec.resources.currency,
        "seed": plan.spec.search.seed,
        "folds": repeated,
        "yardstick": _yardstick(plan.spec),
        "defaults": {path: get_path(plan.document, path) for path in plan.space.paths if has_path(plan.document, path)},
    }


def _yardstick(spec: SearchSpec) -> dict[str, Any]:
    """What values are measured with: searches that have it in common compare."""
    document = spec.model_dump(mode="json", exclude_none=True)
    folds = document["search"].get("cross_validation")
    return {name: document[name] for name in ("task", "trainable", "data") if name in document} | (
        {"folds": folds} if folds else {}
    )
