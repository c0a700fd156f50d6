"""Every kind of picture a line may produce: read right, or refused in one sentence."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from edgead_runtime.errors import PictureError
from edgead_runtime.images import (
    MAX_PIXELS,
    Picture,
    check_frame,
    decode_picture,
    encode_jpeg,
    encode_png,
    files_passed_over,
    find_pictures,
    read_picture,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

H, W = 24, 40
RGB = np.random.default_rng(3).integers(0, 256, (H, W, 3), dtype=np.uint8)
GREY = RGB[:, :, 0].copy()


def _bytes(image, file_format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def _frame(data, name="part.png"):
    frame = decode_picture(data, name).frame
    assert frame.dtype == np.uint8
    assert frame.flags.c_contiguous
    return frame


def _grey_frame(values):
    return np.repeat(np.asarray(values, np.uint8)[:, :, None], 3, axis=2)


# What a camera or an annotation tool saves


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("PPM", {}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_lossless_formats_come_out_as_bgr_bit_for_bit(file_format, options):
    assert np.array_equal(_frame(_bytes(Image.fromarray(RGB), file_format, **options)), RGB[:, :, ::-1])


def test_jpeg_is_pillows_decoding():
    data = _bytes(Image.fromarray(RGB), "JPEG", quality=80)
    assert np.array_equal(_frame(data), np.asarray(Image.open(io.BytesIO(data)))[:, :, ::-1])


def test_a_path_may_be_text(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "part.png")
    assert read_picture(str(tmp_path / "part.png")).name == "part.png"


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "BMP", "PPM"])
def test_grey_becomes_three_equal_channels(file_format):
    assert np.array_equal(_frame(_bytes(Image.fromarray(GREY), file_format)), _grey_frame(GREY))


def test_one_bit_becomes_black_and_white():
    bits = GREY > 127
    assert np.array_equal(_frame(_bytes(Image.fromarray(bits))), _grey_frame(bits * 255))


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_sixteen_bits_keep_their_upper_byte(file_format):
    values = np.arange(H * W, dtype=np.uint32).reshape(H, W) * 68
    assert values.max() < 65536
    data = _bytes(Image.fromarray(values.astype(np.uint16)), file_format)
    assert np.array_equal(_frame(data), _grey_frame(values >> 8))


def test_sixteen_bit_pgm_and_big_endian():
    values = (np.arange(H * W).reshape(H, W) * 68).astype(np.uint16)
    pgm = b"P5 %d %d 65535\n" % (W, H) + values.astype(">u2").tobytes()
    assert np.array_equal(_frame(pgm, "part.pgm"), _grey_frame(values >> 8))


def test_sixteen_bit_colour_keeps_its_upper_byte():
    values = RGB.astype(np.uint16) * 257
    _, data = cv2.imencode(".png", values[:, :, ::-1])
    assert np.array_equal(_frame(data.tobytes()), RGB[:, :, ::-1])


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".pgm"])
def test_twelve_bits_in_sixteen_are_refused_and_not_turned_black(suffix):
    _, data = cv2.imencode(suffix, np.full((H, W), 4095, np.uint16))
    with pytest.raises(PictureError, match=r"only values up to 4095.*divide by 16"):
        decode_picture(data.tobytes(), "dark" + suffix)


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".ppm"])
def test_twelve_bits_in_sixteen_of_colour_are_refused_too(suffix):
    _, data = cv2.imencode(suffix, np.full((H, W, 3), 4095, np.uint16))
    with pytest.raises(PictureError, match="would come out black"):
        decode_picture(data.tobytes(), "dark" + suffix)


def test_a_dark_picture_of_eight_bits_is_a_picture():
    dark = np.full((H, W, 3), 5, np.uint8)
    assert np.array_equal(_frame(_bytes(Image.fromarray(dark))), dark)


def test_floats_are_refused():
    with pytest.raises(PictureError, match="floating-point"):
        decode_picture(_bytes(Image.fromarray(GREY.astype(np.float32)), "TIFF"), "depth.tif")


def test_palette():
    image = Image.fromarray(RGB).quantize(16)
    assert np.array_equal(_frame(_bytes(image)), np.asarray(image.convert("RGB"))[:, :, ::-1])


def test_palette_with_transparency_is_laid_over_black():
    image = Image.new("P", (W, H), 1)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.paste(0, (0, 0, W // 2, H))
    frame = _frame(_bytes(image, transparency=0))
    assert (frame[:, : W // 2] == 0).all()
    assert (frame[:, W // 2 :] == (50, 100, 200)).all()


def test_alpha_is_laid_over_black():
    alpha = np.zeros((H, W), np.uint8)
    alpha[:, 10:20], alpha[:, 20:] = 128, 255
    frame = _frame(_bytes(Image.fromarray(np.dstack([RGB, alpha]))))
    assert (frame[:, :10] == 0).all()
    assert np.array_equal(frame[:, 20:], RGB[:, 20:, ::-1])
    half = RGB[:, 10:20, ::-1] * (128 / 255)
    assert np.abs(frame[:, 10:20] - half).max() <= 1


def test_grey_with_alpha():
    image = Image.merge("LA", (Image.fromarray(GREY), Image.new("L", (W, H), 255)))
    assert np.array_equal(_frame(_bytes(image)), _grey_frame(GREY))


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_cmyk_is_converted(file_format):
    data = _bytes(Image.new("CMYK", (W, H), (0, 255, 255, 0)), file_format)
    frame = _frame(data)  # no cyan, full magenta and yellow: red
    assert frame[:, :, 2].min() > 240
    assert frame[:, :, :2].max() < 20


# Row 0 and column 0 of the stored picture are the visual ... (EXIF 2.32, tag 0x0112).
_SEEN = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_exif_orientation_is_applied_once(orientation, file_format):
    exif = Image.Exif()
    exif[0x0112] = orientation
    blocks = np.kron(np.arange(15).reshape(3, 5) * 17, np.ones((8, 8))).astype(np.uint8)  # survives JPEG
    stored = _grey_frame(blocks)
    options = (
        {"lossless": True} if file_format == "WEBP" else {"quality": 95} if file_format == "JPEG" else {}
    )
    frame = _frame(_bytes(Image.fromarray(stored), file_format, exif=exif, **options))
    seen = _SEEN[orientation](stored)
    assert frame.shape == seen.shape
    assert np.abs(frame.astype(int) - seen).max() <= (3 if file_format == "JPEG" else 0)


def test_a_turned_sixteen_bit_picture():
    values = (np.arange(H * W).reshape(H, W) * 68).astype(np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 6
    frame = _frame(_bytes(Image.fromarray(values), exif=exif))
    assert np.array_equal(frame, _grey_frame(np.rot90(values >> 8, -1)))


@pytest.mark.parametrize(("file_format", "suffix"), [("GIF", ".gif"), ("TIFF", ".tif"), ("WEBP", ".webp")])
def test_several_pages_are_refused(file_format, suffix):
    """Reading the first alone would pass the others unseen."""
    pages = [Image.new("RGB", (W, H), color) for color in ("red", "lime", "blue")]
    options = {"lossless": True} if file_format == "WEBP" else {}
    data = _bytes(pages[0], file_format, save_all=True, append_images=pages[1:], **options)
    with pytest.raises(PictureError, match="holds 3 pictures"):
        _frame(data, "pages" + suffix)


# What is not a picture


@pytest.mark.parametrize("content", [b"", b"not a picture\n" * 50, b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
def test_text_named_png_is_refused(tmp_path, content):
    path = tmp_path / "notes.png"
    path.write_bytes(content)
    with pytest.raises(PictureError, match=r"notes\.png is (not a picture|damaged)"):
        read_picture(path)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM"])
def test_half_a_picture_is_never_shown_as_a_whole_one(file_format):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = _bytes(Image.fromarray(noise), file_format)
    whole = _frame(data)
    refused = 0
    for length in range(0, len(data), max(1, len(data) // 150)):
        try:
            frame = _frame(data[:length])
        except PictureError:
            refused += 1
        else:
            # Only what comes after the pixels may be missing.
            assert np.array_equal(frame, whole), f"{length} of {len(data)} bytes"
    assert refused >= 140


@pytest.mark.filterwarnings("ignore::UserWarning")  # of TIFF tags
@settings(max_examples=300)
@given(st.sampled_from(["PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM", "GIF"]), st.data())
def test_a_damaged_file_is_a_picture_or_a_picture_error(file_format, data):
    intact = bytearray(_bytes(Image.fromarray(RGB), file_format))
    for _ in range(data.draw(st.integers(1, 6))):
        intact[data.draw(st.integers(0, len(intact) - 1))] = data.draw(st.integers(0, 255))
    try:
        _frame(bytes(intact))
    except PictureError as error:
        said = error
    else:
        return
    assert "part.png" in said.problem
    assert said.remedy


@pytest.mark.parametrize("size", [(1, 1), (15, 400), (400, 15)])
def test_too_small(size):
    with pytest.raises(PictureError, match=f"{size[0]} x {size[1]} pixels.*at least 16"):
        decode_picture(_bytes(Image.new("RGB", size)), "dot.png")


def _png_header(width, height):
    """A PNG of a few dozen bytes that says it is huge."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    chunks = (body, data, b"IEND")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks
    )


