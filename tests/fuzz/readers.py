"""What is fuzzed: each reader of files from outside, with valid files to begin from. Add yours to ``READERS``."""

import json
import pickle
import sys
import tarfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from harness import Reader

from elasticface import backbones
from elasticface.base.errors import InputError
from elasticface.benchmarks import samples, stored
from elasticface.benchmarks.ijb.files import read_ijb
from elasticface.benchmarks.ijb.protocol import figures as ijb_figures
from elasticface.benchmarks.ijb.protocol import open_ijb
from elasticface.benchmarks.megaface.files import open_feature_folder, read_megaface
from elasticface.benchmarks.megaface.protocol import open_megaface
from elasticface.benchmarks.pairwise import slices
from elasticface.benchmarks.pairwise.cfp import open_cfp
from elasticface.benchmarks.pairwise.lists import PairBenchmark, Pairs, open_pairs
from elasticface.benchmarks.pairwise.pairs import PairResult, figures
from elasticface.benchmarks.reading.features import FEATURES, PROGRESS, FeatureFiles, Features, left_over, open_features
from elasticface.data.formats.packs import write_pack
from elasticface.data.formats.recordio import RecordIOSource
from elasticface.data.formats.shards import ShardSource
from elasticface.data.images import decoding
from elasticface.data.images.alignment import TEMPLATE
from elasticface.data.images.decoding import DamagedImage
from elasticface.data.images.photos import Photos, read_identities
from elasticface.data.synthetic.source import SyntheticFaces
from elasticface.faces import align_faces, aligned
from elasticface.faces.landmarks import COLUMNS, DETECTED_COLUMNS
from elasticface.model.encoder import CARD_FORMAT, Card, FaceEncoder
from elasticface.model.loading import card_of_onnx, load
from elasticface.model.onnx import OnnxNetwork
from elasticface.model.storing import calibration_beside, store_calibration
from elasticface.recognition import gallery_fmr
from elasticface.report.files import results_json

sys.path.append(str(Path(__file__).parents[1]))  # where other tests have what writes large benchmarks and records
import records
from compared import made_up
from large import write_features, write_ijb, write_megaface

SIDE = 8  # pixels of the faces
PEOPLE, PHOTOS = 4, 3


def picture(number: int, suffix: str = ".png", side: int = SIDE) -> bytes:
    """A face of noise; encoded."""
    pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)
    return decoding.encode(pixels, suffix)


def photo_names() -> list[str]:
    return [f"P{person}/P{person}_{photo:04d}.png" for person in range(PEOPLE) for photo in range(1, PHOTOS + 1)]


def use(benchmark: PairBenchmark, most: int = 3) -> None:
    """What evaluation does with a benchmark, but for the model."""
    pairs = benchmark.pairs
    assert len(pairs.first) == len(pairs.second) == len(pairs.same) >= pairs.folds >= 2
    for name in [*pairs.first[:most], *pairs.second[-most:]]:
        try:
            face = benchmark.face(name, SIDE)
        except DamagedImage:
            continue
        assert face.shape == (SIDE, SIDE, 3)


# ---------------------------------------------------------------------------------------------- packs


def _packs() -> list[bytes]:
    """Packs of every protocol and flavour."""
    encoded = [picture(0), picture(1, ".jpg"), *(b"%d" % number for number in range(18))]  # most bytes are opcodes
    same = [True, False] * 5
    flavours: list[Any] = [
        (encoded, same),
        ([bytearray(image) for image in encoded], same),
        ([np.frombuffer(image, np.uint8) for image in encoded], same),
        ([image.decode("latin-1") for image in encoded], same),
        (encoded, [np.bool_(flag) for flag in same]),
        (encoded, np.array(same, np.int64)),
    ]
    found = [pickle.dumps(flavour, protocol) for protocol in range(6) for flavour in flavours]
    two = b"(lp1\n" + b"".join(b"S" + ascii(image)[1:].encode() + b"\np%d\na" % n for n, image in enumerate(encoded, 2))
    found.append(b"(" + two + b"(lp90\n" + b"I01\naI00\na" * 5 + b"tp91\n.")  # Python 2
    return found


def _prepare_pack(folder: Path) -> None:
    write_pack(folder / "x.bin", [picture(number) for number in range(20)], [True, False] * 5)


