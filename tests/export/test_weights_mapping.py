"""Every naming, written from the hub's names by rules of the test's own, comes back identical."""

import re

import pytest
import torch
from edgead_export.backbones import BACKBONES
from edgead_export.errors import WeightsError
from edgead_export.weights.identify import to_backbone_names


def renamed(state, rules):
    result = {}
    for name, value in state.items():
        new = name
        for pattern, replacement in rules:
            new = re.sub(pattern, replacement, new)
        result[new] = value
    return result


def fuse(state, parts, fused):
    """Put query, key and value together, as everyone but Hugging Face stores them."""
    result = dict(state)
    for name in state:
        if parts[0] in name:
            pieces = [result.pop(name.replace(parts[0], part)) for part in parts]
            result[name.replace(parts[0], fused)] = torch.cat(pieces)
    return result


def as_official_dinov2(state):
    parts = [f".attention.attention.{part}." for part in ("query", "key", "value")]
    return renamed(
        fuse(state, parts, ".attn.qkv."),
        [
            (r"^encoder\.layer\.", "blocks."),
            (r"attention\.output\.dense", "attn.proj"),
            (r"layer_scale(\d)\.lambda1", r"ls\1.gamma"),
            (r"^embeddings\.patch_embeddings\.projection", "patch_embed.proj"),
            (r"^embeddings\.position_embeddings", "pos_embed"),
            (r"^embeddings\.", ""),
            (r"^layernorm", "norm"),
            (r"mlp\.weights_in", "mlp.w12"),
            (r"mlp\.weights_out", "mlp.w3"),
        ],
    )


def as_timm_dinov2(state):
    official = as_official_dinov2(state)
    del official["mask_token"]
    timm = renamed(
        official, [(r"mlp\.w12", "mlp.fc1"), (r"mlp\.w3", "mlp.fc2"), ("^register_tokens", "reg_token")]
    )
    if "reg_token" in timm:
        # no_embed_class: timm adds the CLS token's position to the token when it converts a checkpoint.
        timm["cls_token"] = timm["cls_token"] + timm["pos_embed"][:, :1]
        timm["pos_embed"] = timm["pos_embed"][:, 1:]
    return timm


def as_timm_clip(state):
    parts = [f".self_attn.{part}_proj." for part in "qkv"]
    timm = renamed(
        fuse(state, parts, ".attn.qkv."),
        [
            (r"^vision_model\.", ""),
            (r"^encoder\.layers\.", "blocks."),
            (r"self_attn\.out_proj", "attn.proj"),
            (r"layer_norm(\d)", r"norm\1"),
            (r"^embeddings\.class_embedding", "cls_token"),
            (r"^embeddings\.position_embedding\.weight", "pos_embed"),
            (r"^embeddings\.patch_embedding", "patch_embed.proj"),
            (r"^pre_layrnorm", "norm_pre"),
            (r"^post_layernorm", "norm"),
        ],
    )
    timm["cls_token"] = timm["cls_token"][None, None]
    timm["pos_embed"] = timm["pos_embed"][None]
    return timm | {"head.weight": torch.zeros(8, 32)}


def as_open_clip(state):
    parts = [f".self_attn.{part}_proj." for part in "qkv"]
    visual = renamed(
        fuse(state, parts, ".attn.in_proj_."),
        [
            (r"in_proj_\.", "in_proj_"),
            (r"^vision_model\.", ""),
            (r"^encoder\.layers\.", "transformer.resblocks."),
            (r"self_attn\.out_proj", "attn.out_proj"),
            (r"layer_norm(\d)", r"ln_\1"),
            (r"mlp\.fc1", "mlp.c_fc"),
            (r"mlp\.fc2", "mlp.c_proj"),
            (r"^embeddings\.class_embedding", "class_embedding"),
            (r"^embeddings\.position_embedding\.weight", "positional_embedding"),
            (r"^embeddings\.patch_embedding", "conv1"),
            (r"^pre_layrnorm", "ln_pre"),
            (r"^post_layernorm", "ln_post"),
        ],
    )
    return visual | {"proj": torch.zeros(32, 8)}


