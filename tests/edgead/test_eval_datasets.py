"""Small trees in each data set's exact shipped layout."""

import numpy as np
import pytest
from PIL import Image

from edgead.evaluation.datasets import DATASETS, DatasetError, few_shot, get_dataset
from edgead.evaluation.datasets.sample import read_mask


def write(path, size=(20, 16), mode="RGB", value=90):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode != "RGB" else (value,) * 3).save(path)
    return path


@pytest.fixture
def mvtec(tmp_path):
    """``bottle`` and ``cable`` as MVTec-AD (and MPDD) ships them."""
    root = tmp_path / "mvtec"
    for name in ("cable", "bottle"):
        folder = root / name
        for number in range(3):
            write(folder / f"train/good/{number:03d}.png")
        for number in range(2):
            write(folder / f"test/good/{number:03d}.png")
            write(folder / f"test/broken/{number:03d}.png")
            write(folder / f"ground_truth/broken/{number:03d}_mask.png", mode="L")
        write(folder / "test/contamination/000.png")
        write(folder / "ground_truth/contamination/000_mask.png", mode="L")
        (folder / "license.txt").write_text("x")
    (root / "license.txt").write_text("x")
    (root / "readme.txt").write_text("x")
    return root


@pytest.mark.parametrize("name", ["mvtec", "mpdd"])
def test_mvtec_layout(mvtec, name):
    dataset = get_dataset(name)
    assert dataset.objects(mvtec) == ("bottle", "cable")
    bottle = dataset.load(mvtec, "bottle")
    assert [path.name for path in bottle.train] == ["000.png", "001.png", "002.png"]
    assert [(s.kind, s.path.name, s.is_anomalous, s.mask_path and s.mask_path.name) for s in bottle.test] == [
        ("broken", "000.png", True, "000_mask.png"),
        ("broken", "001.png", True, "001_mask.png"),
        ("contamination", "000.png", True, "000_mask.png"),
        ("good", "000.png", False, None),
        ("good", "001.png", False, None),
    ]
    assert bottle.test[2].mask_path == mvtec / "bottle/ground_truth/contamination/000_mask.png"
    assert bottle.has_masks
    assert bottle.without_mask == ()


def test_visa_layout(tmp_path):
    root = tmp_path / "VisA"
    lines = ["object,split,label,image,mask"]
    for number in range(2):
        for split, label, folder in (
            ("train", "normal", "Normal"), ("test", "normal", "Normal"), ("test", "anomaly", "Anomaly"),
        ):  # fmt: skip
            stem = f"{split == 'test':d}{number:03d}"
            image = f"pcb1/Data/Images/{folder}/{stem}.JPG"
            write(root / image)
            mask = f"pcb1/Data/Masks/Anomaly/{stem}.png" if label == "anomaly" else ""
            if mask:
                write(root / mask, mode="L", value=1)
            lines.append(f"pcb1,{split},{label},{image},{mask}")
    lines.append("candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,candle/Data/Masks/Anomaly/000.png")
    write(root / "split_csv/x.png")
    (root / "split_csv/1cls.csv").write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    dataset = get_dataset("visa")
    assert dataset.objects(root) == ("candle", "pcb1")
    pcb = dataset.load(root, "pcb1")
    assert [path.name for path in pcb.train] == ["0000.JPG", "0001.JPG"]
    assert [(s.kind, s.is_anomalous, s.path.name) for s in pcb.test] == [
        ("anomaly", True, "1000.JPG"), ("anomaly", True, "1001.JPG"),
        ("normal", False, "1000.JPG"), ("normal", False, "1001.JPG"),
    ]  # fmt: skip
    # VisA's masks hold the number of the defect's kind, from 1.
    assert read_mask(pcb.test[0].mask_path, pcb.test[0].path, (16, 20)).all()
    assert len(dataset.load(root, "candle").without_mask) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("object,split,label,image\n", "no column mask"),
        ("object,split,label,image,mask\n", "lists no pictures"),
        ("object,split,label,image,mask\na,test,odd,a/b.JPG,\n", "line 2"),
        ("object,split,label,image,mask\na,train,anomaly,a/b.JPG,\n", "training picture"),
        ("object,split,label,image,mask\na,train,normal,../b.JPG,\n", "outside"),
        ("object,split,label,image,mask\n../a,train,normal,b.JPG,\n", "not the name of a folder"),
        ("object,split,label,image,mask\na,train\n", "line 2"),
        ("\0", "no column"),
    ],
)
def test_a_damaged_visa_split(tmp_path, text, problem):
    (tmp_path / "split_csv").mkdir()
    (tmp_path / "split_csv/1cls.csv").write_text(text)
    with pytest.raises(DatasetError, match=problem):
        get_dataset("visa").load(tmp_path, "a")


def test_visa_without_its_split(mvtec):
    with pytest.raises(DatasetError, match=r"split_csv/1cls\.csv"):
        get_dataset("visa").objects(mvtec)


