"""The report that a search leaves behind when it ends. It may be missing; the search never is."""

import logging

from analysis.records import SearchFiles, SearchRecord

log = logging.getLogger(__name__)

MAX_TRIALS = 1000
"""Of a larger search `tunesmith report` writes it, when somebody wants it: it takes many seconds."""


def report_at_end(record: SearchRecord, files: SearchFiles) -> None:
    """Write report.html. Whatever goes wrong is logged, and no more: all that was measured is recorded already."""
    if len(record.trials) > MAX_TRIALS:
        files.report.unlink(missing_ok=True)  # one of an earlier session would tell of fewer trials
        return
    try:
        from analysis.report import write_report

        write_report(record, files.report)
    except Exception:
        log.warning("the report could not be written; `tunesmith report %s` tries again", files.path, exc_info=True)
