from analysis.lineage import Origin, lineage


def test_of_a_chain_of_retries_only_the_last_one_stands_for_itself() -> None:
    origins = {3: Origin(kind="retry", trial=0), 4: Origin(kind="retry", trial=3)}
    found = lineage(origins, completed=[1, 2, 4], lengthened_at=None)
    assert found.superseded == {0: 3, 3: 4}
    assert found.adopted == {3, 4}
    assert found.shortened == frozenset()


def test_what_goes_on_is_not_short_and_what_stays_behind_is() -> None:
    found = lineage({3: Origin(kind="extension", trial=0)}, completed=[0, 1, 2, 3], lengthened_at=3)
    assert found.shortened == {1, 2}


def test_evidence_of_another_search_stands_for_no_trial_of_this_one() -> None:
    found = lineage({0: Origin(kind="inherited", trial=7, search="/other")}, completed=[0], lengthened_at=None)
    assert (found.superseded, found.adopted) == ({}, {0})


def test_an_origin_survives_the_database() -> None:
    origin = Origin(kind="extension", trial=4, revision=1, seconds_before=12.5, energy_before_wh=0.5)
    assert Origin.from_attributes({"origin": origin.to_json()}) == origin
    assert Origin.from_attributes({}) is None