def test_btad_layout(tmp_path):
    root = tmp_path / "BTech_Dataset_transformed"
    for name, picture, mask in (("01", "bmp", "png"), ("02", "png", "png"), ("03", "bmp", "bmp")):
        for number in range(2):
            write(root / f"{name}/train/ok/{number:04d}.{picture}")
            write(root / f"{name}/test/ok/{number:04d}.{picture}")
            write(root / f"{name}/test/ko/{number:04d}.{picture}")
            write(root / f"{name}/ground_truth/ko/{number:04d}.{mask}", mode="L")
    dataset = get_dataset("btad")
    assert dataset.objects(root) == ("01", "02", "03")
    third = dataset.load(root, "03")
    assert [(s.kind, s.is_anomalous) for s in third.test] == [
        ("ko", True), ("ko", True), ("ok", False), ("ok", False),
    ]  # fmt: skip
    assert third.test[1].mask_path == root / "03/ground_truth/ko/0001.bmp"
    assert dataset.load(root, "01").without_mask == ()


@pytest.mark.parametrize("train", ["train/good", "train/ok", "good", "train"])
def test_plain_folder_of_one_object(tmp_path, train):
    root = tmp_path / "line3"
    write(root / train / "a.png")
    write(root / "test/good/b.jpg")
    write(root / "test/scratch/c.jpg")
    dataset = get_dataset("folder")
    assert dataset.objects(root) == ("line3",)
    part = dataset.load(root, "line3")
    assert [path.name for path in part.train] == ["a.png"]
    assert [(s.kind, s.is_anomalous) for s in part.test] == [("good", False), ("scratch", True)]
    assert not part.has_masks
    write(root / "ground_truth/scratch/c.png", mode="L")
    assert dataset.load(root, "line3").has_masks


def test_wrong_roots_say_what_to_do(mvtec, tmp_path):
    dataset = get_dataset("mvtec")
    with pytest.raises(DatasetError, match="there is no folder"):
        dataset.objects(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"further down.*--root .*mvtec"):
        dataset.objects(mvtec.parent)
    with pytest.raises(DatasetError, match=r"layout of BTAD: OBJECT/train/ok"):
        get_dataset("btad").objects(mvtec)
    with pytest.raises(DatasetError, match=r"no object screw.*bottle, cable"):
        dataset.objects(mvtec, ("bottle", "screw"))
    with pytest.raises(DatasetError, match="unknown data set"):
        get_dataset("imagenet")
    assert dataset.objects(mvtec, ("cable", "cable")) == ("cable",)
    assert dataset.objects(mvtec / "cable") == ("cable",)


def test_an_object_without_test_pictures(tmp_path):
    write(tmp_path / "part/train/good/a.png")
    (tmp_path / "part/test").mkdir()
    with pytest.raises(DatasetError, match="no pictures"):
        get_dataset("mvtec").load(tmp_path, "part")


def test_missing_masks_are_known(mvtec):
    (mvtec / "bottle/ground_truth/broken/001_mask.png").unlink()
    assert [s.path.name for s in get_dataset("mvtec").load(mvtec, "bottle").without_mask] == ["001.png"]


def test_the_protocol_of_the_paper(mvtec):
    train = get_dataset("mvtec").load(mvtec, "bottle").train
    assert [p.name for p in few_shot(train, 1, 2)] == ["002.png"]
    assert [p.name for p in few_shot(train[::-1], 2, 0)] == ["000.png", "001.png"]
    with pytest.raises(DatasetError, match="2 shots with seed 1 need 4 good pictures, and there are 3"):
        few_shot(train, 2, 1)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16", "LA"])
def test_masks_of_every_mode(tmp_path, mode):
    marked = np.zeros((16, 20), dtype=np.uint8)
    marked[3:5, 4:9] = 255
    grey = Image.fromarray(marked)
    mask = Image.fromarray(marked.astype(np.uint16)) if mode == "I;16" else grey.convert(mode)
    mask.save(tmp_path / "m.png")
    assert np.array_equal(read_mask(tmp_path / "m.png", tmp_path / "p.png", (16, 20)), marked > 0)


def test_a_mask_of_another_size_is_refused_with_both_names(tmp_path):
    mask = write(tmp_path / "000_mask.png", mode="L", size=(10, 8))
    with pytest.raises(DatasetError, match=r"000_mask\.png is 10 x 8 .*000\.png is 20 x 16") as caught:
        read_mask(mask, tmp_path / "000.png", (16, 20))
    assert "not resized" in caught.value.remedy


def test_a_damaged_mask_is_refused(tmp_path):
    (tmp_path / "m.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match="cannot be read"):
        read_mask(tmp_path / "m.png", tmp_path / "p.png", (16, 20))


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError):
        DATASETS["mine"] = DATASETS["mvtec"]
