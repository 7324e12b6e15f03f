"""elasticface.data.images.photos: a folder and a tar of the same photos read alike, and no name leads out of either."""

import gzip
import io
import os
import pickle
import random
import tarfile

import pytest

from elasticface.base.errors import InputError
from elasticface.data.images import photos as photos_module
from elasticface.data.images.decoding import DamagedImage
from elasticface.data.images.photos import Photos, person_of, read_identities

FILES = {
    "Bob/Bob_0001.PNG": b"bob",
    "Ann_Lee/Ann_Lee_0002.jpg": b"ann two",
    "Ann_Lee/Ann_Lee_0001.jpg": b"ann one",
    "deep/er/still/x.webp": b"deep",
    "top.jpeg": b"",
    "Ann_Lee/notes": b"",
    "meta/list.txt": b"",
    "pairs.txt": "1\t2\nZoë\t1\t2\n".encode(),
    ".hidden.jpg": b"hidden",
    "Ann_Lee/._Ann_Lee_0001.jpg": b"hidden",
    ".cache/x.jpg": b"hidden",
}
NAMES = ["Ann_Lee/Ann_Lee_0001.jpg", "Ann_Lee/Ann_Lee_0002.jpg", "Bob/Bob_0001.PNG", "deep/er/still/x.webp", "top.jpeg"]


def entry(name: str, data: bytes = b"", **fields) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def tar(path, entries, **options):
    with tarfile.open(path, "w", **options) as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return path


def as_folder(root):
    for name, data in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


@pytest.fixture(params=["folder", "gnu", "pax", "dotted"])
def photos(request, tmp_path):
    if request.param == "folder":
        return Photos(as_folder(tmp_path / "photos"))
    folders = [entry("./", type=tarfile.DIRTYPE), entry("./Bob/", type=tarfile.DIRTYPE)]
    lead = "./" if request.param == "dotted" else ""
    format = tarfile.PAX_FORMAT if request.param == "pax" else tarfile.GNU_FORMAT
    entries = folders + [entry(lead + name, data) for name, data in FILES.items()]
    return Photos(str(tar(tmp_path / "photos.tar", entries, format=format)))


def test_a_folder_and_a_tar_list_and_read_the_same(photos):
    assert photos.names == NAMES
    assert list(photos) == NAMES
    assert len(photos) == 5
    assert photos.left_out == {}
    assert [photos.read(name) for name in photos] == [FILES[name] for name in NAMES]


def test_other_files_are_read_by_name_but_not_listed(photos):
    assert "pairs.txt" in photos
    assert "pairs.txt" not in photos.names
    assert photos.read_text("pairs.txt") == "1\t2\nZoë\t1\t2\n"


def test_files_that_are_no_images_are_named_where_photos_are(photos):
    assert photos.others == ["Ann_Lee/notes", "pairs.txt"]


@pytest.mark.parametrize("packed", [False, True])
def test_folders_without_a_photo_are_named(tmp_path, packed):
    names = ("Ann/1.jpg", "Ann/.git/x", "Bo/1.jpg_original", "Cy/raw.cr2", "Di/older/1.jpg", "Ed/older/1.txt", ".git/x")
    folders = (entry("./Flo", type=tarfile.DIRTYPE), entry("./Ann/Gus", type=tarfile.DIRTYPE))
    place = tar(tmp_path / "people.tar", [*folders, *(entry(name, b"x") for name in names)])
    if not packed:
        with tarfile.open(place) as packed_photos:
            packed_photos.extractall(tmp_path / "people", filter="data")
        place = tmp_path / "people"
    photos = Photos(place)
    assert photos.empty == ["Bo", "Ed", "Flo"]
    assert photos.passed_over() == dict.fromkeys(photos.empty, "a folder without a photo")


def test_a_pickled_copy_reads_the_same(photos):
    copy = pickle.loads(pickle.dumps(photos))
    assert copy.names == photos.names
    assert copy.read(NAMES[0]) == b"ann one"


def test_what_is_not_there_cannot_be_read(photos):
    for name in ("Ann_Lee", "", "nobody.jpg", "../photos/top.jpeg", "/etc/passwd", "a\0b.jpg", "x" * 5000):
        assert name not in photos
        with pytest.raises(DamagedImage, match=r": (there is no such file|cannot be read: Is a directory)$"):
            photos.read(name)
        with pytest.raises(InputError, match=r"photos.*: (there is no such file|cannot be read: Is a directory)$"):
            photos.read_text(name)


