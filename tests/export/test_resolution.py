import pytest
from edgead_export.errors import ResolutionError
from edgead_export.resolution import MAX_PATCHES, parse_resolution
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "size", "rounded"),
    [
        ("448", (448, 448), False),
        (" 448X588 ", (448, 588), False),
        ("448×588", (448, 588), False),
        ("450", (448, 448), True),
        ("455", (462, 462), True),
        ("28", (28, 28), False),
        ("448x600", (448, 602), True),
    ],
)
def test_sides_become_whole_patches(text, size, rounded):
    resolution = parse_resolution(text, 14)
    assert (resolution.height, resolution.width) == size
    assert (resolution.message is not None) == rounded


def test_the_message_says_what_was_made_of_it():
    assert "450x600 rounded to 448x602" in (parse_resolution("450x600", 14).message or "")


@pytest.mark.parametrize("text", ["", "big", "448x", "x448", "-448", "4.5", "448x448x3", "4e3", "99999999"])
def test_what_cannot_be_read_is_refused(text):
    with pytest.raises(ResolutionError, match="cannot be read"):
        parse_resolution(text, 14)


@pytest.mark.parametrize("text", ["0", "27", "448x14", "14x448"])
def test_under_two_patches_is_refused(text):
    with pytest.raises(ResolutionError, match="28 px"):
        parse_resolution(text, 14)


def test_absurdly_large_is_refused_with_the_reason():
    assert parse_resolution("1400", 14).height == 1400
    with pytest.raises(ResolutionError, match="memory"):
        parse_resolution("1414", 14)


@given(st.integers(28, 3000), st.integers(28, 3000), st.sampled_from([14, 16]))
def test_rounding_is_to_the_nearest_patch(height, width, patch):
    try:
        resolution = parse_resolution(f"{height}x{width}", patch)
    except ResolutionError:
        assert min(height, width) < 2 * patch or (height / patch + 1) * (width / patch + 1) > MAX_PATCHES
        return
    for got, asked in ((resolution.height, height), (resolution.width, width)):
        assert got % patch == 0
        assert abs(got - asked) <= patch / 2
