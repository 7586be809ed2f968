import json
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from foretell.errors import UserError
from foretell.model_folder import load_config, load_weights, save


@dataclass(frozen=True)
class LineConfig:
    width: int = 3
    gain: float = 1.0


class Line(nn.Module):
    def __init__(self, config: LineConfig) -> None:
        super().__init__()
        self.layer = nn.Linear(config.width, 2)
        self.tied = self.layer


class Curve(Line):
    pass


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    save(Line(LineConfig()), LineConfig(), tmp_path, "# A line")
    return tmp_path


def test_a_run_folder_names_the_model_inside(folder, tmp_path):
    run = tmp_path / "run"
    save(Line(LineConfig()), LineConfig(), run / "model", "# A line")
    with pytest.raises(UserError, match=r"no model in .*run: .*did you mean '.*run/model'"):
        load_config(LineConfig, run)


def test_round_trip(folder):
    torch.manual_seed(0)
    want = Line(LineConfig())
    model = Line(load_config(LineConfig, folder))
    report = load_weights(model, folder)
    assert report.complete and len(report.matched) == 4
    assert torch.equal(model.layer.weight, want.layer.weight)
    assert sorted(p.name for p in folder.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    assert (folder / "README.md").read_text() == "# A line\n"


def test_differing_keys_fail_unless_partial(folder):
    model = Line(LineConfig(width=5))
    model.extra = nn.Linear(1, 1)
    del model.tied
    with pytest.raises(UserError, match="1 matched, 2 missing .extra.bias.*1 shape changed"):
        load_weights(model, folder)
    report = load_weights(model, folder, partial=True)
    assert report.matched == ("layer.bias",)
    assert report.shape_changed == ("layer.weight",)
    assert report.unexpected == ("tied.bias", "tied.weight")


def test_another_architecture_is_one_line(folder):
    with pytest.raises(UserError, match="holds a Line, not a Curve"):
        load_weights(Curve(LineConfig()), folder, partial=True)


def test_missing_damaged_and_foreign_folders(folder, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(UserError, match="no model in"):
        load_config(LineConfig, empty)
    (empty / "config.json").write_text("{}")
    with pytest.raises(UserError, match="not a model's configuration"):
        load_config(LineConfig, empty)
    (folder / "model.safetensors").write_bytes(b"garbage")
    with pytest.raises(UserError, match="is damaged"):
        load_weights(Line(LineConfig()), folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="model.safetensors is missing"):
        load_weights(Line(LineConfig()), folder)


def test_migrations(folder):
    path = folder / "config.json"
    content = json.loads(path.read_text())
    content["config"] = {"breadth": 7}
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="unknown key 'breadth'"):
        load_config(LineConfig, folder)
    migrations = {
        1: lambda values: {"wide": values["breadth"]},
        2: lambda values: {"width": values["wide"]},
    }
    assert load_config(LineConfig, folder, format_version=3, migrations=migrations).width == 7
    with pytest.raises(UserError, match="cannot be migrated"):
        load_config(LineConfig, folder, format_version=4, migrations=migrations)
    content["format_version"] = 9
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="upgrade foretell"):
        load_config(LineConfig, folder)
