"""CFP in its authors' own layout: the lists, the splits in their order, and every way in which they can be wrong."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import write_people
from torch import Tensor
from torch.nn import functional

from elasticface.base.errors import InputError
from elasticface.benchmarks.pairwise.cfp import open_cfp
from elasticface.benchmarks.pairwise.pairs import evaluate_pairs
from elasticface.data.images import decoding
from elasticface.faces.landmarks import COLUMNS
from elasticface.model.encoder import Card, FaceEncoder

PEOPLE, FRONTAL, PROFILE = 4, 3, 2
SPLIT = 3  # pairs of each kind


def photo(person: int, kind: str, number: int) -> str:
    return f"Data/Images/{person + 1:03d}/{kind}/{number + 1:02d}.jpg"


def write_cfp(root: Path) -> Path:
    """Four people with three frontal and two profile photos each, and ten splits of three pairs of each kind."""
    rng = np.random.default_rng(0)
    people = write_people(root / "people", PEOPLE, FRONTAL + PROFILE)
    for person in range(PEOPLE):
        taken = sorted((people / f"person_{person:02d}").iterdir())
        for kind, files in (("frontal", taken[:FRONTAL]), ("profile", taken[FRONTAL:])):
            for number, file in enumerate(files):
                target = root / photo(person, kind, number)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(file, target)  # a PNG by content, whatever its name says
    shutil.rmtree(people)
    for letter, kind, count in (("F", "frontal", FRONTAL), ("P", "profile", PROFILE)):
        names = [photo(person, kind, number) for person in range(PEOPLE) for number in range(count)]
        (root / "Protocol").mkdir(exist_ok=True)
        rows = [f"{number} ../{name}\n" for number, name in enumerate(names, 1)]
        (root / "Protocol" / f"Pair_list_{letter}.txt").write_text("".join(rows))
    for kind, count in (("FP", PROFILE), ("FF", FRONTAL)):
        for split in range(1, 11):
            folder = root / "Protocol" / "Split" / kind / f"{split:02d}"
            folder.mkdir(parents=True)
            same, diff = [], []
            for _ in range(SPLIT):
                a, b = rng.permutation(PEOPLE)[:2]
                i, j = rng.integers(FRONTAL), rng.integers(count)
                same.append(f"{a * FRONTAL + i + 1},{a * count + j + 1}\n")
                diff.append(f"{a * FRONTAL + i + 1},{b * count + j + 1}\n")
            (folder / "same.txt").write_text("".join(same))
            (folder / "diff.txt").write_text("".join(diff))
    return root


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cfp(tmp_path_factory.mktemp("cfp") / "cfp-dataset")


@pytest.fixture
def cfp(whole: Path, tmp_path: Path) -> Path:
    """One to change."""
    return Path(shutil.copytree(whole, tmp_path / "cfp-dataset"))


def test_what_is_in_the_photos_is_read(cfp: Path) -> None:
    yaws = {
        photo(person, kind, number): yaw
        for person in range(PEOPLE)
        for kind, count, yaw in (("frontal", FRONTAL, 5.0), ("profile", PROFILE, 90.0))
        for number in range(count)
    }
    rows = [f"{name},{yaw}" for name, yaw in yaws.items()]
    (cfp / "metadata.csv").write_text("\n".join(["file,yaw", *rows]) + "\n")
    for benchmark in open_cfp(cfp):
        listed = {*benchmark.pairs.first, *benchmark.pairs.second}
        assert benchmark.metadata == {"yaw": {name: yaws[name] for name in listed}}


def encoder() -> FaceEncoder:
    def patches(inputs: Tensor) -> Tensor:
        return functional.avg_pool2d(inputs, inputs.shape[2] // 7).flatten(1)

    return FaceEncoder(patches, Card("patches", embedding_size=147))


def person(name: str) -> str:
    return name.split("/")[2]


def test_both_protocols_are_read_in_the_order_of_their_splits(whole: Path) -> None:
    fp, ff = open_cfp(whole)
    assert (fp.name, ff.name) == ("cfp_fp", "cfp_ff")
    for benchmark, second in ((fp, "profile"), (ff, "frontal")):
        pairs = benchmark.pairs
        assert (len(pairs.same), pairs.folds) == (60, 10)
        assert pairs.same.tolist() == ([True] * SPLIT + [False] * SPLIT) * 10
        for a, b, same in zip(pairs.first, pairs.second, pairs.same, strict=True):
            assert a.split("/")[3] == "frontal"
            assert b.split("/")[3] == second
            assert (person(a) == person(b)) == same
    rows = (whole / "Protocol/Split/FP/03/diff.txt").read_text().split()
    at = 2 * (2 * SPLIT) + SPLIT
    frontal = [line.split("../")[1] for line in (whole / "Protocol/Pair_list_F.txt").read_text().splitlines()]
    profile = [line.split("../")[1] for line in (whole / "Protocol/Pair_list_P.txt").read_text().splitlines()]
    for row, a, b in zip(rows, fp.pairs.first[at:], fp.pairs.second[at:], strict=False):
        i, j = map(int, row.split(","))
        assert (a, b) == (frontal[i - 1], profile[j - 1])


def test_the_figures_are_those_of_its_people(whole: Path) -> None:
    for benchmark in open_cfp(whole):
        result = evaluate_pairs(encoder(), benchmark)
        assert result.accuracy == 1
        assert result.per_fold == (1.0,) * 10
        assert (result.counts["genuine"], result.counts["impostor"]) == (30, 30)


def test_photos_may_have_another_suffix_than_in_the_lists(cfp: Path) -> None:
    """As those have that `elasticface align --format png` has made."""
    expected = [benchmark.pairs for benchmark in open_cfp(cfp)]
    for path in (cfp / "Data").rglob("*.jpg"):
        path.rename(path.with_suffix(".png"))
    for benchmark, before in zip(open_cfp(cfp), expected, strict=True):
        assert benchmark.pairs.first == tuple(name.replace(".jpg", ".png") for name in before.first)


def test_the_protocol_may_lie_elsewhere(cfp: Path, tmp_path: Path) -> None:
    expected = open_cfp(cfp)[0].pairs
    (cfp / "Protocol").rename(tmp_path / "lists")
    assert open_cfp(cfp, protocol=tmp_path / "lists")[0].pairs.second == expected.second
    with pytest.raises(InputError, match=r"no Protocol/Pair_list_F\.txt in it"):
        open_cfp(cfp)


def test_photos_with_landmarks_are_aligned(cfp: Path) -> None:
    from elasticface.data.images.alignment import TEMPLATE

    names = [path.relative_to(cfp).as_posix() for path in sorted((cfp / "Data").rglob("*.jpg"))]
    for name in names:
        face = decoding.decode((cfp / name).read_bytes(), name)
        (cfp / name).write_bytes(decoding.encode(np.pad(face, ((20, 10), (5, 30), (0, 0))), ".png"))
    with pytest.raises(InputError, match="147x142 is no aligned face of 112x112"):
        evaluate_pairs(encoder(), open_cfp(cfp)[0])
    points = ",".join(map(str, (TEMPLATE + np.array([5, 20])).ravel()))
    rows = [",".join(COLUMNS), *(f"{name},0.99,{points}" for name in names)]
    (cfp / "landmarks5.csv").write_text("\n".join(rows) + "\n")
    for benchmark in open_cfp(cfp):
        assert benchmark.landmarks is not None
        assert evaluate_pairs(encoder(), benchmark).accuracy == 1
    (cfp / "landmarks5.csv").write_text("\n".join(rows[:-1]) + "\n")
    frontal_profile, frontal = open_cfp(cfp, undetected="skip")
    assert frontal_profile.without_face == {"Data/Images/004/profile/02.jpg"}
    assert evaluate_pairs(encoder(), frontal_profile).counts["skipped_pairs"] > 0
    assert frontal.without_face == set()


def test_one_protocol_alone_is_measured_alone(cfp: Path) -> None:
    shutil.rmtree(cfp / "Protocol/Split/FP")
    (cfp / "Protocol/Pair_list_P.txt").unlink()
    assert [benchmark.name for benchmark in open_cfp(cfp)] == ["cfp_ff"]
    shutil.rmtree(cfp / "Protocol/Split/FF")
    with pytest.raises(InputError, match="neither Split/FP nor Split/FF"):
        open_cfp(cfp)


def test_line_ends_blank_lines_and_spaces_do_not_matter(cfp: Path) -> None:
    expected = open_cfp(cfp)[0].pairs
    for path in (cfp / "Protocol").rglob("*.txt"):
        lines = path.read_text().splitlines()
        path.write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join(f"  {line} " for line in lines).encode())
    found = open_cfp(cfp)[0].pairs
    assert (found.first, found.second) == (expected.first, expected.second)


def first_row(path: str, row: str) -> Callable[[Path], None]:
    def change(cfp: Path) -> None:
        lines = (cfp / path).read_text().splitlines()
        (cfp / path).write_text("\n".join([row, *lines[1:]]) + "\n")

    return change


LIST, SAME, OTHER = (f"Protocol/{name}" for name in ("Pair_list_F.txt", "Split/FP/01/same.txt", "Split/FP/07/diff.txt"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (first_row(LIST, "../Data/Images/001/frontal/01.jpg"), r"Pair_list_F\.txt, row 1: not `number path`"),
        (first_row(LIST, "1"), r"row 1: not `number path`"),
        (first_row(LIST, "-1 x.jpg"), r"row 1: not `number path`"),
        (first_row(LIST, "9" * 5000 + " x.jpg"), r"row 1: not `number path`"),
        (first_row(LIST, "2 x.jpg"), r"row 2: number 2 is in row 1 already; keep one"),
        (lambda cfp: (cfp / LIST).write_text("\n"), r"Pair_list_F\.txt: lists no photo"),
        (lambda cfp: (cfp / LIST).write_bytes(b"\xff"), r"Pair_list_F\.txt: not UTF-8 text"),
        (lambda cfp: (cfp / "Protocol/Pair_list_P.txt").unlink(), r"Pair_list_P\.txt: cannot be read: No such file"),
        (first_row(SAME, "1"), r"01/same\.txt, row 1: not `i,j`: 1$"),
        (first_row(SAME, "1,2,3"), r"row 1: not `i,j`"),
        (first_row(SAME, "1,x"), r"row 1: not `i,j`"),
        (first_row(SAME, "1,-2"), r"row 1: not `i,j`"),
        (first_row(SAME, "1," + "9" * 5000), r"row 1: not `i,j`"),
        (first_row(SAME, "\x1b[31m"), r"row 1: not `i,j`: \\x1b"),
        (first_row(SAME, "13,1"), r"01/same\.txt, row 1: .*Pair_list_F\.txt has no number 13"),
        (first_row(SAME, "0,1"), r"Pair_list_F\.txt has no number 0"),
        (first_row(SAME, "1,9"), r"Pair_list_P\.txt has no number 9"),
        (lambda cfp: (cfp / SAME).unlink(), r"01/same\.txt: cannot be read: No such file"),
        (lambda cfp: shutil.rmtree(cfp / "Protocol/Split/FP/10"), r"10/same\.txt: cannot be read"),
        (
            lambda cfp: (cfp / "Protocol/Split/FP/07/diff.txt").write_text("1,3\n"),
            r"FP/07: 4 pairs where split 01 has 6",
        ),
        (lambda cfp: [p.write_text("") for p in cfp.rglob("diff.txt")], r"FP/01/diff\.txt: no pairs in it"),
        (
            lambda cfp: [p.write_text("") for p in cfp.glob("Protocol/Split/*/*/*.txt")],
            r"FP/01/same\.txt: no pairs in it",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_its_row(change: Callable[[Path], object], message: str, cfp: Path) -> None:
    change(cfp)
    with pytest.raises(InputError, match=message) as error:
        open_cfp(cfp)
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    "path", ["/etc/passwd.jpg", "../../secret.jpg", "../../../x/../secret.jpg", "..\\secret.jpg", "\0"]
)
def test_a_list_leads_to_no_file_outside(path: str, cfp: Path) -> None:
    (cfp.parent / "secret.jpg").write_bytes(b"secret")
    for file in (cfp / "Protocol").rglob("same.txt"):
        file.write_text("1,1\n2,2\n1,2\n")
    first_row(LIST, f"1 {path}")(cfp)
    with pytest.raises(InputError, match=r"01/same\.txt, row 1: no photo .* there \(row 1 of .*Pair_list_F\.txt\)"):
        open_cfp(cfp)


def test_a_photo_that_is_gone_matters_only_where_a_pair_has_it(cfp: Path) -> None:
    used = {*open_cfp(cfp)[0].pairs.first, *open_cfp(cfp)[0].pairs.second, *open_cfp(cfp)[1].pairs.second}
    (cfp / LIST).write_text((cfp / LIST).read_text() + "99 ../Data/Images/099/frontal/01.jpg\n")
    assert used <= set(open_cfp(cfp)[0].photos.names)
    gone = open_cfp(cfp)[0].pairs.second[0]
    (cfp / gone).unlink()
    with pytest.raises(InputError, match=rf"01/same\.txt, row 1: no photo {gone} there"):
        open_cfp(cfp)
