"""`elasticface train A B …`: several sets in one run, its record and its resumption."""

import json
import shutil
from pathlib import Path

import pytest
from command_line import SMALL, done, refused, run, words
from conftest import write_people

from elasticface.training import classes
from elasticface.training.config import TrainConfig, read_config
from elasticface.training.loop import train
from elasticface.training.run_files import read_metrics


@pytest.fixture
def others(here: Path) -> Path:
    """Three people, of whom person_05 has the name of one in ``people``."""
    faces = write_people(here / "others", 3, 4, seed=1)
    for person, name in enumerate(("zoe", "yan", "person_05")):
        (faces / f"person_{person:02d}").rename(faces / name)
    return faces


def weights(run: str) -> bytes:
    return Path(run, "model", "model.safetensors").read_bytes()


def test_a_run_on_several_sets_names_them_and_resumes_in_the_same_bits(people: Path, others: Path) -> None:
    shutil.rmtree(others / "person_05")
    done("train", people, others, "--out", "run", *SMALL, "--max-steps", "2")
    assert json.loads(Path("run/environment.json").read_text())["data"] == [str(people), str(others)]
    assert classes.read(Path("run/classes"))[0].names == (
        *(f"person_{number:02d}" for number in range(6)),
        "yan",
        "zoe",
    )
    done("train", people, others, "--out", "run", "--resume", "--max-steps", "6")
    done("train", people, others, "--out", "unbroken", *SMALL, "--max-steps", "6")
    assert weights("run") == weights("unbroken")
    train([people, str(others)], "python", TrainConfig(**read_config(Path("unbroken/config.yaml"))))
    assert weights("python") == weights("unbroken")


def test_a_run_with_merged_identities_needs_no_option_to_be_resumed(people: Path, others: Path) -> None:
    shared = refused("train", people, others, "--out", "run", *SMALL, "--max-steps", "2")
    assert f"an identity name is in more than one set, such as 'person_05' in {people} and {others}; give --m" in shared
    done("train", people, others, "--out", "run", *SMALL, "--max-steps", "2", "--merge-identities")
    assert len(classes.read(Path("run/classes"))[0].names) == 8
    done("train", people, others, "--out", "run", "--resume", "--max-steps", "3")
    assert read_metrics(Path("run"))[-1]["step"] == 3


def test_a_run_of_one_set_goes_on_with_a_second_one_where_that_is_said(people: Path, others: Path) -> None:
    done("train", people, "--out", "run", *SMALL, "--max-steps", "3")
    command = ("train", people, others, "--out", "run", "--resume", "--max-steps", "6", "--merge-identities")
    assert "there were 6 identities, and are 8" in refused(*command)
    code, _, told = run(*command, "--data-changed")
    assert code == 0, told
    assert "the data have changed: there were 6 identities, and are 8" in told
    assert read_config(Path("run/config.yaml"))["merge_identities"] is True


def test_numbers_of_converted_sets_are_people_of_their_own(people: Path, others: Path) -> None:
    done("convert", people, "one", "--to", "recordio")
    done("convert", others, "two", "--to", "shards")
    code, _, told = run("train", "one", "two", others, "--out", "run", *SMALL, "--max-steps", "1")
    assert code == 0, told
    assert "one, two: identities have numbers in place of names; those of each set are people of its own" in told
    names = classes.read(Path("run/classes"))[0].names
    assert (names[0], names[6], names[-1]) == ("one: 0", "two: 0", "zoe")
    assert len(names) == 6 + 3 + 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("FACES FACES", "the same set as"),
        ("FACES absent", "absent: "),
        ("FACES synthetic:identities=2", "images is missing"),
        ("FACES OTHERS", "an identity name is in more than one set"),
    ],
)
def test_sets_that_do_not_go_together_are_refused_in_one_line(
    arguments: str, message: str, people: Path, others: Path
) -> None:
    given = words(arguments, FACES=people, OTHERS=others)
    assert message in refused("train", *given, "--out", "run", *SMALL, "--max-steps", "1")
