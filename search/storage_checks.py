"""What does not go together with where a search is kept. Opens nothing."""

from search.spec import SearchSpec
from spaces.errors import SpecError
from spaces.store import is_store


def check_storage(spec: SearchSpec) -> None:
    """Refuse what an object store cannot hold yet.

    Raises:
        SpecError: at `storage.path`.
    """
    validation = spec.search.cross_validation
    if is_store(spec.storage.path) and validation is not None and validation.outer_folds is not None:
        raise SpecError(
            f"a nested cross-validation is several searches in one folder: keep it in a folder that all nodes see, "
            f"not in `{spec.storage.path}`.",
            path="storage.path",
        )
