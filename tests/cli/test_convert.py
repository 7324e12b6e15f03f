"""`elasticface convert`: sets of every format train alike."""

from pathlib import Path

from command_line import SMALL, done


def test_converted_faces_train_to_the_same_bits_whatever_their_format(people: Path) -> None:
    made = {}
    for to in ("recordio", "folder"):
        out = done("convert", people, to, "--to", to)
        assert "recordio: 30 images of 6 identities" in out or to == "folder"
        assert "verified: every label and pixel read back is the source's" in out
        done("train", to, "--out", f"run-{to}", *SMALL, "--max-steps", "2")
        made[to] = (Path(f"run-{to}") / "model" / "model.safetensors").read_bytes()
    assert made["recordio"] == made["folder"]


def test_shards_train_and_a_resumed_run_ends_in_the_same_bits(people: Path) -> None:
    done("convert", people, "shards", "--to", "shards", "--per-shard", "7")
    pattern = "shards/shard-{000000..000004}.tar"
    done("train", pattern, "--out", "whole", *SMALL, "--max-steps", "5")
    done("train", pattern, "--out", "parts", *SMALL, "--max-steps", "2")
    done("train", pattern, "--out", "parts", *SMALL, "--max-steps", "5", "--resume")
    one, other = (Path(run) / "model" / "model.safetensors" for run in ("whole", "parts"))
    assert one.read_bytes() == other.read_bytes()
