import pytest

from lidar.evaluation.moving_gain import moving_gain

SLICES = (
    "moving/l1_m", "static/l1_m", "static/l1_median_m", "all/l1_m", "all/l1_median_m",
    "all/nfcd_m2",
)  # fmt: skip


def run(**changed: float) -> dict[str, float]:
    """Copy-last scores 1 everywhere, the model 0.9 but for what is named (`/` as `__`)."""
    metrics = {}
    for where in SLICES:
        rays, metric = where.split("/")
        metrics[f"forecast/copy_last/{rays}/mean/{metric}"] = 1.0
        value = changed.get(f"{rays}__{metric}", 0.9)
        metrics[f"forecast/model/{rays}/mean/{metric}"] = value
    return metrics


def test_better_everywhere_counts() -> None:
    verdict = moving_gain([run(), run(), run()])
    assert verdict.counts
    assert [c.slice for c in verdict.comparisons] == list(SLICES)
    assert verdict.num_seeds == 3


@pytest.mark.parametrize("where", SLICES)
def test_worse_anywhere_does_not(where: str) -> None:
    worse = {where.replace("/", "__"): 1.1}
    assert not moving_gain([run(**worse), run(**worse)]).counts


def test_static_rays_may_be_worse_within_the_spread_but_moving_rays_may_not() -> None:
    assert moving_gain([run(static__l1_m=0.9), run(static__l1_m=1.2)]).counts
    assert not moving_gain([run(moving__l1_m=0.9), run(moving__l1_m=1.2)]).counts
    assert not moving_gain([run(all__nfcd_m2=0.9), run(all__nfcd_m2=1.2)]).counts


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match="at least 2 runs, got 1"):
        moving_gain([run()])
    with pytest.raises(ValueError, match="lack forecast/model/moving/0.5s/l1_m"):
        moving_gain([run(), run()], horizon="0.5s")
