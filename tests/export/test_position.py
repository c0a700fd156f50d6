"""The baked positions against what each model's owner computes on the fly."""

import math

import pytest
import torch
from edgead_export.position import bake_positions
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn


def official(pos_embed, h, w, *, offset, antialias, patch_size=14):
    """A transcription of ``DinoVisionTransformer.interpolate_pos_encoding`` (facebookresearch/dinov2)."""
    npatch = (h // patch_size) * (w // patch_size)
    n = pos_embed.shape[1] - 1
    if npatch == n and w == h:
        return pos_embed
    pos_embed = pos_embed.float()
    class_pos_embed, patch_pos_embed = pos_embed[:, 0], pos_embed[:, 1:]
    dim = pos_embed.shape[-1]
    w0, h0 = h // patch_size, w // patch_size  # its "w" is the tensor's third dimension: the rows
    m = int(math.sqrt(n))
    kwargs = {}
    if offset:
        kwargs["scale_factor"] = (float(w0 + offset) / m, float(h0 + offset) / m)
    else:
        kwargs["size"] = (w0, h0)
    patch_pos_embed = nn.functional.interpolate(
        patch_pos_embed.reshape(1, m, m, dim).permute(0, 3, 1, 2),
        mode="bicubic",
        antialias=antialias,
        **kwargs,
    )
    assert (w0, h0) == patch_pos_embed.shape[-2:]
    patch_pos_embed = patch_pos_embed.permute(0, 2, 3, 1).view(1, -1, dim)
    return torch.cat((class_pos_embed.unsqueeze(0), patch_pos_embed), dim=1)


@pytest.fixture(scope="module")
def positions():
    torch.manual_seed(3)
    return torch.randn(1, 37 * 37 + 1, 8)


OWNERS = {
    "offset": {"offset": 0.1, "antialias": False},
    "antialias": {"offset": 0.0, "antialias": True},
    "size": {"offset": 0.0, "antialias": False},
}


@pytest.mark.parametrize("rule", OWNERS)
@settings(max_examples=30, deadline=None)
@given(rows=st.integers(2, 80), columns=st.integers(2, 80))
def test_every_grid_is_what_the_owner_computes(positions, rule, rows, columns):
    expected = official(positions, rows * 14, columns * 14, **OWNERS[rule])[0, 1:]
    baked = bake_positions(positions[0, 1:], rule, (rows, columns))
    assert baked.shape == (rows * columns, 8)
    assert torch.equal(baked, expected)


@pytest.mark.parametrize("rule", OWNERS)
def test_the_native_grid_is_untouched(positions, rule):
    assert torch.equal(bake_positions(positions[0, 1:], rule, (37, 37)), positions[0, 1:])


def test_the_rules_differ(positions):
    baked = [bake_positions(positions[0, 1:], rule, (16, 16)) for rule in OWNERS]
    assert all((baked[i] - baked[j]).abs().max() > 0.05 for i, j in ((0, 1), (1, 2), (0, 2)))
