"""FolderSource and open_dataset: a folder of identity folders as a source, and every way it can be wrong."""

import os
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest

from elasticface.base.errors import InputError
from elasticface.data import EncodedSource, Source, open_dataset, require_identities
from elasticface.data.feed.sampler import KeyedBatchSampler
from elasticface.data.formats.folder import FolderSource
from elasticface.data.images.decoding import DamagedImage, encode


def face(value: int, size: int = 112):
    return np.full((size, size, 3), (value, 10, 200), np.uint8)


def put(path, value: int = 0, size: int = 112):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(face(value, size), ".png"))


@pytest.fixture
def people(tmp_path):
    """Three identities with 2, 1 and 3 images; an image's red is 10 times its identity plus its number."""
    root = tmp_path / "people"
    for label, (identity, count) in enumerate({"anna": 2, "bert": 1, "carla": 3}.items()):
        for number in range(count):
            put(root / identity / f"{number}.png", 10 * label + number)
    return root


@pytest.fixture(autouse=True)
def _unexpected_warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_identities_and_images_come_in_the_order_of_their_names(people):
    source = FolderSource(people)
    assert len(source) == 6
    assert source.num_classes == 3
    assert source.class_names == ["anna", "bert", "carla"]
    assert source.labels.dtype == np.int64
    assert source.labels.tolist() == [0, 0, 1, 2, 2, 2]
    assert [source.name(i) for i in range(6)] == [
        "anna/0.png",
        "anna/1.png",
        "bert/0.png",
        "carla/0.png",
        "carla/1.png",
        "carla/2.png",
    ]
    assert source.paths == [people / source.name(i) for i in range(6)]


def test_an_item_is_an_rgb_image_and_a_plain_label(people):
    image, label = FolderSource(people)[4]
    np.testing.assert_array_equal(image, face(21))
    assert label == 2
    assert type(label) is int


def test_indices_count_from_the_end_and_end(people):
    source = FolderSource(people)
    assert source[-1][1] == 2
    assert source.path(-6) == source.path(0)
    assert source[np.int64(2)][1] == 1
    assert len(list(source)) == 6
    for beyond in (6, -7):
        with pytest.raises(IndexError):
            source[beyond]


def test_hidden_files_and_files_beside_the_identity_folders_are_passed_over(people):
    put(people / ".thumbnails" / "0.png")
    put(people / "anna" / ".0.png")
    (people / "list.csv").write_text("hello")
    assert len(FolderSource(people)) == 6


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("anna/more/0.png", "folders below identity folders, with all that is in them, such as anna/more"),
        ("anna/notes.txt", r"files without an image's suffix, such as anna/notes\.txt"),
        ("anna/0.png.part", r"files without an image's suffix, such as anna/0\.png\.part"),
    ],
)
def test_what_lies_among_the_images_and_is_none_is_counted(people, name, what):
    put(people / name)
    with pytest.warns(UserWarning, match=f"left out: 1 {what}"):
        assert len(FolderSource(people)) == 6


def test_suffixes_count_in_either_case(people):
    put(people / "bert" / "1.PNG")
    (people / "bert" / "2.JpEg").write_bytes(encode(face(0), ".jpg"))
    assert len(FolderSource(people)) == 8


def test_links_are_followed_and_circles_do_no_harm(people, tmp_path):
    put(tmp_path / "elsewhere" / "0.png", 77)
    (people / "dora").symlink_to(tmp_path / "elsewhere")
    (people / "anna" / "circle").symlink_to(people)
    with pytest.warns(UserWarning, match="such as anna/circle"):
        source = FolderSource(people)
    assert source.class_names == ["anna", "bert", "carla", "dora"]
    assert source[6][0][0, 0, 0] == 77
    (people / "everyone").symlink_to(people)
    (people / "anna" / "circle").unlink()
    with (
        pytest.warns(UserWarning, match="1 identity folders without images, such as everyone"),
        pytest.warns(UserWarning, match="folders below identity folders"),
    ):
        assert len(FolderSource(people)) == 7


