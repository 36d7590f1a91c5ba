"""What a job of a cluster says of its search."""

import pytest

from cluster.job_records import (
    JobState,
    SearchJob,
    check_submission,
    find_job,
    helper_metadata,
    metadata_of,
    next_id,
    search_job,
    state_of,
)
from spaces.errors import SpecError

URL = "http://head:8265"


def job(
    number: int = 1, *, search: str = "words", directory: str = "/shared/words", state: JobState = "running"
) -> SearchJob:
    return SearchJob(
        submission_id=f"tunesmith-{search}-{number}", search=search, directory=directory, command="run", user="ada",
        state=state, reason="", started_at=float(number),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("status", "exit_code", "state", "reason"),
    [
        ("PENDING", None, "waiting", "no node yet"),
        ("RUNNING", None, "running", ""),
        ("SUCCEEDED", 0, "finished", ""),
        ("FAILED", 130, "stopped", "--resume"),
        ("STOPPED", None, "stopped", "--resume"),
        ("FAILED", 2, "failed", "refused"),
        ("FAILED", 3, "failed", "no trial completed"),
        ("FAILED", 1, "failed", "exit code 1; the log says why"),
        ("FAILED", 127, "failed", "--python PATH"),
        ("FAILED", -9, "failed", "killed"),
        ("FAILED", 137, "failed", "killed"),
        ("FAILED", None, "failed", "no node yet"),
    ],
)
def test_a_search_that_was_stopped_is_told_from_one_that_broke(
    status: str, exit_code: int | None, state: str, reason: str
) -> None:
    found, why = state_of(status, exit_code=exit_code, message="no node yet\nmore")
    assert found == state
    assert reason in why
    assert "more" not in why


@pytest.mark.parametrize("exit_code", [2, 4])
def test_a_search_that_was_refused_is_listed_with_what_it_said_itself(exit_code: int) -> None:
    # as Ray words it: its own line, then the last ones of the log
    message = (
        f"Job entrypoint command failed with exit code {exit_code}, last available logs (truncated to 20,000 chars):\n"
        "starting on head\nerror: name: `/shared/words` exists already.\n"
    )
    assert state_of("FAILED", exit_code=exit_code, message=message) == (
        "failed", "name: `/shared/words` exists already."
    )  # fmt: skip


def test_what_is_stored_with_a_job_gives_its_search_back() -> None:
    details = {
        "submission_id": "tunesmith-words-1", "status": "RUNNING", "start_time": 5000, "end_time": None,
        "metadata": metadata_of(search="words", directory="/shared/words", command="resume"),
    }  # fmt: skip
    found = search_job(details)
    assert found is not None
    assert (found.search, found.directory, found.command, found.started_at) == ("words", "/shared/words", "resume", 5.0)


def test_other_jobs_and_helpers_are_no_searches() -> None:
    assert search_job({"submission_id": "raysubmit_1", "status": "RUNNING", "metadata": {"job_name": "words"}}) is None
    assert search_job({"submission_id": "x", "status": "RUNNING", "metadata": helper_metadata(job())}) is None
    assert search_job({"submission_id": None, "status": "RUNNING", "metadata": None}) is None


def test_ids_count_up_for_each_search_in_each_place() -> None:
    first = next_id("words", "/shared/words", [])
    assert next_id("words", "/shared/words", []) == first
    assert next_id("words", "/shared/words", [first]) == first.removesuffix("1") + "2"
    assert next_id("words", "/other/words", [first]).endswith("-1")
    # `words-2` is another search, and no second job of `words`
    assert next_id("words", "/shared/words", [next_id("words-2", "/shared/words-2", [])]) == first


@pytest.mark.parametrize("resumes", [True, False])
@pytest.mark.parametrize("state", ["waiting", "running"])
def test_a_search_that_runs_is_not_submitted_again(state: JobState, resumes: bool) -> None:
    with pytest.raises(
        SpecError, match=rf"`words` is {state} already as job tunesmith-words-1.*jobs stop words --address {URL}"
    ):
        check_submission([job(state=state)], search="words", directory="/shared/words/", resumes=resumes, address=URL)


@pytest.mark.parametrize("state", ["finished", "stopped"])
def test_a_search_that_has_ended_is_resumed_or_renamed(state: JobState) -> None:
    jobs = [job(state=state)]
    with pytest.raises(SpecError, match=rf"has {state}.*--resume.*--set name="):
        check_submission(jobs, search="words", directory="/shared/words", resumes=False, address=URL)
    check_submission(jobs, search="words", directory="/shared/words", resumes=True, address=URL)


def test_what_failed_or_lies_elsewhere_hinders_nobody() -> None:
    jobs = [job(state="failed"), job(2, directory="/other/words"), job(3, search="more")]
    check_submission(jobs, search="words", directory="/shared/words", resumes=False, address=URL)


def test_a_name_means_its_latest_job_and_an_active_one_first() -> None:
    jobs = [job(1, state="running"), job(2, state="failed"), job(3, search="more")]
    assert find_job(jobs, "words").submission_id == "tunesmith-words-1"
    assert find_job(jobs[1:], "words").submission_id == "tunesmith-words-2"
    assert find_job(jobs, "tunesmith-words-2").state == "failed"


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(SpecError, match=r"no job of a search `word`\. Did you mean `words`\?.*more, words"):
        find_job([job(), job(2, search="more")], "word")
    with pytest.raises(SpecError, match="No search was submitted there"):
        find_job([], "words")


def test_two_searches_of_one_name_are_told_apart_by_their_jobs() -> None:
    with pytest.raises(SpecError, match=r"several searches .* tunesmith-words-1 \(/shared/words\), tunesmith-words-2"):
        find_job([job(), job(2, directory="/other/words")], "words")


@pytest.mark.parametrize(
    ("status", "exit_code", "lost"),
    [("FAILED", -9, True), ("FAILED", 137, True), ("FAILED", None, True), ("FAILED", 3, False), ("FAILED", 130, False),
     ("RUNNING", None, False), ("SUCCEEDED", 0, False), ("STOPPED", None, False)],
)  # fmt: skip
def test_a_process_that_was_killed_is_lost_and_one_that_ended_itself_is_not(
    status: str, exit_code: int | None, lost: bool
) -> None:
    metadata = metadata_of(search="one", directory="/shared/one", command="run", user="ann")
    job = search_job(
        {"submission_id": "x", "status": status, "metadata": metadata, "driver_exit_code": exit_code}
    )  # fmt: skip
    assert job is not None
    assert (job.was_lost, job.user) == (lost, "ann")