def test_text_that_is_not_utf8_is_an_error(photos, tmp_path):
    (tmp_path / "latin").mkdir()
    (tmp_path / "latin" / "pairs.txt").write_bytes("Zoë".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin: pairs.txt: not UTF-8 text \(byte 2\); save it as UTF-8"):
        Photos(tmp_path / "latin").read_text("pairs.txt")


def test_a_huge_file_is_listed_but_not_read_as_an_image(photos, monkeypatch):
    monkeypatch.setattr(photos_module, "MAX_BYTES", 6)
    assert photos.read("Bob/Bob_0001.PNG") == b"bob"
    with pytest.raises(DamagedImage, match=r"^Ann_Lee/Ann_Lee_0001.jpg: 7 bytes, more than the 6 .*; shrink or remove"):
        photos.read("Ann_Lee/Ann_Lee_0001.jpg")
    assert photos.read_text("pairs.txt").startswith("1\t2")


def test_the_limit_is_64_mebibytes():
    assert photos_module.MAX_BYTES == 64 * 1024 * 1024


# Names that lead elsewhere, and things that are no files.

HOSTILE = {
    "../../x.jpg": "a path with ..",
    "a/../../x.jpg": "a path with ..",
    "/abs/x.jpg": "an absolute path",
    "a\\x.jpg": "a backslash or NUL in its name",
}


def test_a_tar_leaves_out_names_that_lead_elsewhere(tmp_path):
    entries = [entry(name, b"evil") for name in HOSTILE] + [entry("../secret.txt", b"x"), entry("Ann/a.jpg", b"good")]
    photos = Photos(tar(tmp_path / "x.tar", entries))
    assert photos.names == ["Ann/a.jpg"]
    assert photos.left_out == HOSTILE
    for name in [*HOSTILE, "../secret.txt", "x.jpg", "abs/x.jpg"]:
        assert name not in photos


def test_a_tar_leaves_out_links_devices_and_sparse_files(tmp_path):
    kinds = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
    entries = [entry(f"./Ann/{kind.decode()}.jpg", type=kind, linkname="/etc/passwd") for kind in kinds]
    sparse = entry("Ann/sparse.jpg", b"1\n0\n1\n".ljust(512, b"\0") + b"x")
    sparse[0].pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "Ann/sparse.jpg",
        "GNU.sparse.realsize": "1",
    }
    photos = Photos(tar(tmp_path / "x.tar", [*entries, sparse, entry("Ann/a.jpg", b"good")], format=tarfile.PAX_FORMAT))
    assert photos.names == ["Ann/a.jpg"]
    assert photos.left_out.keys() == {*(f"Ann/{kind.decode()}.jpg" for kind in kinds), "Ann/sparse.jpg"}
    assert set(photos.left_out.values()) == {"a link, a device or a sparse file"}


def test_of_a_name_that_a_tar_holds_twice_the_later_counts(tmp_path):
    photos = Photos(tar(tmp_path / "x.tar", [entry("a.jpg", b"old"), entry("./a.jpg", b"new")]))
    assert photos.names == ["a.jpg"]
    assert photos.read("a.jpg") == b"new"


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_names_that_are_not_utf8_are_left_out_since_no_list_could_hold_them(kind, tmp_path):
    if kind == "tar":
        entries = [entry(name, b"z") for name in ("Zo\udceb/a.jpg", "Zoë/a.jpg")]
        photos = Photos(tar(tmp_path / "x.tar", entries, format=tarfile.GNU_FORMAT))
    else:
        for folder in ("Zo\udceb", "Zoë"):
            (tmp_path / "x" / folder).mkdir(parents=True)
            (tmp_path / "x" / folder / "a.jpg").write_bytes(b"z")
        (tmp_path / "x" / "link\udceb").symlink_to("Zoë")
        photos = Photos(tmp_path / "x")
    assert photos.names == ["Zoë/a.jpg"]
    assert photos.left_out.pop("Zo\\xeb/a.jpg") == "a name that is not UTF-8"
    assert photos.left_out == ({} if kind == "tar" else {"link\\xeb": "a link to a folder"})
    with pytest.raises(DamagedImage, match=r"^Zo\\udceb/a.jpg: there"):
        photos.read("Zo\udceb/a.jpg")


def test_some_identities_and_what_was_left_out_of_theirs(tmp_path):
    photos = Photos(tar(tmp_path / "x.tar", [entry(name, b"z") for name in ("A/1.jpg", "A/2.cr2", "B/1.jpg", "c.jpg")]))
    assert photos.of(["A", "Zoë"]) == (["A/1.jpg"], {"A/2.cr2": photos.left_out["A/2.cr2"]})
    assert photos.of(["B", "c.jpg"]) == (["B/1.jpg", "c.jpg"], {})
    assert photos.of(None) == (photos.names, photos.left_out)