def test_a_link_that_leads_nowhere_is_a_damaged_image(people):
    (people / "anna" / "gone.png").symlink_to(people / "nowhere.png")
    source = FolderSource(people)
    assert source.name(2) == "anna/gone.png"
    with pytest.raises(DamagedImage, match=r"anna/gone\.png: cannot be read: No such file"):
        source[2]


def test_an_image_that_vanished_is_a_damaged_image(people):
    source = FolderSource(people)
    (people / "bert" / "0.png").unlink()
    with pytest.raises(DamagedImage, match=r"bert/0\.png: cannot be read"):
        source[2]


def test_a_damaged_image_names_its_path_and_spares_the_others(people):
    (people / "anna" / "0.png").write_text("this is no image")
    source = FolderSource(people)
    with pytest.raises(DamagedImage) as caught:
        source[0]
    assert str(caught.value).startswith(f"{people}/anna/0.png: ")
    assert source[1][1] == 0


def test_names_of_any_bytes_are_read_and_printed_on_one_line(tmp_path):
    strange = [b"\xff\xfe.png", "é字.png".encode(), b"two\nlines.png"]
    (tmp_path / "people" / "anna").mkdir(parents=True)
    for value, name in enumerate(sorted(strange, key=os.fsdecode)):
        with open(os.path.join(os.fsencode(tmp_path / "people" / "anna"), name), "wb") as file:
            file.write(encode(face(value), ".png"))
    source = FolderSource(tmp_path / "people")
    assert [image[0, 0, 0] for image, _ in source] == [0, 1, 2]
    names = [source.name(i) for i in range(3)]
    assert all(name.encode("utf-8") and "\n" not in name for name in names)
    assert "anna/é字.png" in names


def test_images_of_another_size_are_resized_with_one_warning(people):
    put(people / "bert" / "0.png", 50, size=250)
    put(people / "carla" / "0.png", 60, size=60)
    source = FolderSource(people)
    with pytest.warns(UserWarning, match=r"not 112x112 pixels are resized, such as .*/bert/0\.png of 250x250") as told:
        images = [image for image, _ in source]
    assert len(told) == 1
    assert all(image.shape == (112, 112, 3) for image in images)
    assert (images[2] == (50, 10, 200)).all()


def test_resizing_is_told_on_opening_so_that_workers_do_not_repeat_it(people):
    with pytest.warns(UserWarning, match=r"not 96x96 pixels are resized, such as .*/anna/0\.png of 112x112"):
        source = FolderSource(people, size=96)
    assert source[0][0].shape == (96, 96, 3)
    assert pickle.loads(pickle.dumps(source))[3][0].shape == (96, 96, 3)


def test_a_pickled_source_reads_the_same(people):
    source = FolderSource(people)
    copy = pickle.loads(pickle.dumps(source))
    assert copy.class_names == source.class_names
    assert copy.paths == source.paths
    np.testing.assert_array_equal(copy[3][0], source[3][0])


def test_memory_an_image_is_its_name_and_16_bytes(tmp_path):
    for identity in range(20):
        (tmp_path / f"{identity:02d}").mkdir()
        for number in range(100):
            (tmp_path / f"{identity:02d}" / f"{number:03d}.jpg").touch()
    pickled = len(pickle.dumps(FolderSource(tmp_path)))
    assert pickled < 2000 * (7 + 16) + 2000


def test_workers_of_a_data_loader_read_what_the_sampler_says(people):
    loader_of = pytest.importorskip("torch.utils.data").DataLoader
    source = FolderSource(people)
    sampler = KeyedBatchSampler(len(source), 2, seed=1, epoch=0)
    batches = list(loader_of(source, batch_sampler=sampler, num_workers=2, collate_fn=list))
    read = [[int(image[0, 0, 0]) for image, _ in batch] for batch in batches]
    assert read == [[int(source[index][0][0, 0, 0]) for index in batch] for batch in sampler]


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"nowhere: cannot be read: No such file"):
        FolderSource(tmp_path / "nowhere")


