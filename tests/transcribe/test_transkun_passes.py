"""What lies between the products of transkun's network, beside torch's own functions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from aria_data.transcribe.backends import transkun_passes
from aria_data.transcribe.backends.transkun_scores import RANK, _shorter


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32))


def error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours.float() - theirs.float()).norm() / theirs.float().norm())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_are_normalised_as_torch_does(dtype):
    values = numbers(3, 149, 256)[:, 59:] * 30  # not contiguous, as the rows of some tokens are not
    theirs = torch.nn.functional.rms_norm(values, (256,), eps=1e-6).to(dtype)
    ours = transkun_passes.normalised(values, dtype)
    assert ours.dtype == dtype
    assert ours.shape == values.shape
    assert error(ours, theirs) < (1e-6 if dtype == torch.float32 else 1e-3)


def test_bfloat16_is_rounded_to_the_nearest_and_halves_to_even():
    values = torch.cat([numbers(63, 256) * 1e3, torch.full((1, 256), 1.00390625)])  # half way between two
    values[-1, ::2] = 1.01171875  # the same, with the odd one below
    exact = transkun_passes.normalised(values, torch.float32)
    assert torch.equal(transkun_passes.normalised(values, torch.bfloat16), exact.bfloat16())


def test_bfloat16_is_added_in_place():
    stream, values = numbers(4, 9, 256), numbers(4, 9, 256, seed=1).bfloat16()
    wanted = stream + values
    assert torch.equal(transkun_passes.add(stream, values), wanted)
    assert torch.equal(stream, wanted)


@pytest.mark.parametrize("num_keys", [149, 160])
def test_attention_is_that_of_torch_and_padding_gets_no_weight(num_keys):
    query, keys_values = (numbers(4, 33, 256) * 2).bfloat16(), numbers(4, 160, 512, seed=1).bfloat16()
    keys_values[:, num_keys:, 256:] = 100.0  # what is padding would be seen
    sides = query, *keys_values[:, :num_keys].chunk(2, dim=-1)
    query_, key, value = (side.float().unflatten(-1, (8, -1)).transpose(1, 2) for side in sides)
    theirs = torch.nn.functional.scaled_dot_product_attention(query_, key, value).transpose(1, 2).flatten(2)
    ours = transkun_passes.attention(query, keys_values, num_keys, 8)
    assert ours.shape == (4, 33, 256)
    assert error(ours, theirs) < 0.01


def test_a_key_counts_as_often_as_it_is_said_to():
    query, keys_values = (numbers(2, 9, 256) * 2).bfloat16(), numbers(2, 32, 512, seed=1).bfloat16()
    counts = torch.ones(20)
    counts[7] = 3.0
    several = torch.cat([keys_values[:, :20], keys_values[:, 7:8], keys_values[:, 7:8], keys_values[:, 22:]], dim=1)
    ours = transkun_passes.attention(query, keys_values, 20, 8, counts)
    assert error(ours, transkun_passes.attention(query, several, 22, 8)) < 0.01


def test_attention_of_what_is_no_number_is_none_either():
    query, keys_values = numbers(1, 4, 256).bfloat16(), numbers(1, 32, 512).bfloat16()
    query[0, 2] = math.nan
    found = transkun_passes.attention(query, keys_values, 32, 8)
    assert torch.isfinite(found[0, [0, 1, 3]]).all()


def test_two_vectors_are_shortened_so_that_their_product_stays():
    mixing = numbers(256, RANK - 20).double()  # what both depend on has fewer dimensions than they
    left, right = (torch.einsum("wk,fki->fwi", mixing, numbers(8, RANK - 20, 256, seed=n).double()) for n in (1, 2))
    to_left, to_right = _shorter(left, right)
    x, y = numbers(256, 7, seed=3).double(), numbers(256, 7, seed=4).double()
    whole = (left[2] @ x).T @ (right[5] @ y)
    assert error((to_left @ left[2] @ x).T @ (to_right @ right[5] @ y), whole) < 1e-4
