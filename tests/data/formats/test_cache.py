"""What is kept of a set is found again as long as the set is the same, and is never more than a help."""

import numpy as np
import pytest

from elasticface.data.formats.cache import ArrayCache

KINDS = ("a", "b")
ARRAYS = {"a": np.arange(5), "b": np.arange(5) ** 2}


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("ELASTICFACE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "x.rec"
    path.write_bytes(b"content")
    return path


def kept(tmp_path):
    return list((tmp_path / "cache").rglob("*.npz"))


def test_arrays_are_found_again_until_the_file_or_the_kind_changes(file):
    ArrayCache("kind 1", [file]).save(ARRAYS)
    found = ArrayCache("kind 1", [file]).load(KINDS)
    assert {name: array.tolist() for name, array in found.items()} == {n: a.tolist() for n, a in ARRAYS.items()}
    assert ArrayCache("kind 2", [file]).load(KINDS) is None
    assert ArrayCache("kind 1", [file, file]).load(KINDS) is None
    file.write_bytes(b"other content")
    assert ArrayCache("kind 1", [file]).load(KINDS) is None


def test_arrays_of_another_kind_or_shape_or_damaged_are_not_taken(file, tmp_path):
    cache = ArrayCache("kind 1", [file])
    for arrays in (
        {"a": np.arange(5)},
        {"a": np.arange(5), "b": np.arange(6)},
        {"a": np.arange(5), "b": np.zeros(5)},
        {"a": np.arange(5), "b": np.zeros((5, 1), np.int64)},
    ):
        cache.save(arrays)
        assert cache.load(KINDS) is None
    cache.save(ARRAYS)
    (path,) = kept(tmp_path)
    whole = path.read_bytes()
    for content in (b"", b"x" * 100, whole[:-1], whole[:50] + b"x" + whole[51:], whole.replace(b"int64", b"x")[::-1]):
        path.write_bytes(content)
        found = cache.load(KINDS)
        assert found is None or all(np.array_equal(found[name], ARRAYS[name]) for name in KINDS)


def test_nothing_is_unpickled(file, tmp_path):
    cache = ArrayCache("kind 1", [file])
    cache.save(ARRAYS)
    np.savez(kept(tmp_path)[0], a=np.array([{}], object), b=np.arange(1))
    assert cache.load(KINDS) is None


def test_a_cache_that_is_off_missing_or_not_writable_is_none(file, tmp_path, monkeypatch):
    for cache in (ArrayCache("kind 1", [file], on=False), ArrayCache("kind 1", [tmp_path / "gone"])):
        cache.save(ARRAYS)
        assert cache.load(KINDS) is None
    assert not (tmp_path / "cache").exists()
    (tmp_path / "cache").write_text("a file in its place")
    cache = ArrayCache("kind 1", [file])
    cache.save(ARRAYS)
    assert cache.load(KINDS) is None


def test_arrays_are_not_kept_where_the_disk_is_full(file, tmp_path, monkeypatch):
    monkeypatch.setattr("elasticface.base.files.room", lambda path: 0)
    ArrayCache("kind 1", [file]).save(ARRAYS)
    assert kept(tmp_path) == []