_OPCODES = [
    *(bytes([code]) for code in b".()]}{elatRbcioqphgjNIKJMUTXSVBC"),
    *(bytes([code]) for code in (*range(0x80, 0x8F), *range(0x92, 0x99))),
    *(f"c{name}\n".encode() for name in ("os\nsystem", "builtins\neval", "numpy\nload")),
    *(f"cnumpy\n{name}\n".encode() for name in ("ndarray", "dtype")),
    b"cnumpy.core.multiarray\n_reconstruct\n",
    b"cnumpy.core.multiarray\nscalar\n",
    b"cnumpy.core.numeric\n_frombuffer\n",
    b"c_codecs\nencode\n",
    b"\x8c\x02os\x8c\x06system\x93",
    b"(S'touch ran'\nios\nsystem\n",
    b"X\x06\0\0\0latin1",
    b"h\x00h\x01",
    b"\x8b\xff\xff\xff\x7f",
    b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"L9999999999999999999999L\n",
    b"(" * 1000,
    b"]" * 1000,
]


# ---------------------------------------------------------------------------------------------- texts

_TEXT = [
    *(word.encode() for word in ("\n", "\r\n", "\t", " ", ",", '"', "\0", "\ufeff", "\u2028", "\x1b[31m", "é", "\x85")),
    *(b"../", b"../../etc/passwd", b"/etc/passwd", b"..\\", b"file", b"1", b"0", b"\xff", b"\xed\xa0\x80", b"x" * 300),
    b"\n" * 1000,
    b"," * 1000,
    b'"' + b"x" * 200_000,
]


def _write_photos(folder: Path, names: Sequence[str], side: int = SIDE) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(number, side=side))


def _lfw_pairs() -> str:
    genuine = [f"P{person}\t1\t{photo}" for person in range(PEOPLE) for photo in range(2, PHOTOS + 1)]
    impostor = [f"P{p}\t1\tP{(p + 1) % PEOPLE}\t{photo}" for p in range(PEOPLE) for photo in range(2, PHOTOS + 1)]
    return "2\t4\n" + "\n".join([*genuine[:4], *impostor[:4], *genuine[4:], *impostor[4:]]) + "\n"


def _path_pairs() -> str:
    names = photo_names()
    return "".join(f"{names[i]}\t{names[i + 1]}\t{(i + 1) % PHOTOS and 1}\n" for i in range(len(names) - 1))


def _two_line_pairs() -> str:
    names = [name.rpartition("/")[2] for name in photo_names()]
    genuine = [(names[PHOTOS * (k % PEOPLE)], names[PHOTOS * (k % PEOPLE) + 1], k + 1) for k in range(10)]
    impostor = [(names[0], names[PHOTOS * (1 + k % (PEOPLE - 1))], 0) for k in range(10)]
    return "".join(f"{a} {number}\n{b} {number}\n" for a, b, number in [*genuine, *impostor])


def _prepare_pairs(folder: Path) -> None:
    _write_photos(folder, photo_names())
    (folder / "pairs.txt").write_text(_lfw_pairs())


def _landmarks() -> str:
    points = ",".join(f"{value * SIDE / 112:.2f}" for value in TEMPLATE.ravel())
    return "\n".join([",".join(COLUMNS), *(f"{name},0.99,{points}" for name in photo_names())]) + "\n"


def _prepare_detected(folder: Path) -> None:
    """Landmarks with the columns of `elasticface detect`, one photo without a face, and one that cannot be read."""
    _prepare_pairs(folder)
    _, *rows = _landmarks().splitlines()
    rows = [f"{row},1,1,9,9,1" for row in rows[2:]]
    faceless, damaged = (name + "," * (len(DETECTED_COLUMNS) - 1) for name in photo_names()[:2])
    rows = [",".join(DETECTED_COLUMNS), faceless, f"{damaged}cut short", *rows]
    (folder / "landmarks5.csv").write_text("\n".join(rows) + "\n")


def _prepare_aligned(folder: Path) -> None:
    """A folder that `elasticface align` made, one photo without a face and one that was damaged."""
    _prepare_pairs(folder)
    first, second, *_ = photo_names()
    aligned.write(folder, aligned.Summary(SIDE, "png", without_face=[first], skipped={second: "not an image"}))
    (folder / first).unlink()
    (folder / second).unlink()


def _prepare_landmarks(folder: Path) -> None:
    _prepare_pairs(folder)
    (folder / "landmarks5.csv").write_text(_landmarks())


def _metadata() -> str:
    rows = [f"{name},{n * 9 - 50},{n / 7},{'smile' if n % 2 else 'none'},none" for n, name in enumerate(photo_names())]
    return "\n".join(["file,yaw,heterogeneity,expression,occlusion", *rows]) + "\n"


