import pytest

from lidar.evaluation.moving_gain import CONDITIONS, moving_gain


def run(**changed: float) -> dict[str, float]:
    """Copy-last scores 1 everywhere, the model 0.9 but for what is named (`/` as `__`)."""
    metrics = {}
    for where in CONDITIONS:
        rays, metric = where.split("/")
        metrics[f"forecast/copy_last/{rays}/0.5s/{metric}"] = 1.0
        value = changed.get(f"{rays}__{metric}", 0.9)
        metrics[f"forecast/model/{rays}/0.5s/{metric}"] = value
    return metrics


def verdict(*runs: dict[str, float]) -> bool:
    return moving_gain(runs, runs, horizon="0.5s").counts


def test_better_everywhere_counts() -> None:
    runs = [run(), run(), run()]
    judged = moving_gain(runs, runs, horizon="0.5s")
    assert judged.counts
    assert [c.slice for c in judged.comparisons] == list(CONDITIONS)
    assert judged.num_seeds == 3


@pytest.mark.parametrize("where", CONDITIONS)
def test_worse_anywhere_does_not(where: str) -> None:
    worse = {where.replace("/", "__"): 1.1}
    assert not verdict(run(**worse), run(**worse))


def test_static_rays_may_be_worse_within_the_spread() -> None:
    assert verdict(run(static__l1_m=0.9), run(static__l1_m=1.2))


@pytest.mark.parametrize("where", ["moving__l1_m", "moving__nfcd_m2"])
def test_a_gain_inside_the_spread_is_none(where: str) -> None:
    assert verdict(run(**{where: 0.85}), run(**{where: 0.9}))
    assert not verdict(run(**{where: 0.6}), run(**{where: 1.1}))


def test_the_spread_is_that_of_the_paired_difference() -> None:
    ours, rival = [run(moving__l1_m=v) for v in (0.5, 0.9)], [run(), run()]
    for metrics, level in zip(rival, (0.6, 1.0), strict=True):
        metrics["forecast/model/moving/0.5s/l1_m"] = level
    judged = moving_gain(ours, rival, horizon="0.5s", rival="model")
    moving = judged.comparisons[0]
    assert moving.spread == pytest.approx(0.0, abs=1e-12)
    assert moving.holds
    assert moving.rival == pytest.approx(0.8)


def test_copy_last_stands_for_its_best_variant() -> None:
    runs = [run(), run()]
    for metrics in runs:
        for where in CONDITIONS:
            rays, metric = where.split("/")
            metrics[f"forecast/copy_last_nearest_t0/{rays}/0.5s/{metric}"] = 0.8
    judged = moving_gain(runs, runs, horizon="0.5s")
    assert {comparison.rival for comparison in judged.comparisons} == {0.8}
    assert not judged.counts


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match="at least 2 runs"):
        verdict(run())
    with pytest.raises(ValueError, match="lack forecast/model/moving/1.0s/l1_m"):
        moving_gain([run(), run()], [run(), run()], horizon="1.0s")
