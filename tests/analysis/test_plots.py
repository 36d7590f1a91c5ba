"""Each figure shows what the record says, and says what it leaves out."""

import contextlib
from dataclasses import replace

import pytest
from planted_searches import linear_search, realistic_search, search_of

from analysis.plots import PLOTS, drawn
from analysis.plotting.progress import rungs_of
from analysis.plotting.several import hypervolumes
from analysis.plotting.style import NothingToPlot
from analysis.records import SearchRecord, TrialRecord
from analysis.worker_time import worker_time


@pytest.fixture(scope="module")
def search() -> SearchRecord:
    return realistic_search(trials=60)


def test_a_search_with_early_stopping_gets_all_figures_of_one_objective(search: SearchRecord) -> None:
    assert set(PLOTS) - set(drawn(search)) == {"pareto", "hypervolume", "folds"}


def test_folds_and_several_objectives_get_theirs() -> None:
    assert "folds" in drawn(realistic_search(trials=40, folds=5))
    assert {"pareto", "hypervolume"} <= drawn(realistic_search(trials=40, num_objectives=2)).keys()


@pytest.mark.parametrize("name", PLOTS)
def test_a_figure_says_why_there_is_none_of_a_search_without_trials(name: str) -> None:
    with pytest.raises(NothingToPlot, match=r"\.$"):
        PLOTS[name](search_of([]))


@pytest.mark.parametrize("name", PLOTS)
def test_a_figure_of_one_finished_trial_is_drawn_or_refused(name: str) -> None:
    trial = TrialRecord(number=0, state="COMPLETE", value=1.0, params={"a": 1}, intermediate={1: 1.0}, seconds=3.0)
    with contextlib.suppress(NothingToPlot):
        assert PLOTS[name](search_of([trial])).data


def test_the_best_is_marked_and_the_line_only_gets_better(search: SearchRecord) -> None:
    figure = PLOTS["incumbent"](search)
    line = next(trace for trace in figure.data if trace.name == "best so far")
    star = next(trace for trace in figure.data if trace.name == "best")
    assert list(line.y) == sorted(line.y, reverse=True)
    assert search.best is not None
    assert (star.x[0], star.y[0]) == (search.best.number, search.best.value)


def test_a_parameter_on_a_log_scale_has_a_log_axis(search: SearchRecord) -> None:
    figure = PLOTS["slices"](search)
    axes = {axis.title.text: axis.type for axis in figure.select_xaxes() if axis.title.text}
    assert axes.pop("learning_rate") == "log"
    assert axes == {"weight_decay": None, "num_hidden_layers": None, "lr_scheduler_type": "category"}


def test_failed_trials_are_seen_in_slices(search: SearchRecord) -> None:
    failed = next(trace for trace in PLOTS["slices"](search).data if trace.name == "failed")
    assert len(failed.x) == search.count("FAIL") > 0
    assert failed.marker.symbol == "x-thin"


def test_rungs_count_who_reached_them_and_who_was_stopped(search: SearchRecord) -> None:
    found = rungs_of(search)
    assert (found[0].at, found[-1].at) == (1, 8)
    assert found[0].reached == len(search.trials)
    assert sum(rung.stopped for rung in found) == search.count("PRUNED")
    assert found[-1].reached == search.count("COMPLETE")
    assert [rung.reached for rung in found[1:]] == [rung.reached - rung.stopped - rung.failed for rung in found[:-1]]


def test_idle_time_of_workers_is_summed() -> None:
    def ran(number: int, since: float, until: float, process: str) -> TrialRecord:
        clock = {"began_at": since, "ended_at": until, "process": process}
        return TrialRecord(number=number, state="COMPLETE", value=1.0, params={}, intermediate={1: 1.0}, clock=clock)

    record = search_of([ran(0, 100.0, 110.0, "a"), ran(1, 112.0, 120.0, "a"), ran(2, 100.0, 115.0, "b")])
    time = worker_time(record)
    assert time is not None
    assert (time.num_workers, time.span, time.busy, time.idle) == (2, 20.0, 33.0, 7.0)
    assert time.idle_share == pytest.approx(7 / 40)


def test_costs_are_told_by_state_without_what_another_search_spent(search: SearchRecord) -> None:
    figure = PLOTS["costs"](search)
    hours = {word: value for trace in figure.data[1:2] for word, value in zip(trace.x, trace.y, strict=True)}
    stopped = sum(trial.gpu_hours or 0.0 for trial in search.trials if trial.state == "PRUNED")
    assert hours["stopped early"] == pytest.approx(stopped)


def test_the_hypervolume_of_known_points_is_right() -> None:
    covered = hypervolumes([(0.0, 1.0), (1.0, 0.0), (0.5, 0.5)], [1.0, 1.0])
    assert covered == [(0, 0.0), (1, 0.0), (2, 0.25)]


def test_the_front_of_two_objectives_is_drawn_apart() -> None:
    record = realistic_search(trials=60, num_objectives=2)
    front = next(trace for trace in PLOTS["pareto"](record).data if trace.name == "front")
    assert list(front.x) == sorted(front.x)
    assert list(front.y) == sorted(front.y, reverse=True)


def test_a_large_search_is_thinned_out_and_says_so() -> None:
    record = linear_search({"a": 0.7, "b": 0.3}, trials=5000)
    figure = PLOTS["incumbent"](record)
    assert len(figure.data[0].x) == 2000
    assert "2,000 of 5,000" in figure.layout.title.text
    assert "trials are left out" in PLOTS["curves"](record).layout.title.text
    assert len(PLOTS["slices"](record).to_json()) < 2_000_000


def test_what_a_user_wrote_is_no_markup_in_a_figure() -> None:
    record = linear_search({"a": 0.7, "b": 0.3}, trials=12)
    bad = "<b onclick=x>lr</b>"
    trials = [replace(each, params={bad: each.params["a"]}) for each in record.trials]
    for figure in drawn(replace(record, trials=trials, metric=bad)).values():
        assert bad not in figure.to_json().replace("\\u003c", "<").replace("\\u003e", ">")


def test_figures_have_no_background_of_their_own(search: SearchRecord) -> None:
    for figure in drawn(search).values():
        assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"