def test_a_folder_leaves_out_links_that_leave_it_and_linked_folders(tmp_path):
    root = as_folder(tmp_path / "photos")
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (tmp_path / "secrets").mkdir()
    (root / "out.jpg").symlink_to("../secret.jpg")
    (root / "loop.jpg").symlink_to("loop.jpg")
    (root / "in.jpg").symlink_to("Bob/Bob_0001.PNG")
    (root / "folder").symlink_to(tmp_path / "secrets")
    (root / "pairs2.txt").symlink_to("../secret.jpg")
    (root / "back\\slash.jpg").write_bytes(b"x")
    photos = Photos(root)
    assert photos.names == sorted([*NAMES, "in.jpg", "loop.jpg"])
    assert photos.read("in.jpg") == b"bob"
    assert photos.left_out == {
        "out.jpg": "a link that leads out of the folder",
        "folder": "a link to a folder",
        "back\\slash.jpg": "a backslash or NUL in its name",
    }
    for name in ("out.jpg", "pairs2.txt"):
        with pytest.raises(InputError, match="no such file"):
            photos.read_text(name)
    with pytest.raises(DamagedImage, match=r"^loop\.jpg: cannot be read: Too many levels of symbolic links$"):
        photos.read("loop.jpg")


def test_a_link_put_in_place_of_a_photo_later_does_not_lead_out(tmp_path):
    photos = Photos(as_folder(tmp_path / "photos"))
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (tmp_path / "photos" / NAMES[0]).unlink()
    (tmp_path / "photos" / NAMES[0]).symlink_to(tmp_path / "secret.jpg")
    with pytest.raises(DamagedImage):
        photos.read(NAMES[0])


def test_the_folder_may_be_reached_through_a_link(tmp_path):
    as_folder(tmp_path / "photos")
    (tmp_path / "link").symlink_to("photos")
    assert Photos(tmp_path / "link").read(NAMES[0]) == b"ann one"


# What is no folder and no good tar.


def test_nothing_there_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"missing: cannot be read: No such file or directory; give a folder or"):
        Photos(tmp_path / "missing")


def test_a_device_is_an_error():
    with pytest.raises(
        InputError, match=r"^/dev/null: cannot be read: is a device, not a file; give a folder or a plain tar$"
    ):
        Photos("/dev/null")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_may_not_be_read_is_an_error(tmp_path):
    (tmp_path / "shut").mkdir(mode=0)
    with pytest.raises(InputError, match=r"shut: cannot be read: Permission denied"):
        Photos(tmp_path)


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_compressed_tar_is_refused(tmp_path, mode):
    with tarfile.open(tmp_path / "x.tar", mode) as archive:
        archive.addfile(entry("a.jpg")[0])
    with pytest.raises(InputError, match=r"x.tar: compressed with (gzip|bzip2|xz), .*unpack it, or pack it again"):
        Photos(tmp_path / "x.tar")


def test_a_file_that_is_no_tar_is_refused(tmp_path):
    for content in (b"", b"hello", b"hello" * 1000, gzip.compress(b"x")[4:], bytes(300)):
        (tmp_path / "x.tar").write_bytes(content)
        with pytest.raises(InputError, match=r"x.tar: not a tar, or a damaged one \(.*\); fetch or pack it again"):
            Photos(tmp_path / "x.tar")


@pytest.fixture
def archive(tmp_path):
    return tar(tmp_path / "x.tar", [entry(f"p/{i}.jpg", bytes([i]) * 700) for i in range(1, 5)])


@pytest.mark.parametrize("length", [100, 512, 1000, 1536, 1537, 4 * 1536 - 1, 4 * 1536])
def test_a_tar_that_is_cut_short_is_an_error_and_not_fewer_photos(archive, length):
    os.truncate(archive, length)
    with pytest.raises(InputError, match="not a tar, or a damaged one"):
        Photos(archive)


def test_a_tar_with_a_broken_header_is_an_error_and_not_fewer_photos(archive):
    with archive.open("r+b") as file:
        file.seek(2 * 1536 + 10)
        file.write(b"XX")
    with pytest.raises(InputError, match=r"damaged one \(cut short or overwritten at byte 3072\)"):
        Photos(archive)


def test_a_tar_whose_sizes_lead_backwards_ends(tmp_path):
    backwards, _ = entry("p/x.jpg")
    backwards.size = -1536
    data = b"".join(entry(n)[0].tobuf(tarfile.GNU_FORMAT) for n in "abc") + backwards.tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "x.tar").write_bytes(data + bytes(1024))
    with pytest.raises(InputError, match="not a tar, or a damaged one"):
        Photos(tmp_path / "x.tar")


