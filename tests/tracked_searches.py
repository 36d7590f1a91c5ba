"""Searches recorded without training whose trials the real client writes to W&B, and a fake server for them."""

import json
from typing import Any

from recorded_searches import Session

from analysis.own_runs import search_summary
from analysis.study_source import stored_study
from search.plan import Plan
from search.spec import WandbConfig
from search.tracker import RunFacts, SearchIdentity
from search.tracking import WandbTracker


class TrackedSession(Session):
    """A session whose trials are written to W&B, too."""

    def __init__(self, plan: Plan, *, mode: Any = "online", fingerprint: str = "0123456789abcdef") -> None:
        identity = SearchIdentity(name=plan.spec.name, fingerprint=fingerprint, directory=plan.files.path)
        tracking, facts = WandbConfig(mode=mode, project="demo"), RunFacts(provenance={"seed": 7})
        self.tracker = WandbTracker(tracking, identity, facts, init_timeout_seconds=60, finish_timeout_seconds=60)
        super().__init__(plan, tracker=self.tracker)
        self.tracker.start_search(json.loads(self.plan.spec.model_dump_json()), summary=self._summary())

    def close(self, *, interrupted: bool = False) -> None:
        """The session ends, and everything is sent."""
        self.tracker.end_search(self.record, self._summary())
        self.tracker.close(interrupted=interrupted)

    def _summary(self) -> dict[str, str]:
        return search_summary(stored_study(self.study, self.study.get_trials(deepcopy=False)))
