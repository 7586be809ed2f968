"""`foretell graphs` end to end: files, numbers, resume, saved models, bad input."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from foretell.cli import main
from foretell.run import check_metrics
from graphs.config import EvalConfig
from graphs.network import GraphNetwork

GENERATED = [
    "--data.kind", "generated", "--data.generator.num_nodes", "40",
    "--data.generator.num_steps", "24", "--data.generator.edges_per_step", "80",
    "--data.generator.migrating", "2",
]  # fmt: skip
TASKS = ["--trainer.max_epochs", "2", "--trainer.check_val_every_n_epoch", "1", "--quiet"]
SMALL = [
    "--model.hidden_dim", "6", "--head.hidden_dim", "6", "--negatives.mult", "5",
    "--trainer.max_epochs", "2", "--trainer.check_val_every_n_epoch", "1", "--quiet",
]  # fmt: skip


def edge_file(folder: Path) -> Path:
    """A user's own edge list: text ids, dates, classes; every day one pair changes."""
    rows = []
    for day in range(20):
        for k in range(6):
            u, v = f"n{k}", f"n{(k + 1 + day % 2) % 7}"
            rows.append((u, v, f"2024-01-{day + 1:02d}T12:00:00", "good" if k % 2 else "bad", k))
    path = folder / "edges.csv"
    pd.DataFrame(rows, columns=["from", "to", "when", "class", "size"]).to_csv(path, index=False)
    return path


def own(path: Path, *, label: bool = False) -> list[str]:
    flags = [
        "--data.path", str(path), "--data.kind", "edges", "--data.columns.source", "from",
        "--data.columns.target", "to", "--data.columns.time", "when",
    ]  # fmt: skip
    return flags + (["--data.columns.label", "class"] if label else [])


def run(*words: str) -> int:
    return main(["graphs", *words])


