"""Where Tune places a trial. Starts no Ray."""

from cluster.resources import ResourcesConfig
from search.placing import kept_away, place_of

ONE, SEVERAL = ResourcesConfig(cpus_per_worker=2), ResourcesConfig(workers=3, gpus_per_worker=1)


def test_a_trial_that_keeps_away_from_nodes_asks_for_another_place_and_so_gets_no_process_that_waits_there() -> None:
    anywhere, elsewhere = place_of({}, ONE), place_of(kept_away({}, ["aa", "bb"]), ONE)
    assert anywhere != elsewhere
    assert elsewhere == place_of(kept_away({}, ["aa", "bb"]), ONE)
    assert hash(elsewhere) == hash(place_of(kept_away({}, ["aa", "bb"]), ONE))
    assert elsewhere._kwargs["bundle_label_selector"] == [{"ray.io/node-id": "!in(aa, bb)"}]


def test_where_there_is_nothing_to_keep_away_from_the_place_is_as_ever() -> None:
    assert place_of(kept_away({"order": "{}"}, []), ONE) == place_of({}, ONE)
    assert place_of({}, ONE).bundles == [{"CPU": 2.0}]


def test_every_worker_keeps_away_and_the_process_that_leads_them_takes_nothing() -> None:
    place = place_of(kept_away({}, ["aa"]), SEVERAL)
    assert place.head_bundle_is_empty
    assert place.bundles == [{"CPU": 1.0, "GPU": 1.0}] * 3
    assert place._kwargs["bundle_label_selector"] == [{"ray.io/node-id": "!in(aa)"}] * 3
