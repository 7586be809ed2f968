"""T6: no window crosses a log, a cut or a gap; their number equals brute force."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foretell.config import from_dict
from foretell.errors import UserError
from foretell.presets import read_config
from lidar.config import DataConfig, PretrainConfig, forecast_horizons_s
from lidar.data.windows import find_windows, windows_of


def brute_force(times_s, is_key, horizons_s, tolerance_s, max_gap_s):
    found = []
    for i in range(len(times_s)):
        if not is_key[i]:
            continue
        frames, previous, previous_s = [], i, 0
        for horizon in horizons_s:
            best = min(
                (j for j in range(len(times_s)) if is_key[j]),
                key=lambda j: (abs(times_s[j] - times_s[i] - horizon), j),
            )
            off = abs(times_s[best] - times_s[i] - horizon)
            gap_off = abs(times_s[best] - times_s[previous] - (horizon - previous_s))
            pauses = [times_s[j + 1] - times_s[j] for j in range(min(i, best), max(i, best))]
            if max(off, gap_off) > tolerance_s or best <= previous:
                break
            if any(p > max_gap_s for p in pauses):
                break
            frames.append(best)
            previous, previous_s = best, horizon
        else:
            found.append((i, tuple(frames)))
    return found


@given(
    st.lists(st.integers(20, 900), min_size=1, max_size=40),
    st.lists(st.booleans(), min_size=41, max_size=41),
    st.sampled_from([[0.5], [0.5, 1.0], [0.1, 0.2, 0.7], [0.03, 0.05]]),
    st.booleans(),
)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_windows_equal_brute_force(log_of_times, gaps_ms, keys, horizons_s, key_frames_only):
    times_ms = np.concatenate([[0], np.cumsum(gaps_ms)])
    is_key = np.array(keys[: len(times_ms)])
    log = log_of_times(times_ms / 1000, is_key)
    windows = find_windows(
        log, horizons_s, gap_tol_s=0.05, max_gap_s=0.5, key_frames_only=key_frames_only
    )
    usable = is_key if key_frames_only else np.ones(len(times_ms), bool)
    expected = brute_force(times_ms, usable, [round(1000 * h) for h in horizons_s], 50, 500)
    assert [(w.t0, w.frames) for w in windows] == expected
    for window in windows:
        between = np.diff(times_ms[window.earliest : max(window.all_frames) + 1])
        assert (between <= 500).all()
        assert (
            window.earliest == 0 or times_ms[window.earliest] - times_ms[window.earliest - 1] > 500
        )


def test_regular_log(log_of_times):
    windows = find_windows(log_of_times(np.arange(48) / 10), [0.5, 1.0])
    assert len(windows) == 38 and windows[0].frames == (5, 10) and windows[-1].t0 == 37
    assert windows[3].name == "log/000003"
    assert len(find_windows(log_of_times(np.arange(48) / 10), [0.5, 1.0], stride=4)) == 10


def test_each_gap_between_frames_keeps_the_tolerance(log_of_times):
    """Both horizons are met within 0.04 s, but the step between them is 0.08 s too short."""
    log = log_of_times([0.0, 0.54, 0.96])
    assert [w.t0 for w in find_windows(log, [0.5])] == [0]
    assert find_windows(log, [0.5, 1.0]) == []
    assert len(find_windows(log, [0.5, 1.0], gap_tol_s=0.09)) == 1


def test_no_window_crosses_a_cut(log_of_times):
    log = log_of_times(np.arange(48) / 10)
    parts = log.cut(0, 36), log.cut(36, 48)
    first, second = (find_windows(part, [0.5]) for part in parts)
    assert len(first) == 31 and len(second) == 7
    assert second[0].name == "log/000036" and second[0].frames == (5,)
    assert max(max(w.all_frames) for w in first) == 35


def test_windows_skip_a_gap_and_history_stops_at_it(log_of_times):
    times = np.concatenate([np.arange(10) / 10, 5 + np.arange(10) / 10])
    windows = find_windows(log_of_times(times), [0.5])
    assert [w.t0 for w in windows] == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]
    assert {w.earliest for w in windows[5:]} == {10}


def test_without_horizons_every_sweep_is_a_window(log_of_times):
    assert [w.frames for w in find_windows(log_of_times([0.0, 0.1]), [])] == [(), ()]


def test_the_kitti_preset_fits_the_real_sweep_rate(log_of_times):
    """KITTI odometry's sweeps are 0.10374 s apart: ten of them are 37 ms more than a second."""
    config = from_dict(PretrainConfig, read_config("trend_kitti", "lidar")[0])
    log = log_of_times(np.arange(48) * 0.1037359)
    windows = windows_of([log], config.data, forecast_horizons_s(config))
    assert len(windows) == 38 and windows[0].frames == (1, 3, 5, 10)


def test_no_window_left_says_so(log_of_times):
    config = DataConfig(kind="kitti", root="drive")
    with pytest.raises(UserError, match=r"no forecasting window in 1 log\(s\) \(log\) of drive: .*"
                                        r"lasts 0.40 s, the horizons are 0.5, 1 s"):  # fmt: skip
        windows_of([log_of_times(np.arange(5) / 10)], config, [0.5, 1.0])
    with pytest.raises(UserError, match=r"Missing under drive: sequence 11: no poses$"):
        windows_of([], config, [0.5], left_out="sequence 11: no poses")
    with pytest.raises(UserError, match=r"none selected"):
        windows_of([], config, [0.5])
    with pytest.raises(UserError, match=r"positive and rising, got \[1.0, 0.5\]"):
        find_windows(log_of_times([0.0, 1.0]), [1.0, 0.5])