def metrics(folder: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((folder / "metrics.json").read_text())
    check_metrics(found)
    return found


@pytest.fixture(scope="module")
def links(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("links") / "run"
    flags = ["--structure.decays", "[0.5, 0.9]", "--eval.protocols", "[fixed, fixed_online]"]
    flags += ["--online.max_epochs", "2"]
    assert run("train", *GENERATED, *SMALL, *flags, "--out", str(out)) == 0
    return out


def test_train_writes_every_row_and_file(links: Path) -> None:
    found = metrics(links)
    who = {
        "evolvegcn_o", "decoder_only", "static_gcn", "gcn_gru", "persistence", "decayed_pairs",
        "pair_memory_seen", "pair_memory_count", "pair_memory_window",
    }  # fmt: skip
    for protocol in ("fixed", "fixed_online"):
        for name in who:
            for metric in ("map", "mrr", "mrr_one_vs_many"):
                assert 0 < found[f"test/{protocol}/{name}/{metric}/mean"] <= 1
                assert found[f"test/{protocol}/{name}/{metric}/n"] == 1
    assert found["val/evolvegcn_o/epochs"] == 2
    # what keeps learning is another model; what does not is the same in both
    same = [found[f"test/{p}/decayed_pairs/map/mean"] for p in ("fixed", "fixed_online")]
    assert same[0] == same[1]
    other = [found[f"test/{p}/evolvegcn_o/map/mean"] for p in ("fixed", "fixed_online")]
    assert other[0] != other[1]
    for name in (
        "config.yaml", "env.json", "metrics.csv", "steps.csv", "model/model.safetensors",
        "model/train.yaml", "model/README.md", "figures/training_curves.png",
        "figures/links_fixed.png", "figures/links_fixed_online.png",
        "compared/decoder_only/metrics.csv",
    ):  # fmt: skip
        assert (links / name).stat().st_size > 0, name


def test_evaluate_repeats_the_numbers_of_train(links: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    assert run("evaluate", "--model", str(links / "model"), "--out", str(out), "--quiet") == 0
    first, second = metrics(links), metrics(out)
    for metric in ("map", "mrr", "mrr_one_vs_many"):
        for who in ("evolvegcn_o", "decayed_pairs"):
            name = f"test/fixed/{who}/{metric}/mean"
            assert second[name] == first[name]


def test_predict_ranks_the_next_step(links: Path, tmp_path: Path) -> None:
    out = tmp_path / "next"
    words = ["predict", "--model", str(links / "model"), "--out", str(out), "--quiet"]
    assert run(*words, "--top", "30") == 0
    table = pd.read_csv(out / "predictions.csv")
    assert len(table) == 30 and list(table) == ["source", "target", "score", "met_before"]
    assert table.score.is_monotonic_decreasing
    assert not (table.source == table.target).any()
    assert not table.duplicated(["source", "target"]).any()
    new = tmp_path / "new"
    assert run(*words[:4], str(new), "--top", "30", "--known", "off", "--quiet") == 0
    unknown = pd.read_csv(new / "predictions.csv")
    assert not unknown.met_before.any()
    assert unknown.score.max() <= table.score.max()


@pytest.mark.parametrize("state", ["window", "carry"])
def test_a_killed_run_goes_on_exactly(
    state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped inside an epoch by SIGTERM's path, then --resume auto: the losses of one run."""
    words = ["train", *GENERATED, *SMALL, "--model.state", state, "--eval.trained_baselines", "[]"]
    words += ["--trainer.log_every_n_steps", "1", "--trainer.checkpoint_every_n_steps", "1"]
    if state == "window":
        words += ["--model.context", "3"]
    else:
        words += ["--model.tbptt", "4"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run(*words, "--out", str(whole)) == 0
    shutil.copytree(whole, cut)
    stops = sorted((cut / "checkpoints").glob("step_*.ckpt"))
    middle = stops[len(stops) // 2]  # neither the first nor the last epoch's end
    (cut / "checkpoints" / "last.ckpt").unlink()
    for later in stops[len(stops) // 2 + 1 :]:
        later.unlink()
    assert run(*words, "--out", str(cut), "--resume", str(middle)) == 0
    assert (cut / "metrics.json").read_text() == (whole / "metrics.json").read_text()

    def losses(folder: Path) -> list[float]:
        return pd.read_csv(folder / "metrics.csv")["train/loss"].dropna().tolist()

    assert losses(cut) == losses(whole)


def test_seeds_are_summarised(tmp_path: Path) -> None:
    words = ["train", *GENERATED, *SMALL, "--eval.trained_baselines", "[]", "--seeds", "2"]
    assert run(*words, "--out", str(tmp_path)) == 0
    found = metrics(tmp_path)
    assert found["test/fixed/evolvegcn_o/map/n"] == 2
    assert found["test/fixed/evolvegcn_o/map/std"] > 0
    assert found["test/fixed/decayed_pairs/map/std"] == 0


def test_live_update(tmp_path: Path) -> None:
    path = edge_file(tmp_path)
    words = ["train", *own(path), *SMALL, "--eval.protocols", "[live]", "--data.step_s", "172800"]
    words += ["--online.max_epochs", "2", "--eval.live_negatives", "4", "--negatives.mult", "2"]
    assert run(*words, "--eval.trained_baselines", "[static]", "--out", str(tmp_path / "o")) == 0
    found = metrics(tmp_path / "o")
    for who in ("evolvegcn_o", "static_gcn", "decayed_pairs", "pair_memory_seen"):
        assert 0 < found[f"test/live/{who}/mrr/mean"] <= 1
    assert not any(name.startswith("test/fixed/") for name in found)


def test_trials_on_validation_alone_do_not_look_at_the_test(tmp_path: Path) -> None:
    path = edge_file(tmp_path)
    table = pd.read_csv(path)
    after_validation = table["when"] > "2024-01-17"
    assert 0 < after_validation.sum() < len(table)
    table.loc[after_validation, "to"] = "n0"
    table.to_csv(tmp_path / "other.csv", index=False)
    flags = [*SMALL, "--eval.parts", "[val]", "--structure.decays", "[0.5]"]
    found = []
    for name in ("edges", "other"):
        out = tmp_path / name
        assert run("train", *own(tmp_path / f"{name}.csv"), *flags, "--out", str(out)) == 0
        found.append(metrics(out))
    assert found[0] == found[1]
    assert not any(name.startswith("test/") for name in found[0])
    assert {"val/fixed/evolvegcn_o/map", "val/fixed/decoder_only/map"} <= found[0].keys()
    with pytest.raises(ValueError, match=r"parts is \['val'\]"):
        EvalConfig(protocols=["live"], parts=["val"])


@pytest.mark.parametrize("case", ["weights", "sbm", "as733"])
def test_live_update_of_weights_and_of_numbered_steps(case: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [(k, u, v) for k in range(6) for u, v in rng.integers(0, 12, (30, 2)) if u != v]
    table = pd.DataFrame(rows, columns=["time", "source", "target"])
    words = ["--eval.protocols", "[live]", "--eval.trained_baselines", "[]", *SMALL]
    words += ["--online.max_epochs", "1", "--eval.live_negatives", "3", "--split.train_share", ".5"]
    words += ["--split.val_share", ".2"]
    if case == "as733":
        path = tmp_path / "as"
        path.mkdir()
        for step, of_step in table.groupby("time"):
            lines = [f"{u}\t{v}" for u, v in of_step[["source", "target"]].to_numpy()]
            text = "# one\n# two\n# three\n# four\n" + "\n".join(lines) + "\n"
            (path / f"as1997110{step + 1}.txt").write_text(text)
    else:
        path = tmp_path / "edges.csv"
        table["weight"] = 0.5 if case == "weights" else 1
        if case == "weights":
            table["time"] *= 700_000
            words += ["--data.columns.weight", "weight"]
        table[["source", "target", "weight", "time"]].to_csv(path, index=False)
    assert run("train", "--data.path", str(path), *words, "--out", str(tmp_path / "o")) == 0
    found = metrics(tmp_path / "o")
    rows_of = {name.split("/")[2] for name in found if name.endswith("/mrr/mean")}
    assert rows_of == {
        "evolvegcn_o", "persistence", "decayed_pairs", "pair_memory_seen", "pair_memory_count",
        "pair_memory_window",
    }  # fmt: skip


def test_a_run_that_stopped_early_stays_as_it_is(tmp_path: Path) -> None:
    words = ["train", *GENERATED, *SMALL, "--stop.patience", "1", "--trainer.max_epochs", "40"]
    words += ["--optim.lr", "0.05", "--eval.trained_baselines", "[static]"]
    assert run(*words, "--out", str(tmp_path)) == 0
    before, weights = metrics(tmp_path), (tmp_path / "model" / "model.safetensors").read_bytes()
    assert before["val/evolvegcn_o/epochs"] < 40
    assert run(*words, "--out", str(tmp_path), "--resume", "auto") == 0
    assert metrics(tmp_path) == before
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == weights
    # a path is the checkpoint of the network itself, not of those it is compared with
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert run(*words, "--out", str(tmp_path), "--resume", str(last)) == 0
    assert metrics(tmp_path) == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data.generator.seed", "7"], "has graph"),
        (["--model.activation", "tanh"], "has model.activation relu"),
        (["--split.train_share", "0.5"], "has split.train_share 0.7"),
        (["--optim.lr", "0.5"], "has optim.lr 0.001"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(
    flags: list[str], message: str, links: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", *GENERATED, *SMALL, "--features.max_degree", "3", "--eval.baselines", "off"]
    words += ["--eval.trained_baselines", "[]", "--eval.parts", "[val]", "--out", str(tmp_path)]
    assert run(*words) == 0
    assert run(*words, "--trainer.max_epochs", "3", *flags, "--resume", "auto") == 2
    assert message in capsys.readouterr().err
    assert run(*words, "--trainer.max_epochs", "3", "--resume", "auto") == 0


def test_a_validation_without_the_rare_class_has_no_threshold(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = pd.read_csv(edge_file(tmp_path))
    validation = table["when"].between("2024-01-14", "2024-01-17")
    table.loc[validation, "class"] = "good"
    table.loc[:5, "class"] = "good"  # makes bad the rarer one
    table.to_csv(tmp_path / "edges.csv", index=False)
    words = ["train", "--task", "edge", *own(tmp_path / "edges.csv", label=True), *TASKS]
    words += ["--model.hidden_dim", "4", "--eval.trained_baselines", "[]", "--stop.metric", "auto"]
    assert run(*words, "--out", str(tmp_path / "o")) == 0
    found = metrics(tmp_path / "o")
    assert "test/fixed/evolvegcn_o/minority_f1/mean" in found
    assert not any("val_threshold" in name for name in found)
    table.loc[table["when"] < "2024-01-17", "class"] = "good"
    table.to_csv(tmp_path / "edges.csv", index=False)
    assert run(*words, "--out", str(tmp_path / "p")) == 2


@pytest.mark.parametrize("version", ["o", "h"])
def test_edge_classes_of_a_users_own_file(version: str, tmp_path: Path) -> None:
    path = edge_file(tmp_path)
    words = ["train", "--task", "edge", *own(path, label=True), *SMALL[:4], *SMALL[6:]]
    words += ["--data.columns.attributes", "[size]", "--model.version", version]
    words += ["--structure.reputation", "on", "--out", str(tmp_path / "run")]
    assert run(*words) == 0
    found = metrics(tmp_path / "run")
    for who in (
        f"evolvegcn_{version}",
        "decoder_only",
        "majority",
        "degree_logistic",
        "reputation",
    ):
        assert f"test/fixed/{who}/minority_f1_val_threshold/mean" in found
    out = tmp_path / "classes"
    model = str(tmp_path / "run" / "model")
    assert run("predict", "--model", model, "--out", str(out), "--quiet") == 0
    table = pd.read_csv(out / "predictions.csv")
    assert list(table) == ["source", "target", "label", "p_0", "p_1"]
    assert set(table.source) <= {f"n{k}" for k in range(7)}
    assert GraphNetwork.from_pretrained(model).config.edge_columns == 1


def test_node_classes_of_generated_elliptic_files(tmp_path: Path) -> None:
    from graphs.data.generate import write_elliptic

    write_elliptic(tmp_path / "elliptic")
    words = ["train", "--config", "elliptic_node_o", "--data.path", str(tmp_path / "elliptic")]
    words += ["--model.hidden_dim", "6", "--head.hidden_dim", "6", *SMALL[6:]]
    assert run(*words, "--out", str(tmp_path / "run")) == 0
    found = metrics(tmp_path / "run")
    for who in ("evolvegcn_o", "static_gcn", "gcn_gru", "majority", "feature_logistic"):
        assert 0 <= found[f"test/fixed/{who}/auc/mean"] <= 1


@pytest.mark.parametrize("file", ["england_covid.json", "twitter_tennis_rg17.json"])
def test_node_regression_on_recorded_files(file: str, test_data: Path, tmp_path: Path) -> None:
    words = ["train", "--task", "regression", "--data.path", str(test_data / "graphs" / file)]
    words += ["--structure.lags", "3", "--eval.trained_baselines", "[]", *SMALL[:4], *SMALL[6:]]
    assert run(*words, "--out", str(tmp_path)) == 0
    found = metrics(tmp_path)
    assert found["test/fixed/last_value/mse/mean"] > 0
    # the forecast starts from the last value, so it cannot be far worse
    assert found["test/fixed/evolvegcn_o/mse/mean"] < 3 * found["test/fixed/last_value/mse/mean"]
    out = tmp_path / "next"
    assert run("predict", "--model", str(tmp_path / "model"), "--out", str(out), "--quiet") == 0
    assert list(pd.read_csv(out / "predictions.csv")) == ["node", "forecast", "value"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data.path", "nowhere.csv"], "nowhere.csv"),
        ([], "data.path is empty"),
        ([*GENERATED, "--task", "edge"], "no labelled edge"),
        ([*GENERATED, "--task", "regression"], "no value of a node"),
        ([*GENERATED, "--data.max_steps", "1"], "1 snapshot"),
        ([*GENERATED, "--features.kind", "columns"], "no columns of nodes"),
        ([*GENERATED, "--structure.lags", "2"], "lags has no effect with task link"),
        ([*GENERATED, "--structure.reputation", "on"], "needs labelled edges"),
        ([*GENERATED, "--head.class_weights", "[1, 2, 3]"], "3 weights for 2 classes"),
        ([*GENERATED, "--stop.metric", "auc"], "validation has val/map"),
        ([*GENERATED, "--negatives.past", "on"], "past needs structure.decays"),
        ([*GENERATED, "--data.generator.edges_per_step", "-5"], "must be at least 1"),
        ([*GENERATED, "--online.lr", "-1"], "lr must be positive"),
        ([*GENERATED, "--eval.parts", "[]"], "name val or test"),
        ([*GENERATED, "--trainer.check_val_every_n_epoch", "9"], "no validation in 2 epochs"),
        ([*GENERATED, "--config", "uci_link"], "did you mean"),
        ([*GENERATED, "--model.cel", "gru"], "did you mean"),
    ],
)
def test_bad_input_is_one_line(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = TASKS if "--task" in flags else SMALL
    assert run("train", *common, "--out", str(tmp_path / "o"), *flags) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    told = [line for line in errors if line.startswith("foretell: ")]
    assert len(told) == 1 and message in told[0]


def test_models_and_data_that_do_not_fit(
    links: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("evaluate", "--out", str(tmp_path / "a")) == 2
    assert "--model is empty" in capsys.readouterr().err
    assert run("predict", "--model", str(links), "--out", str(tmp_path / "b")) == 2
    assert "did you mean" in capsys.readouterr().err
    words = ["evaluate", "--model", str(links / "model"), "--data.directed", "on", "--quiet"]
    assert run(*words, "--out", str(tmp_path / "c")) == 2
    assert "has directed False" in capsys.readouterr().err


def test_predict_takes_unlabelled_edges_and_refuses_no_pairs(
    tmp_path: Path, links: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = edge_file(tmp_path)
    words = ["train", "--task", "edge", *own(path, label=True), *TASKS, "--model.hidden_dim", "4"]
    words += ["--structure.reputation", "on", "--eval.trained_baselines", "[]"]
    assert run(*words, "--out", str(tmp_path / "o")) == 0
    pd.read_csv(path).drop(columns="class").to_csv(tmp_path / "new.csv", index=False)
    predict = ["predict", "--model", str(tmp_path / "o" / "model"), *own(tmp_path / "new.csv")]
    assert run(*predict, "--data.columns.label", "null", "--out", str(tmp_path / "p")) == 0
    assert (pd.read_csv(tmp_path / "p" / "predictions.csv")["label"] == -1).all()
    model = str(links / "model")
    assert run("predict", "--model", model, "--top", "-1", "--out", str(tmp_path / "q")) == 2
    assert "top must be at least 1" in capsys.readouterr().err


def test_saved_model_is_the_trained_one(links: Path) -> None:
    one, two = (GraphNetwork.from_pretrained(links / "model") for _ in range(2))
    assert not one.training
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, two.state_dict()[name])