@pytest.mark.parametrize("side", [13_300, 13_400, 30_000, 2**31 - 1])
def test_a_tiny_file_that_claims_to_be_huge_is_refused_before_it_is_decoded(side, monkeypatch):
    assert side * side > MAX_PIXELS

    def decode(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decode)
    with pytest.raises(PictureError, match=f"more than {MAX_PIXELS // 1_000_000} megapixels"):
        decode_picture(_png_header(side, side), "huge.png")


def test_a_hundred_megapixels_are_not_too_many():
    # It is the missing pixels that are refused, not the size.
    with pytest.raises(PictureError, match="damaged"):
        decode_picture(_png_header(10_000, 10_000), "large.png")


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(PictureError, match=r"cannot read .*gone\.png: No such file"):
        read_picture(tmp_path / "gone.png")
    with pytest.raises(PictureError, match="directory"):
        read_picture(tmp_path)


# Files and folders


def test_names_with_spaces_and_other_alphabets(tmp_path):
    folder = tmp_path / "gute Teile ✓"
    folder.mkdir()
    names = ["Prüfteil 1.png", "部品 02.PNG", "отливка.jpeg", "a b\tc.Tiff"]
    for name in names:
        (folder / name).write_bytes(_bytes(Image.fromarray(RGB)))
    found = find_pictures([folder])
    assert sorted(path.name for path in found) == sorted(names)
    picture = read_picture(folder / names[1])
    assert picture.name == names[1]
    assert picture.suffix == ".png"
    assert picture.encoded == (folder / names[1]).read_bytes()


