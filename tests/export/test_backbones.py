import pytest
from edgead_export.backbones import BACKBONES, get_backbone
from edgead_export.errors import LayerError, UnknownBackboneError


def test_all_promised_backbones_are_there():
    dinov2 = {f"dinov2_{size}{suffix}" for size in "sblg" for suffix in ("", "_reg")}
    assert set(BACKBONES) == dinov2 | {"clip_b16", "clip_l14", "clip_l14_336"}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("dinov2_x", "dinov2_s"),
        ("dino_v2_s", "dinov2_s"),
        ("DINOv2-S-reg", "dinov2_s_reg"),
        ("clip_l14_33", "clip_l14_336"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(typed, meant):
    with pytest.raises(UnknownBackboneError) as caught:
        get_backbone(typed)
    assert typed in caught.value.problem
    assert meant in caught.value.remedy


def test_a_name_like_no_other_lists_them_all():
    with pytest.raises(UnknownBackboneError, match="clip_b16"):
        get_backbone("??")


@pytest.mark.parametrize("layers", [(0,), (13,), (-1,), (), (9, 9)])
def test_layers_that_do_not_exist_are_refused(layers):
    with pytest.raises(LayerError):
        get_backbone("dinov2_s").check_layers(layers)


def test_the_fixed_mask_threshold_is_dinov2s_alone():
    assert {spec.family for spec in BACKBONES.values() if spec.pca_mask_threshold} == {
        "dinov2",
        "dinov2_with_registers",
    }
