"""A collection is bound to one model: embeddings of another are refused."""

from dataclasses import replace

import pytest
from unit_vectors import made_up

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


def test_a_collection_is_found_in_either_form_of_unicode(database: Database, encoder: FaceEncoder) -> None:
    made = Gallery.create("Zoe\u0308", encoder, database=database)
    made.enrol_embeddings(made_up(1, 1))
    for name in ("Zoe\u0308", "Zo\u00eb", " Zo\u00eb "):
        assert Gallery(name, encoder, database=database).collection.faces == 1
    with pytest.raises(InputError, match="must be text in UTF-8"):
        Gallery("\udcff", encoder, database=database)
