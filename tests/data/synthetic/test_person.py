"""elasticface.data.synthetic.person: people are functions of (seed, number), plausible, and alike in families."""

from dataclasses import asdict, fields, replace

import numpy as np
import pytest

from elasticface.data.synthetic import person
from elasticface.data.synthetic.person import Brows, Habits, Person, draw_person

GENES, ASYMMETRIES = 3, 2


def draw(number: int, seed: int = 0, heterogeneity: float = 0.5) -> Person:
    return draw_person(seed, number, GENES, ASYMMETRIES, heterogeneity)


@pytest.fixture(scope="module")
def people() -> list[Person]:
    return [draw(number) for number in range(2000)]


def test_a_person_is_a_function_of_seed_and_number():
    first = asdict(draw(7))
    draw(8)
    np.testing.assert_equal(asdict(draw(7)), first)


@pytest.mark.parametrize("other", [{"number": 8}, {"number": 7, "seed": 1}])
def test_another_number_or_seed_is_another_person(other):
    one, two = draw(7), draw(**other)
    for field in ("ancestry", "sex", "age", "weight", "genes", "melanin", "haemoglobin", "roughness", "pupil"):
        assert not np.array_equal(getattr(one, field), getattr(two, field)), field
    assert one.habits.hair != two.habits.hair


def test_numbers_stay_what_they_are(people):
    assert [someone.number for someone in people] == list(range(2000))


@pytest.mark.parametrize(("seed", "number"), [(-1, 0), (0, -1)])
def test_negative_numbers_are_refused(seed, number):
    with pytest.raises(ValueError, match="must be >= 0"):
        draw(number, seed)


def test_heterogeneity_changes_how_much_a_person_varies_and_nothing_else():
    for number in range(20):
        calm, wild = (asdict(draw(number, heterogeneity=sigma)) for sigma in (0.0, 1.0))
        assert calm.pop("heterogeneity") == 1
        assert wild.pop("heterogeneity") != 1
        np.testing.assert_equal(calm, wild)


@pytest.mark.parametrize("sigma", [0.2, 0.5, 1.0])
def test_heterogeneity_is_log_normal_with_mean_1(sigma):
    k = np.array([draw(number, heterogeneity=sigma).heterogeneity for number in range(1500)])
    assert abs(np.log(k).std() / sigma - 1) < 0.08
    assert abs(np.log(k).mean() + sigma**2 / 2) < 4 * sigma / np.sqrt(len(k))
    # The mean's own standard deviation is that of a log-normal.
    assert abs(k.mean() - 1) < 4 * np.sqrt(np.expm1(sigma**2) / len(k))


def test_shares_and_weights_stay_in_their_ranges(people):
    for someone in people:
        assert np.isclose(someone.ancestry.sum(), 1)
        shares = [*someone.ancestry, someone.sex, someone.age, *someone.asymmetry]
        shares += [someone.brows.apex, someone.brows.density, someone.brows.joined]
        shares += [someone.habits.glasses, someone.habits.make_up, someone.habits.beard]
        assert min(shares) >= 0
        assert max(shares) <= 1
        assert -1 <= someone.weight <= 1
        assert someone.brows.inner < someone.brows.outer
        assert min(someone.habits.hair, someone.habits.glasses_frame, someone.habits.beard_form) >= 0


def test_pigments_and_colours_are_those_of_a_body(people):
    for someone in people:
        assert min(someone.heterogeneity, someone.melanin, someone.haemoglobin, someone.oiliness, someone.pupil) > 0
        for colour in (someone.iris, someone.hair_colour):
            assert colour.shape == (3,)
            assert 0 < colour.min() <= colour.max() < 1
        assert (someone.moles[:, 2:] > 0).all()
        assert someone.scar is None or someone.scar.shape == (6,)


def test_everything_is_finite_and_has_its_documented_shape(people):
    shapes = {"ancestry": 3, "genes": GENES, "asymmetry": ASYMMETRIES, "ruddiness": 3, "eye_circles": 3, "lips": 2}
    for someone in people[:200]:
        for name, length in shapes.items():
            assert getattr(someone, name).shape == (length,)
        assert someone.sides.shape == (GENES, 2)
        assert someone.moles.shape[1:] == (4,)
        for thing in (someone, someone.brows, someone.habits):
            for field in fields(thing):
                value = getattr(thing, field.name)
                assert value is None or isinstance(value, Brows | Habits) or np.isfinite(value).all(), field.name


def test_people_differ_in_every_factor_that_is_documented(people):
    flat = [asdict(someone) for someone in people[:200]]
    flat = [one | one.pop("brows") | one.pop("habits") for one in flat]
    for name in flat[0]:
        assert len({np.asarray(one[name], dtype=object).tobytes() for one in flat}) > 1, name


def test_genes_have_unit_variance_and_no_preferred_side():
    genes = np.stack([draw_person(0, number, 400, 0, 0).genes for number in range(300)])
    assert abs(genes.std() - 1) < 0.05
    # A gene's mean over the population wanders with its families, of which there are few.
    assert np.abs(genes.mean(0)).mean() < 4 / np.sqrt(person.FAMILIES)


def test_lookalikes_fall_into_families():
    genes = np.stack([draw_person(0, number, 2000, 0, 0).genes for number in range(150)])
    alike = np.corrcoef(genes) > 0.12
    # Whoever looks like my lookalike looks like me: being alike is an equivalence.
    assert np.array_equal(alike, (alike.astype(int) @ alike.astype(int)) > 0)
    families = np.unique(alike, axis=0)
    assert 10 < len(families) <= person.FAMILIES


def test_families_differ_between_seeds():
    one, other = (np.stack([draw_person(seed, n, 2000, 0, 0).genes for n in range(40)]) for seed in (0, 1))
    between = np.corrcoef(one, other)[:40, 40:]
    assert np.abs(between).max() < 0.12


def test_beards_are_men_s_and_make_up_women_s(people):
    assert all(someone.sex > 0.5 for someone in people if someone.habits.beard)
    assert all(someone.sex < 0.5 for someone in people if someone.habits.make_up)
    for man, field in ((True, "beard"), (False, "make_up")):
        has = [getattr(someone.habits, field) > 0 for someone in people if (someone.sex > 0.5) == man]
        assert 0.2 < np.mean(has) < 0.95


def test_hair_greys_with_age(people):
    def colourful(old: bool) -> float:
        own = [someone.hair_colour for someone in people if (someone.age > 0.8 if old else someone.age < 0.3)]
        return float(np.mean([(colour.max() - colour.min()) / colour.max() for colour in own]))

    assert colourful(old=True) < colourful(old=False) - 0.1


def test_ancestry_sets_how_much_melanin_there_is(people):
    """Each of the three macro targets has its own range, so that the mesh and the skin go together."""
    mean = [np.mean([p.melanin for p in people if p.ancestry[n] > 0.8]) for n in range(3)]
    assert mean[0] > mean[1] > mean[2]


def test_a_person_cannot_be_changed_but_copied():
    someone = draw(0)
    with pytest.raises(AttributeError):
        someone.age = 0.5
    assert replace(someone, age=0.5).age == 0.5