def _prepare_metadata(folder: Path) -> None:
    _prepare_pairs(folder)
    (folder / "metadata.csv").write_text(_metadata())


def _read_metadata(folder: Path) -> None:
    benchmark = open_pairs(folder)
    pairs = benchmark.pairs
    slices.slices(pairs.first, pairs.second, pairs.same, pairs.same, benchmark.metadata or {})


def _cfp_names(kind: str) -> list[str]:
    return [f"Data/Images/{p:03d}/{kind}/{n:02d}.png" for p in range(1, PEOPLE + 1) for n in (1, 2)]


def _prepare_cfp(folder: Path) -> None:
    for letter, kind in (("F", "frontal"), ("P", "profile")):
        names = _cfp_names(kind)
        _write_photos(folder, names)
        (folder / "Protocol").mkdir(exist_ok=True)
        rows = [f"{number} ../{name}\n" for number, name in enumerate(names, 1)]
        (folder / f"Protocol/Pair_list_{letter}.txt").write_text("".join(rows))
    for kind in ("FP", "FF"):
        for split in range(1, 11):
            (folder / f"Protocol/Split/{kind}/{split:02d}").mkdir(parents=True, exist_ok=True)
            (folder / f"Protocol/Split/{kind}/{split:02d}/same.txt").write_text("1,2\n3,4\n")
            (folder / f"Protocol/Split/{kind}/{split:02d}/diff.txt").write_text("1,4\n3,8\n")


def _read_cfp(folder: Path) -> None:
    for benchmark in open_cfp(folder):
        use(benchmark, most=1)


# ---------------------------------------------------------------------------------------------- large benchmarks


def _prepare_ijb(folder: Path) -> None:
    write_ijb(folder, subjects=4, pictures=False)


def _prepare_megaface(folder: Path, people: int = 2) -> None:
    rows = write_megaface(folder, people, distractors=9)
    features = np.random.default_rng(0).normal(size=(len(rows.probes) + 9, 4)).astype(np.float32)
    write_features(folder / "features", rows, features[:-9], features[-9:])


def _read_megaface(folder: Path) -> None:
    for rows in open_feature_folder(folder / "features", read_megaface(folder), None):
        assert rows.read(np.arange(len(rows))).shape == (len(rows), 4)


_IJB = [
    *("face_tid_mid.txt", "name_5pts_score.txt", "template_pair_label.txt"),
    *("1N_gallery_G1.csv", "1N_gallery_G2.csv", "1N_probe_mixed.csv"),
]
_MEGAFACE = [
    *("facescrub_features_list.json", "megaface_features_list.json_1000000_1"),
    *("facescrub_noises.txt", "megaface_noises.txt", "features/facescrub/Some_One0/Some_One0_100.png_r100.bin"),
]
_NUMBERS = [
    b"1e9999",
    b"-1",
    b"nan",
    b"inf",
    b"0x10",
    b"1_0",
    b"4294967296",
    b"9" * 400,
    b"[",
    b"{",
    b"null",
    b"[" * 9999,
]


_ARRAY = [b"\x93NUMPY", b"\x01\0v\0", b"\x02\0", b"(7, 4)", b"'<f4'", b"'|O'", b"True", b"'", b'"', b"(", b"[", b"{"]
_ARRAY += [b"3L", b"9" * 20, b"-1", b"\n", b"\\", b"\0", b'"""', b"#", b"\xc3", b"os.system('x')"]
_CACHE = ("0" * 64, (7, 4), 3)  # key, shape, block


def _features() -> bytes:
    content = BytesIO()
    np.save(content, np.arange(28, dtype=np.float32).reshape(7, 4))
    return content.getvalue()


def _read_features(folder: Path) -> None:
    assert open_features(folder / FEATURES, 7, "IJB-C").shape == (7, 4)


def _prepare_cache(folder: Path) -> None:
    (folder / FEATURES).write_bytes(_features())
    blocks = (_features()[-112:][start : start + 48] for start in (0, 48, 96))
    note = {"format": 1, "key": _CACHE[0], "shape": _CACHE[1], "block": _CACHE[2]}
    found = {"checksums": [zlib.crc32(rows) for rows in blocks], "unusable": [[2, "3.jpg", "3.jpg: broken"]]}
    (folder / PROGRESS).write_text(json.dumps({**note, **found}))


