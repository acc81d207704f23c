"""One file with the weights and everything needed to use them: features, sizes, labels, provenance.

It is written by `torch.save` and read with `weights_only=True`, so that a file from a stranger runs no code.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from classifiers.features import FeatureConfig

FORMAT = "piano-classifier-1"
DEFAULT_PATH = Path(__file__).parent / "weights" / "piano_classifier.pt"


class CheckpointInvalid(ValueError):
    """The file is no checkpoint of this classifier, or its weights do not fit this version's network."""


@dataclass(frozen=True)
class Checkpoint:
    """The content of a file. `provenance`: training command, seed, data hashes, settings, soundfonts, accuracy."""

    features: FeatureConfig
    model: dict[str, Any]  # fields of ModelConfig, kept plain so that this module needs no torch
    causes: tuple[str, ...]
    weights: dict[str, Any]  # name -> tensor
    provenance: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""  # of the file, when loaded


def save(checkpoint: Checkpoint, path: Path) -> str:
    """Write the file, whole or not at all, and return its sha256. Tensors of two dimensions or more become float16."""
    import torch

    half = {name: tensor.half() if tensor.ndim >= 2 else tensor for name, tensor in checkpoint.weights.items()}
    content = {
        "format": FORMAT,
        "features": asdict(checkpoint.features),
        "model": checkpoint.model,
        "causes": list(checkpoint.causes),
        "weights": half,
        "provenance": checkpoint.provenance,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    torch.save(content, partial)
    os.replace(partial, path)
    return sha256_of(path)


def load(path: Path) -> Checkpoint:
    """Read a file that `save` wrote, with weights in float32. Raises `CheckpointInvalid` for any other."""
    import torch

    if not path.is_file():
        raise CheckpointInvalid(f"{path}: no such file. Train one with `python -m classifiers.train --out {path}`.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        found = content["format"]
    except Exception as error:
        reason = (str(error).splitlines() or ["the file is empty or cut off"])[0][:120]
        raise CheckpointInvalid(f"{path}: not a classifier checkpoint ({type(error).__name__}: {reason}).") from None
    if found != FORMAT:
        raise CheckpointInvalid(f"{path}: format {found!r}, but this version reads {FORMAT!r}. Train it again.")
    return Checkpoint(
        features=FeatureConfig(**content["features"]),
        model={key: tuple(value) if isinstance(value, list) else value for key, value in content["model"].items()},
        causes=tuple(content["causes"]),
        weights={
            name: tensor.float() if tensor.is_floating_point() else tensor
            for name, tensor in content["weights"].items()
        },
        provenance=content["provenance"],
        sha256=sha256_of(path),
    )


def sha256_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
