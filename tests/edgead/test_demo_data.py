import zipfile

from edgead.demo_data import split_cells, unpack_pictures


def labels():
    """A table like the data set's: 20 good cells of the layout, the others defective or uncertain."""
    lines = ["images/cell0001.png  0.0 mono", "images/cell0360.png 0.0 mono", "images/cell0541.png 1.0 poly"]
    for number in range(361, 541):
        kind = 0.0 if number % 9 == 0 else 0.3333333333333333 if number % 18 == 1 else 1.0
        lines.append(f"images/cell{number:04d}.png  {kind} mono")
    return "\n".join(reversed(lines))


def test_the_rule():
    split = split_cells(labels())
    assert [name[-8:-4] for name in split.references] == [f"{number:04d}" for number in range(369, 433, 9)]
    assert len(split.good) == 20 - 8
    assert split.good[0].endswith("cell0441.png")
    defective = [number for number in range(361, 541) if number % 9 and number % 18 != 1]
    assert [int(name[-8:-4]) for name in split.defective] == defective[::6]
    assert not set(split.references) & set(split.good)


def test_pictures_are_unpacked_and_their_authors_known(tmp_path):
    wheel = tmp_path / "elpv.whl"
    split = split_cells(labels())
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("elpv_dataset/data/labels.csv", labels())
        for member in (*split.references, *split.good, *split.defective):
            archive.writestr(member, member.encode())
        archive.writestr(
            "elpv_dataset-1.0.0.post1.dist-info/METADATA",
            "Name: elpv-dataset\n\n# Title\n\n> Someone. Work. DOI: [10.1/2](http://example.org)\n",
        )
    for _ in range(2):
        pictures = unpack_pictures(wheel, tmp_path)
    assert len(list(pictures.references.iterdir())) == 8
    assert len(list(pictures.good.iterdir())) == len(split.good)
    assert len(list(pictures.defective.iterdir())) == len(split.defective)
    assert pictures.citations == ("Someone. Work. DOI: 10.1/2",)