def test_whatever_bytes_are_wrong_the_error_is_an_input_error(tmp_path):
    entries = [entry("p/" + "long" * 60 + f"/{i}.jpg", bytes([i]) * 600) for i in range(1, 4)]
    entries[1][0].pax_headers = {"comment": "x" * 600, "GNU.sparse.map": "0,1"}
    path, draw, messages = tmp_path / "x.tar", random.Random(0), set()
    good = [tar(path, entries, format=f).read_bytes() for f in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)]
    for _ in range(300):
        data = bytearray(draw.choice(good))
        used = len(data.rstrip(b"\0"))
        for _ in range(draw.randint(1, 6)):
            data[draw.randrange(used)] = draw.choice(b"\0\x80\xff0SxgLK1,=\n ")
        path.write_bytes(data)
        try:
            photos = Photos(path)
            for name in photos:
                photos.read(name)
        except InputError as error:
            messages.add(str(error))
    assert messages
    assert not any("\n" in message for message in messages)


def test_a_tar_that_shrank_meanwhile_is_a_damaged_image(archive):
    photos = Photos(archive)
    os.truncate(archive, 600)
    with pytest.raises(DamagedImage, match=r"^p/1.jpg: ends after 88 of 700 bytes"):
        photos.read("p/1.jpg")
    archive.unlink()
    with pytest.raises(DamagedImage, match=r"^p/1.jpg: cannot be read: No such file"):
        photos.read("p/1.jpg")


@pytest.mark.parametrize("last", ["file", "link"])
def test_of_members_of_one_name_in_a_tar_the_last_one_counts(last, tmp_path):
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        for kind in ("link", "file") if last == "file" else ("file", "link"):
            member = tarfile.TarInfo("a/1.jpg")
            if kind == "link":
                member.type, member.linkname = tarfile.SYMTYPE, "elsewhere"
                tar.addfile(member)
            else:
                member.size = 4
                tar.addfile(member, io.BytesIO(b"jpeg"))
    photos = Photos(tmp_path / "photos.tar")
    assert list(photos.names) == (["a/1.jpg"] if last == "file" else [])
    assert list(photos.left_out) == ([] if last == "file" else ["a/1.jpg"])


# Lists of identities.


def test_identities_are_the_lines_that_are_neither_blank_nor_comments(tmp_path):
    (tmp_path / "list.txt").write_bytes("\ufeff# people\r\nAnn_Lee\r\n\r\n  Zoë \nAnn_Lee\n#Bob\n".encode())
    assert read_identities(tmp_path / "list.txt") == {"Ann_Lee", "Zoë"}


def test_a_list_of_identities_that_names_no_one_is_an_error(tmp_path):
    path = tmp_path / "list.txt"
    with pytest.raises(InputError, match=r"list.txt: cannot be read: No such file or directory; give a text file with"):
        read_identities(path)
    path.write_text("# nobody\n\n")
    with pytest.raises(InputError, match=r"list.txt: names no identity; give one a line"):
        read_identities(str(path))
    path.write_bytes("Zoë".encode("latin-1"))
    with pytest.raises(InputError, match=r"list.txt: not UTF-8 text \(byte 2\); save it as UTF-8"):
        read_identities(path)


def test_names_that_differ_in_the_form_of_unicode_alone_are_refused(tmp_path):
    for name in ("Zo\u00eb.jpg", "Zoe\u0308.jpg", "a.jpg"):
        (tmp_path / name).write_bytes(b"x")
    photos = Photos(tmp_path)
    assert len(photos) == 3
    with pytest.raises(InputError, match=r"two photos are named Zo.*NFC and NFD\); rename one"):
        photos.check_forms()
    (tmp_path / "Zo\u00eb.jpg").unlink()
    Photos(tmp_path).check_forms()


def test_identities_without_a_photo_are_named(tmp_path):
    (tmp_path / "Ann").mkdir()
    (tmp_path / "Ann/a.jpg").write_bytes(b"x")
    assert Photos(tmp_path).missing(["Cy", "Ann", "Bob"]) == ["Bob", "Cy"]
    assert Photos(tmp_path).missing(None) == []


def test_people_are_folders_of_photos_and_not_of_folders(photos, tmp_path):
    advice = "give .*/deep" if photos.path.is_dir() else "pack them without it"
    told = rf"whose photo is deep/er/still/x\.webp\? It must be <person>/<photo>: .* in deep, {advice}; if"
    with pytest.raises(InputError, match=told):
        photos.check_people()
    (tmp_path / "flat/Ann").mkdir(parents=True)
    for name in ("Ann/a.jpg", "Bob.jpg"):
        (tmp_path / "flat" / name).write_bytes(b"x")
    Photos(tmp_path / "flat").check_people()
    assert [person_of(name) for name in ("Ann/a.jpg", "Bob.jpg", "./Zoe\u0308/1.jpg")] == ["Ann", "Bob", "Zo\u00eb"]


def test_one_photo_is_no_set_of_photos(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match=r"a.jpg: is one photo; give its folder, or a plain tar"):
        Photos(tmp_path / "a.jpg")
    with pytest.raises(InputError, match="photos are needed: give a folder or a plain tar"):
        Photos("")
