"""What a new search takes over from an earlier one: evidence where only the space differs, points elsewhere."""

from pathlib import Path
from typing import Any

import pytest
from recorded_searches import SPEC, Session, planned

from analysis.leaderboard import leaderboard
from search.inheritance import Inheritance, find_inheritance, write_inheritance
from search.ledger import WARM_POINTS
from search.plan import Plan
from spaces.errors import SpecError

XY = {"config.x": {"uniform": [0.0, 1.0]}, "config.y": {"int": [0, 3]}}


@pytest.fixture
def earlier(tmp_path: Path) -> Session:
    """Four trials: three finished, one stopped early."""
    session = Session(planned(tmp_path / "earlier"))
    for loss in (0.5, 0.2, 0.4):
        session.complete(loss)
    session.prune(0.9)
    return session


def _new(folder: Path, earlier: Session, *, how: dict[str, Any] | None = None, **sections: Any) -> Plan:
    warm = {"search": str(earlier.files.path), **(how or {})}
    search = {**SPEC["search"], "warm_start": [warm], **sections.pop("search", {})}
    # Both searches are about one function: it is named by its file.
    return planned(folder, trainable=earlier.plan.spec.trainable, search=search, **sections)


def _begun(plan: Plan) -> tuple[Session, Inheritance]:
    found = find_inheritance(plan)
    session = Session(plan)
    write_inheritance(found, session.study, plan.space, plan.files)
    return Session(plan), found


def test_in_a_narrower_space_the_trials_within_it_count_and_are_ranked(tmp_path: Path, earlier: Session) -> None:
    values = [trial.params["config.x"] for trial in earlier.record.trials]
    bound = sorted(values)[1] + 1e-9
    plan = _new(tmp_path / "new", earlier, space={"config.x": {"uniform": [0.0, bound]}})
    session, found = _begun(plan)
    within = [trial.number for trial in earlier.record.trials if trial.params["config.x"] <= bound]
    assert [each.trial.number for each in found.evidence] == within
    session.complete(0.9)
    record = session.record
    assert record.count("COMPLETE") == 1
    assert [trial.origin.trial for trial in record.trials if trial.origin is not None] == within
    assert len([entry for entry in leaderboard(record) if entry.rank]) == 1 + sum(
        earlier.record.trials[number].state == "COMPLETE" for number in within
    )


def test_evidence_can_be_run_again_and_inherited_again(tmp_path: Path, earlier: Session) -> None:
    session, found = _begun(_new(tmp_path / "new", earlier))
    document = session.files.trial(0).document.read_text()
    assert "number: 0" in document
    assert str(found.evidence[0].assignment["config.x"])[:6] in document
    assert len(session.files.trial(0).read_history()) == 4
    _, again = _begun(_new(tmp_path / "newer", session))
    assert [each.assignment for each in again.evidence] == [each.assignment for each in found.evidence]


def test_a_parameter_that_begins_to_vary_keeps_the_trials_that_had_its_old_value(
    tmp_path: Path, earlier: Session
) -> None:
    _, found = _begun(_new(tmp_path / "new", earlier, space=XY))
    assert [each.assignment["config.y"] for each in found.evidence] == [1, 1, 1, 1]
    assert found.points == []


def test_with_another_document_only_the_best_points_are_tried_first(tmp_path: Path, earlier: Session) -> None:
    plan = _new(tmp_path / "new", earlier, config={"x": 0.5, "y": 2, "length": 4}, how={"points": 2})
    session, found = _begun(plan)
    best = [earlier.record.trials[number].params for number in (1, 2)]
    assert (found.evidence, found.points) == ([], best)
    params = [session.next_params() for _ in range(3)]
    assert params[:2] == best
    assert params[2] not in best


def test_evidence_can_be_left_out(tmp_path: Path, earlier: Session) -> None:
    _, found = _begun(_new(tmp_path / "new", earlier, how={"evidence": False, "points": 1}))
    assert (found.evidence, found.points) == ([], [earlier.record.trials[1].params])


def test_what_counts_as_evidence_is_not_run_again_and_changes_no_seed(tmp_path: Path, earlier: Session) -> None:
    session, _ = _begun(_new(tmp_path / "new", earlier, search={"algorithm": "random", "seed": 7}))
    plain = Session(
        planned(tmp_path / "plain", trainable=earlier.plan.spec.trainable, search={**SPEC["search"], "seed": 7})
    )
    assert [session.next_params() for _ in range(3)] == [plain.next_params() for _ in range(3)]


def test_a_model_learns_from_the_evidence_at_once(tmp_path: Path, earlier: Session) -> None:
    grid = {"config.x": {"choice": [0.1, 0.2, 0.3]}}
    other = Session(planned(tmp_path / "grid", trainable=earlier.plan.spec.trainable, space=grid))
    other.complete(0.5)
    other.complete(0.4)
    plan = _new(tmp_path / "new", other, space=grid, search={"algorithm": "tpe"})
    begun, _ = _begun(plan)
    begun.complete(0.3)
    assert begun.recorder.ask() is None, "two of three points were known, and one was run"


def test_a_search_that_lies_elsewhere_by_now_still_goes_on(tmp_path: Path, earlier: Session) -> None:
    plan = _new(tmp_path / "new", earlier, config={"x": 0.5, "y": 2, "length": 4})
    session, found = _begun(plan)
    earlier.files.path.rename(tmp_path / "moved")
    again = Session(session.plan)
    assert again.study.user_attrs[WARM_POINTS] == found.points
    assert again.next_params() == found.points[0]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"search": {"metric": "accuracy", "mode": "max"}}, r"optimises loss \(min\), but this search"),
        ({"space": {"config.y": {"int": [0, 3]}}, "config": {"x": 0.9, "y": 2, "length": 4}}, "nothing of"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_key(
    tmp_path: Path, earlier: Session, sections: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError, match=message) as refused:
        find_inheritance(_new(tmp_path / "new", earlier, **sections))
    assert refused.value.path == "search.warm_start.0"


def test_a_folder_that_is_no_search_is_refused(tmp_path: Path, earlier: Session) -> None:
    with pytest.raises(SpecError, match="is no search"):
        find_inheritance(_new(tmp_path / "new", earlier, how={"search": str(tmp_path)}))
