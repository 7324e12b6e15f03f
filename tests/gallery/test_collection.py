"""A collection is bound to one model: embeddings of another are refused."""

from dataclasses import replace

import pytest

from elasticface.base.errors import InputError
from elasticface.faces.finder import FaceFinder
from elasticface.gallery.collection import checked_name, create, fingerprint
from elasticface.gallery.database import Database
from elasticface.gallery.gallery import Gallery
from elasticface.model.encoder import FaceEncoder, Preprocessing


def test_another_model_preprocessing_or_detector_is_refused(
    database: Database, encoder: FaceEncoder, other_encoder: FaceEncoder
) -> None:
    Gallery.create("friends", encoder, database=database)
    Gallery("friends", encoder, database=database)
    with pytest.raises(InputError, match="small is another model: their embeddings cannot be compared"):
        Gallery("friends", other_encoder, database=database)
    scaled = FaceEncoder(encoder.network, replace(encoder.card, preprocessing=Preprocessing(scale=128.0)))
    with pytest.raises(InputError, match="another preprocessing"):
        Gallery("friends", scaled, database=database)
    with pytest.raises(InputError, match="were found by yunet-2023mar/1, not yunet-2023mar/1, smallest 60"):
        Gallery("friends", encoder, database=database, finder=FaceFinder(smallest=60))


def test_a_calibration_does_not_change_the_fingerprint(encoder: FaceEncoder) -> None:
    renamed = FaceEncoder(encoder.network, replace(encoder.card, name="other", training={"steps": 1}))
    assert fingerprint(renamed) == fingerprint(encoder)


def test_a_collection_is_made_once_and_missed_by_name(database: Database, encoder: FaceEncoder) -> None:
    with pytest.raises(InputError, match="there is none: elasticface gallery create"):
        Gallery("friends", database=database)
    create(database, "friends", encoder, FaceFinder())
    with pytest.raises(InputError, match="there is a collection 'friends' already"):
        create(database, "friends", encoder, FaceFinder())
    with pytest.raises(InputError, match="no collection 'foes'; there are: friends"):
        Gallery("foes", database=database)


def test_names_are_text_of_bounded_length_in_one_form() -> None:
    assert checked_name(" Zoe\u0308 ", "person") == "Zoë"
    for name in ("", " ", "x" * 256, "a\0b", "\udcff"):
        with pytest.raises(InputError):
            checked_name(name, "person")
