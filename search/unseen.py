"""Whether a search has a test split that it never saw. Reads specs and small files only."""

from search.plan import Plan
from spaces.errors import SpecError
from trainables.config import DataConfig, FilesSource, HubSource, SplitFiles

_ADVICE = (
    "A test split must be held out before a search begins: set `data.splits.test: 0.1`, or name files for it "
    "(`data.source.files.test`), and run a new search."
)


def check_test_split(plan: Plan) -> None:
    """Raise SpecError, with what to do, where there is nothing to confirm on."""
    spec = plan.spec
    if spec.trainable is not None:
        if "measure_test" not in spec.config:
            raise SpecError(
                "the data of a `trainable` is not ours to divide. Give it `config.measure_test: false`; where it is "
                f"true, let the function report `test/{spec.metric}` beside `{spec.metric}` at its end, measured on "
                "data that it uses for nothing else. Then run the search, and confirm it.",
                path="config.measure_test",
            )
        return
    assert spec.data is not None, "a task has data"
    if not _may_have_test(spec.data):
        raise SpecError(
            f"this search held nothing out: its trials saw every document. {_ADVICE}", path="data.splits.test"
        )
    card = plan.cached_data()
    if card is not None and not card.examples.get("test"):
        raise SpecError(f"the prepared data has no test split. {_ADVICE}", path="data.splits.test")


def _may_have_test(data: DataConfig) -> bool:
    if data.splits.test > 0 or data.splits.test_fold is not None:
        return True
    return any(
        isinstance(source, HubSource)
        or (isinstance(source, FilesSource) and isinstance(source.files, SplitFiles) and source.files.test is not None)
        for source in data.sources
    )