def _read_cache(folder: Path) -> None:
    found = left_over(folder, *_CACHE)
    if found is None:
        raise InputError("nothing of use")
    assert len(found.checksums) == 3
    assert all(found.checksums[row // 3] is not None for row in found.unusable)


# ---------------------------------------------------------------------------------------------- photos

_JSON = [b"{", b"}", b"[" * 2000, b"null", b"-1", b"1e999", b"NaN", b'"', b"\\u0000", b"true", b"../x", b"9" * 5000]
_TAR = [b"../../etc/passwd", b"/etc/passwd", b"\0" * 512, b"ustar\x0000", b"77777777777", b"\x80" + b"\xff" * 11]
_TAR += [b"x", b"L", b"K", b"S", b"2", b"1"]
_IMAGE = [b"\xff\xd8", b"\xff\xd9", b"\xff\xc0", b"\xff\xda", b"\xff\xe1", b"Exif\0\0"]
_IMAGE += [b"IEND", b"IHDR", b"IDAT", b"PLTE", b"tRNS"]


def _tar(format: int) -> bytes:
    content = BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=format) as tar:
        for number, name in enumerate([*photo_names()[:3], "long" * 60 + "/é.png"]):
            data = picture(number)
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, BytesIO(data))
    return content.getvalue()


def _read_tar(folder: Path) -> None:
    photos = Photos(folder / "x.tar")
    for name in photos:
        photos.read(name)


# ---------------------------------------------------------------------------------------------- training sets