def test_folders_are_searched_and_hidden_things_left_alone(tmp_path):
    wanted = ["a/1.png", "a/2.jpg", "b/deep/3.webp", "b.png"]
    others = ["a/.hidden.png", ".cache/4.png", "a/notes.txt", "b/deep/._5.png", "model.onnx"]
    for name in wanted + others:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "folder.png").mkdir()
    found = find_pictures([tmp_path])
    assert [path.relative_to(tmp_path).as_posix() for path in found] == wanted


def test_a_hidden_folder_named_by_the_user_is_searched(tmp_path):
    folder = tmp_path / ".captures" / "today"
    folder.mkdir(parents=True)
    (folder / "1.png").write_bytes(b"x")
    assert find_pictures([tmp_path / ".captures"]) == [folder / "1.png"]


def test_files_are_taken_as_given_and_none_twice(tmp_path):
    (tmp_path / "odd.dat").write_bytes(b"x")
    (tmp_path / "1.png").write_bytes(b"x")
    found = find_pictures([tmp_path / "odd.dat", tmp_path, tmp_path / "1.png"])
    assert [path.name for path in found] == ["odd.dat", "1.png"]


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(PictureError, match="no file or folder"):
        find_pictures([tmp_path / "gone"])


# Frames


def test_png_keeps_every_bit_and_jpeg_nearly():
    smooth = np.add.outer(np.arange(H), np.arange(W)).astype(np.uint8)[:, :, None] * np.array(
        [1, 2, 3], np.uint8
    )
    assert np.array_equal(_frame(encode_png(smooth)), smooth)
    assert np.abs(_frame(encode_jpeg(smooth)).astype(int) - smooth).mean() < 4


@pytest.mark.parametrize(
    "frame",
    [
        RGB.astype(np.float32),
        RGB.astype(np.uint16),
        GREY,
        GREY[:, :, None],
        np.dstack([RGB, GREY]),
        RGB[None],
        RGB.tolist(),
        None,
    ],
)
def test_what_is_not_a_frame_is_refused_with_the_way_out(frame):
    with pytest.raises(PictureError, match=r"uint8 array \[H, W, 3\] in BGR") as caught:
        check_frame(frame)
    assert "GRAY2BGR" in caught.value.remedy


def test_an_empty_frame_is_too_small():
    with pytest.raises(PictureError, match="0 x 0"):
        check_frame(np.zeros((0, 0, 3), np.uint8))


def test_files_that_are_no_pictures_are_told_apart(tmp_path):
    for name in ("part.png", "notes.txt", "clip.mp4", ".hidden.txt"):
        (tmp_path / name).touch()
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert [path.name for path in files_passed_over([tmp_path, tmp_path / "part.png"])] == [
        "clip.mp4",
        "notes.txt",
    ]
    # A link that leads nowhere is found, so that it is reported as unreadable.
    assert [path.name for path in find_pictures([tmp_path])] == ["gone.png", "part.png"]


def test_a_stored_picture_is_decoded_when_asked_for():
    frame = np.random.default_rng(0).integers(0, 255, (32, 48, 3)).astype(np.uint8)
    stored = Picture("a.png", frame).stored()
    assert stored.encoded is not None
    assert np.array_equal(stored.frame, frame)
    assert stored.renamed("b.png").name == "b.png"
    with pytest.raises(ValueError, match="frame or a file"):
        Picture("nothing")
