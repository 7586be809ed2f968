"""Settings that would train nothing, or not what they name, are refused at once."""

import pytest

from lidar.config import (
    CurriculumConfig,
    DataConfig,
    MaskConfig,
    PretrainConfig,
    RaysConfig,
    RecConfig,
    RenderConfig,
)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"rays": RaysConfig(only_masked=True), "mask": MaskConfig("none")}, "rays.only_masked"),
        ({"rays": RaysConfig(n=0)}, "rays.n must be at least 1"),
        ({"render": RenderConfig(n_uniform=1)}, "render.n_uniform 2"),
        ({"curriculum": CurriculumConfig(p=-0.5)}, "curriculum.p must lie in"),
        ({"curriculum": CurriculumConfig(p=2.0)}, "curriculum.p must lie in"),
        (
            {"rec": RecConfig(action="shuffled"), "data": DataConfig(batch_size=1)},
            "rec.action shuffled .* data.batch_size must be at least 2, got 1",
        ),
    ],
)
def test_settings_that_contradict_each_other(parts, message):
    with pytest.raises(ValueError, match=message):
        PretrainConfig(**parts)


def test_their_neighbours_are_fine():
    PretrainConfig(rays=RaysConfig(only_masked=True, n=1), render=RenderConfig(n_importance=0))
    PretrainConfig(rec=RecConfig(action="shuffled"), curriculum=CurriculumConfig(p=1.0))
