"""The example of docs/pruning.md with a model of one's own runs as it is written."""

from __future__ import annotations

import re

import numpy as np
import torch
from places import ROOT

from aria_data.pruning import ScoreTable

GUIDE = ROOT / "docs" / "pruning.md"


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(20, 8)
        self.body = torch.nn.GRU(8, 8, batch_first=True)
        self.head = torch.nn.Linear(8, 20)


def test_the_example_with_ones_own_model_runs_as_it_is_written(tmp_path, monkeypatch):
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL) if "Mine" in block]
    torch.manual_seed(0)
    torch.save(Network(), tmp_path / "mine.pt")
    np.save(tmp_path / "tokens.npy", np.random.default_rng(0).integers(0, 20, (5, 11)))
    np.save(tmp_path / "owners.npy", np.array([0, 0, 1, 2, 2]))
    (tmp_path / "dataset" / "scores").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    table = ScoreTable.load(tmp_path / "dataset" / "scores" / "mine.parquet")
    assert table.ids == ("a.mid", "b.mid", "c.mid")
    assert set(table.columns) >= {"loss", "el2n", "grand_window", "effort"}
    assert all(np.isfinite(table.columns[name]).all() for name in ("loss", "el2n", "grand_window", "effort"))