def _use_set(source: Any, most: int = 5) -> None:
    """What training does with a set."""
    assert len(source) == len(source.labels) > 0
    assert 0 <= source.labels.min() <= source.labels.max() < source.num_classes
    for index in {0, len(source) // 2, *range(max(0, len(source) - most), len(source))}:
        try:
            image, label = source[index]
        except DamagedImage:
            continue
        assert image.shape == (SIDE, SIDE, 3)
        assert label == source.labels[index]


def _read_recordio(folder: Path) -> None:
    for path in (folder, folder / "alone"):
        _use_set(RecordIOSource(path, SIDE, cache=False))


def _prepare_recordio(folder: Path) -> None:
    faces = [(picture(number), float(number // 3)) for number in range(9)]
    faces[4] = (faces[4][0] + bytes(-len(faces[4][0]) % 4) + records.MAGIC + b"x", 1.0)  # a record in two parts
    records.write(folder, records.insightface(faces, 3))
    (folder / "property").write_text("3,8,8\n")
    records.write(folder / "alone", [records.payload((label, 0.0), face) for face, label in faces])
    (folder / "alone" / "train.idx").unlink()


def _plain_recordio() -> bytes:
    return b"".join(records.record(records.payload(float(n), picture(n, ".jpg"))) for n in range(5))


def _shard(format: int) -> bytes:
    content = BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=format) as tar:
        for number in range(4):
            label = ("cls", b"%d" % (number % 3)) if number % 2 else ("json", b'{"label": %d}' % (number % 3))
            for suffix, data in (("png", picture(number)), label, ("txt", b"more")):
                member = tarfile.TarInfo(f"{'long/' * 40 * (number == 2)}{number:05}.{suffix}")
                member.size = len(data)
                tar.addfile(member, BytesIO(data))
    return content.getvalue()


def _read_shards(folder: Path) -> None:
    source = ShardSource(folder, SIDE, cache=False, shuffle_buffer=3)
    _use_set(source)
    assert sorted(source.epoch_order(0, 0)) == list(range(len(source)))


_RECORDIO = [
    records.MAGIC,
    records.MAGIC * 2,
    *(n.to_bytes(4, "little") for n in (0, 1, 2, 2**29, 2**30, 3 << 29, 7 << 29)),
]
_RECORDIO += [b"\0\0\x80?", b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\t", b"\n", b"0\t0\n", b"9" * 18, b"9" * 5000, b","]


def _read_image(folder: Path) -> None:
    image = decoding.decode((folder / "x.jpg").read_bytes(), "x.jpg")
    assert image.dtype == np.uint8
    assert image.ndim == 3


def _find_faces(folder: Path) -> None:
    faces = align_faces(folder / "x.jpg", "all")
    assert faces.shape[1:] == (112, 112, 3)


def _photo() -> bytes:
    """A rendered face, on grey."""
    face, _ = SyntheticFaces(identities=1, images=1, cache=False)[0]
    photo = np.full((140, 130, 3), 128, np.uint8)
    photo[20:132, 8:120] = face
    return decoding.encode(photo, ".jpg")


def _writes(file: str, content: bytes) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        (folder / file).write_bytes(content)

    return prepare


# ---------------------------------------------------------------------------------------------- results

_RECORDS = [b"\x93NUMPY", b"\x01\0v\0", b"(20,)", b"'|O8'", b"'<f4'", b"'<f8'", b"'>f8'", b"\x7f\xff", b"True "]
_RECORDS += [b"(30, 12)", b"(30, 5)", b"(30, 2)", b"(0, 2)", b"\0\0\xc0\x7f", b"\0\0\0\0\0\0\xf8\x7f", b"\xf0\x3f"]


def _write_results(folder: Path) -> None:
    """Of every kind: pairs, IJB 1:1 and 1:N, MegaFace."""
    same = np.arange(20) % 2 == 0
    names = [f"{number:02d}" for number in range(40)]
    first, second = tuple(names[::2]), tuple(names[1::2])
    benchmark = PairBenchmark("lfw", Photos(folder), Pairs(first, second, same, 10))
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 20, 4)).astype(np.float32)
    write_ijb(folder / "IJBC", pictures=False)
    ijb = open_ijb(folder / "IJBC")
    features = rng.normal(size=(len(ijb.files.names), 4)).astype(np.float32)
    _prepare_megaface(folder / "MegaFace", people=8)
    with mock.patch.object(samples, "DRAWS", 30):  # for short files
        results = [
            figures("model", benchmark, a, b, benchmark.pairs),
            *ijb_figures(ijb, "model", Features(features, np.ones(len(features), np.bool_), {})),
            *open_megaface(folder / "MegaFace").measure(FeatureFiles(folder / "MegaFace/features"), folder),
        ]
    made = results_json(results, {"versions": {"x": "1"}}, stored.write_scores(folder, results))
    (folder / "results.json").write_text(json.dumps(made))


def _write_records(folder: Path) -> None:
    _write_results(folder)
    for number, of in enumerate(_told(folder)):
        (folder / of["stored"]["file"]).rename(folder / f"{number}.npy")


def _told(folder: Path) -> list[Any]:
    told: list[Any] = json.loads((folder / "results.json").read_text())["results"]
    return told


def _read_records(folder: Path) -> None:
    stored.records_of((folder / "0.npy").read_bytes(), "0.npy")
    for number, of in enumerate(_told(folder)[1:], 1):
        result, _ = stored.figures_of(of, "results.json")
        assert not isinstance(result, PairResult)
        count = sum(len(group.rates) for group in result.groups())
        rates = stored.samples_of((folder / f"{number}.npy").read_bytes(), count, f"{number}.npy")
        stored.with_samples(result, samples.Samples(rates, "subjects", ""), f"{number}.npy")


_CFP = ("Pair_list_F.txt", "Pair_list_P.txt", "Split/FP/01/same.txt", "Split/FF/07/diff.txt")


def _prepare_model(folder: Path) -> None:
    card = Card(
        *("tiny", "tiny", 16),
        training={"loss": "elastic-arc", "milestones": [7, 13], "m": None},
        calibration=made_up(),
    )
    FaceEncoder(backbones.create("tiny", 16), card).save(folder / "model")


def _read_calibration(folder: Path) -> None:
    calibration = calibration_beside(folder / "x.onnx")
    assert calibration is not None
    for point in calibration.points:
        assert calibration.threshold(point.fmr).fmr == point.fmr
        gallery_fmr(point.fmr, calibration.unit_count)
    calibration.llr(0.5)
    calibration.difference(calibration.conditions)


def _onnx_metadata() -> bytes:
    card = Card("tiny", "tiny", 16, training={"loss": "elastic-arc", "milestones": [7, 13], "m": None})
    export = {"precision": "int8", "opset": 20, "int8": {"faces": "rendered", "cosine": [0.99, 0.98]}}
    return json.dumps({"format": CARD_FORMAT, **asdict(card), "export": export}).encode()


def _read_onnx_metadata(folder: Path) -> None:
    """The text alone: what else is in the file is ONNX Runtime's to read."""
    network = mock.Mock(OnnxNetwork, path=folder / "x.onnx", embedding_size=16)
    network.metadata = (folder / "x.json").read_bytes().decode(errors="replace")
    card_of_onnx(network, {"size": 112})


READERS: dict[str, Reader] = {
    "packs": Reader(
        read=lambda folder: use(open_pairs(folder / "x.bin")),
        prepare=_prepare_pack,
        fuzzed=["x.bin"],
        words=_OPCODES,
        also=[("x.bin", content) for content in _packs()],
    ),
    "pairs": Reader(
        read=lambda folder: use(open_pairs(folder), most=1),
        prepare=_prepare_pairs,
        fuzzed=["pairs.txt"],
        words=_TEXT,
        also=[("pairs.txt", text.encode()) for text in (_path_pairs(), _two_line_pairs())],
    ),
    "landmarks": Reader(
        read=lambda folder: use(open_pairs(folder)),
        prepare=_prepare_landmarks,
        fuzzed=["landmarks5.csv"],
        words=_TEXT,
    ),
    "detected": Reader(
        read=lambda folder: use(open_pairs(folder), most=1),
        prepare=_prepare_detected,
        fuzzed=["landmarks5.csv"],
        words=_TEXT,
    ),
    "aligned": Reader(
        read=lambda folder: use(open_pairs(folder), most=1),
        prepare=_prepare_aligned,
        fuzzed=["align.json"],
        words=_TEXT,
    ),
    "metadata": Reader(read=_read_metadata, prepare=_prepare_metadata, fuzzed=["metadata.csv"], words=_TEXT),
    "cfp": Reader(read=_read_cfp, prepare=_prepare_cfp, fuzzed=[f"Protocol/{name}" for name in _CFP], words=_TEXT),
    "ijb": Reader(
        read=read_ijb, prepare=_prepare_ijb, fuzzed=[f"meta/ijbc_{name}" for name in _IJB], words=[*_TEXT, *_NUMBERS]
    ),
    "megaface": Reader(
        read=_read_megaface, prepare=_prepare_megaface, fuzzed=_MEGAFACE, words=[*_TEXT, *_NUMBERS, b"\x7f" * 4]
    ),
    "features": Reader(read=_read_features, prepare=_writes(FEATURES, _features()), fuzzed=[FEATURES], words=_ARRAY),
    "feature cache": Reader(
        read=_read_cache, prepare=_prepare_cache, fuzzed=[FEATURES, PROGRESS], words=[*_ARRAY, *_JSON]
    ),
    "identities": Reader(
        read=lambda folder: read_identities(folder / "people.txt"),
        prepare=_writes("people.txt", "# these\nAnn Lee\nZoë\n\nBob\n".encode()),
        fuzzed=["people.txt"],
        words=_TEXT,
    ),
    "tars": Reader(
        read=_read_tar,
        prepare=_writes("x.tar", _tar(tarfile.GNU_FORMAT)),
        fuzzed=["x.tar"],
        words=_TAR,
        also=[("x.tar", _tar(tarfile.PAX_FORMAT))],
    ),
    "recordio": Reader(
        read=_read_recordio,
        prepare=_prepare_recordio,
        fuzzed=["train.rec", "train.idx", "property", "alone/train.rec"],
        words=_RECORDIO,
        also=[("alone/train.rec", _plain_recordio())],
    ),
    "shards": Reader(
        read=_read_shards,
        prepare=_writes("x.tar", _shard(tarfile.GNU_FORMAT)),
        fuzzed=["x.tar"],
        words=[*_TAR, *_JSON, b".cls", b".json", b".png"],
        also=[("x.tar", _shard(tarfile.PAX_FORMAT)), ("x.tar", _shard(tarfile.USTAR_FORMAT))],
    ),
    "results": Reader(read=stored.read_results, prepare=_write_results, fuzzed=["results.json"], words=_JSON),
    "scores": Reader(
        read=_read_records,
        prepare=_write_records,
        fuzzed=[f"{number}.npy" for number in range(5)],
        words=_RECORDS,
    ),
    "images": Reader(
        read=_read_image,
        prepare=_writes("x.jpg", picture(0, ".jpg", 32)),
        fuzzed=["x.jpg"],
        words=_IMAGE,
        also=[("x.jpg", picture(1, ".png", 32))],
    ),
    "photos": Reader(
        read=_find_faces, prepare=lambda folder: _writes("x.jpg", _photo())(folder), fuzzed=["x.jpg"], words=_IMAGE
    ),
    "model cards": Reader(
        read=lambda folder: load(folder / "model"), prepare=_prepare_model, fuzzed=["model/model.json"], words=_JSON
    ),
    "calibrations": Reader(
        read=_read_calibration,
        prepare=lambda folder: store_calibration(folder / "x.onnx", made_up()),
        fuzzed=["x.onnx.calibration.json"],
        words=_JSON,
    ),
    "onnx metadata": Reader(
        read=_read_onnx_metadata, prepare=_writes("x.json", _onnx_metadata()), fuzzed=["x.json"], words=_JSON
    ),
}