def test_a_file_is_refused(people):
    with pytest.raises(InputError, match=r"0\.png: cannot be read: Not a directory"):
        FolderSource(people / "anna" / "0.png")


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="no identity folders"):
        FolderSource(tmp_path)


def test_images_without_identity_folders_are_refused(people):
    with pytest.raises(InputError, match="3 images directly in it, but no identity folders"):
        FolderSource(people / "carla")


def test_identity_folders_without_any_image_are_refused(people):
    with pytest.raises(InputError, match="no images in any of its 1 folders"):
        FolderSource(people.parent)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_may_not_be_read_is_refused(people):
    (people / "bert").chmod(0)
    try:
        with pytest.raises(InputError, match="bert: cannot be read: Permission denied"):
            FolderSource(people)
    finally:
        (people / "bert").chmod(0o700)


def test_what_is_left_out_is_counted(people):
    (people / "aaron").mkdir()
    (people / "zoe").mkdir()
    with pytest.warns(UserWarning, match="left out: 2 identity folders without images, such as aaron"):
        source = FolderSource(people)
    assert source.class_names == ["anna", "bert", "carla"]
    (people / "aaron").rmdir()
    (people / "zoe").rmdir()
    put(people / "stray.png")
    with pytest.warns(UserWarning, match=r"left out: 1 images outside identity folders, such as stray\.png"):
        assert len(FolderSource(people)) == 6


def test_a_size_below_one_is_refused(people):
    with pytest.raises(InputError, match="size"):
        FolderSource(people, size=0)


def test_open_dataset_opens_a_folder_with_its_options(people):
    source: Source = open_dataset(people)
    assert isinstance(source, FolderSource)
    assert len(source) == len(open_dataset(str(people)))
    with pytest.warns(UserWarning, match="resized"):
        assert open_dataset(people, size=64)[0][0].shape == (64, 64, 3)


def test_a_folder_may_be_called_synthetic_and_hold_a_tar(people, monkeypatch):
    people.rename(people.with_name("synthetic-people"))
    monkeypatch.chdir(people.parent)
    (people.parent / "synthetic-people" / "backup.tar").touch()
    assert len(open_dataset("synthetic-people")) == 6


def test_an_image_as_it_lies_on_the_disk_can_be_had(people):
    source = FolderSource(people)
    assert isinstance(source, EncodedSource)
    assert source.encoded(4) == ((people / "carla" / "1.png").read_bytes(), 2)
    (people / "carla" / "1.png").unlink()
    with pytest.raises(DamagedImage, match=r"^.*carla/1\.png: cannot be read: No such file"):
        source.encoded(4)


def test_what_is_none_of_the_other_formats_is_a_folder_of_people(tmp_path):
    for path in (tmp_path / "nothing", tmp_path / "a.zip"):
        with pytest.raises(InputError, match="give a folder with one folder per identity"):
            open_dataset(path)


def test_an_unknown_option_is_named(people):
    with pytest.raises(InputError, match="no option 'sise'; it knows size"):
        open_dataset(people, sise=112)


def test_training_needs_two_identities(people):
    require_identities(open_dataset(people), 2)
    for path in list((people / "bert").iterdir()) + list((people / "carla").iterdir()):
        path.unlink()
    (people / "bert").rmdir()
    (people / "carla").rmdir()
    alone = open_dataset(people)
    with pytest.raises(InputError, match=r"at least 2 .* holds 1 \('anna'\)"):
        require_identities(alone, 2)


def test_importing_the_data_room_brings_neither_torch_nor_opencv():
    heavy = "import sys, elasticface.data; print([name for name in ('torch', 'cv2') if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", heavy], text=True).strip() == "[]"