def as_whole_open_clip(state):
    """With the text tower, which has blocks and positions of the same names, without ``visual.``."""
    visual = as_open_clip(state)
    text = {name: torch.zeros(3) for name in visual if name.startswith("transformer.")}
    text |= {"positional_embedding": torch.zeros(77, 8), "token_embedding.weight": torch.zeros(9, 8)}
    text |= {
        "logit_scale": torch.zeros(()),
        "ln_final.weight": torch.zeros(8),
        "text_projection": torch.zeros(8, 8),
    }
    return text | {f"visual.{name}": value for name, value in visual.items()}


def as_whole_hf_clip(state):
    text = {name.replace("vision_model.", "text_model."): torch.zeros(3) for name in state}
    text |= {"logit_scale": torch.zeros(()), "visual_projection.weight": torch.zeros(8, 32)}
    return state | text | {"vision_model.embeddings.position_ids": torch.arange(17)[None]}


def with_prefix(prefix):
    return lambda state: (
        {prefix + name: value for name, value in state.items()} | {"classifier.bias": torch.zeros(3)}
    )


def as_chunked_official(state):
    """Training checkpoints: blocks 0 and 1 in the first chunk, 2 in the second."""
    return {
        re.sub(r"^blocks\.(\d)\.", lambda match: f"blocks.{int(match[1]) // 2}.{match[1]}.", name): value
        for name, value in as_official_dinov2(state).items()
    }


DINOV2 = ("dinov2_s", "dinov2_g", "dinov2_s_reg", "dinov2_g_reg")
CASES = [
    *((name, convert) for name in DINOV2 for convert in (dict, as_official_dinov2, as_timm_dinov2)),
    ("dinov2_s", as_chunked_official),
    ("dinov2_s", with_prefix("dinov2.")),
    ("dinov2_s_reg", with_prefix("dinov2_with_registers.")),
    *(("clip_b16", f) for f in (dict, as_timm_clip, as_open_clip, as_whole_open_clip, as_whole_hf_clip)),
]


@pytest.mark.parametrize(("name", "convert"), CASES)
def test_a_round_trip_gives_back_every_tensor(name, convert, tiny, random_state):
    spec = tiny(name)
    state = random_state(spec)
    back = to_backbone_names({k: v.half() for k, v in convert(state).items()}, spec, "file")
    expected = dict(state)
    if convert is as_timm_dinov2:
        del expected["embeddings.mask_token"]
        if spec.registers:
            positions = expected["embeddings.position_embeddings"].clone()
            expected["embeddings.cls_token"] = expected["embeddings.cls_token"] + positions[:, :1]
            positions[:, 0] = 0
            expected["embeddings.position_embeddings"] = positions
    assert back.keys() == expected.keys()
    for tensor_name, value in expected.items():
        assert back[tensor_name].dtype == torch.float32
        assert torch.equal(back[tensor_name], value.half().float()), tensor_name


@pytest.mark.parametrize("asked", ["dinov2_s", "dinov2_l", "clip_b16"])
@pytest.mark.parametrize(
    ("given", "convert"),
    [("dinov2_b", as_official_dinov2), ("dinov2_s_reg", as_timm_dinov2), ("clip_l14_336", as_open_clip)],
)
def test_weights_of_another_backbone_are_named(asked, given, convert, hub_shapes):
    # Meta tensors: the real shapes without their gigabytes.
    state = {name: torch.empty(shape, device="meta") for name, shape in hub_shapes(BACKBONES[given]).items()}
    with pytest.raises(WeightsError, match=rf"{given}\b.*not of {asked}"):
        to_backbone_names(convert(state), BACKBONES[asked], "weights file x.pth")


def test_the_packed_giant_is_told_from_its_shapes(hub_shapes):
    shapes = hub_shapes(BACKBONES["dinov2_g_reg"])
    state = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    with pytest.raises(WeightsError, match="dinov2_g_reg"):
        to_backbone_names(as_timm_dinov2(state), BACKBONES["dinov2_g"], "file")


def test_weights_of_no_backbone_are_described(tiny, random_state):
    with pytest.raises(WeightsError, match="3 blocks of width 32"):
        to_backbone_names(random_state(tiny("dinov2_s")), BACKBONES["dinov2_s"], "file")
    with pytest.raises(WeightsError, match="does not hold"):
        to_backbone_names({"fc.weight": torch.zeros(2, 2)}, BACKBONES["dinov2_s"], "file")
