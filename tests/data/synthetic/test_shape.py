"""elasticface.data.synthetic.shape: targets to genes, genes to vertices, against dense float64."""

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticface.data.synthetic import asset, shape
from elasticface.data.synthetic.surface import grid_triangles

OPPOSITES = {
    ("incr", "decr"),
    ("up", "down"),
    ("in", "out"),
    ("forward", "backward"),
    ("concave", "convex"),
    ("uncompress", "compress"),
}
HEAD = asset.load()


@pytest.fixture(scope="module")
def mirror(head) -> np.ndarray:
    """Each vertex' mirror image."""
    order, mirrored = np.lexsort(head.vertices.T), np.lexsort((head.vertices * np.float32([-1, 1, 1])).T)
    result = np.empty(len(order), int)
    result[order] = mirrored
    return result


def dense(target: int) -> np.ndarray:
    """A target's displacement of every vertex, float64 [V, 3] in decimetres."""
    moves = np.zeros(HEAD.vertices.shape)
    entries = slice(HEAD.target_starts[target], HEAD.target_starts[target + 1])
    moves[HEAD.target_vertices[entries]] = HEAD.target_deltas[entries] * np.float64(np.float32(1 / asset.TARGET_STEPS))
    return moves


@pytest.fixture
def weights(monkeypatch):
    """What :func:`shape.neutral` blends for a person: target's name -> weight."""

    def of(person) -> dict[str, float]:
        seen: dict[str, float] = {}
        with monkeypatch.context() as patch:
            patch.setattr(
                shape, "blend", lambda _, found: seen.update({HEAD.target_names[t]: w for t, w in found.items()})
            )
            shape.neutral(person)
        return seen

    return of


def plain(person):
    """The person without anything but ancestry, sex and age."""
    return replace(
        person,
        weight=0.0,
        genes=np.zeros_like(person.genes),
        sides=np.zeros_like(person.sides),
        asymmetry=np.zeros_like(person.asymmetry),
    )


# ---------------------------------------------------------------------------------------------- genes


def test_every_target_that_is_not_left_out_is_in_one_gene_once():
    used = [target for gene in shape.genes() for target in gene.positive + gene.negative]
    assert len(used) == len(set(used))
    names = {HEAD.target_names[target] for target in used}
    rest = [name for name in HEAD.target_names if name not in names]
    other_use = re.compile(r"^(expr|macro|asym|neck)/")
    no_shape = re.compile(r"head-trans|ear-flap|(nose|mouth)-trans-(in|out)|head-age")
    assert all(other_use.search(name) or no_shape.search(name) for name in rest)
    assert not any(other_use.search(name) for name in names)


def test_a_gene_has_opposite_targets_of_one_name():
    for gene in shape.genes():
        assert gene.positive, gene.name
        assert len(gene.negative) in (0, len(gene.positive)), gene.name
        for plus, minus in zip(gene.positive, gene.negative, strict=False):
            stem, _, last = HEAD.target_names[plus].rpartition("-")
            other_stem, _, other_last = HEAD.target_names[minus].rpartition("-")
            assert stem == other_stem
            assert (last, other_last) in OPPOSITES


def test_no_gene_is_without_the_opposite_that_the_head_has():
    names = set(HEAD.target_names)
    for gene in shape.genes():
        stem, _, last = HEAD.target_names[gene.positive[0]].rpartition("-")
        opposite = dict(OPPOSITES).get(last)
        assert (f"{stem}-{opposite}" in names) == bool(gene.negative), gene.name


def test_opposite_targets_move_the_skin_opposite_ways():
    cosines = []
    for gene in shape.genes():
        for plus, minus in zip(gene.positive, gene.negative, strict=False):
            one, other = dense(plus).ravel(), dense(minus).ravel()
            cosines.append(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
    assert np.median(cosines) < -0.8
    assert np.mean(np.array(cosines) < 0) > 0.95  # a few were not sculpted that way


def test_genes_of_two_sides_have_the_left_one_first():
    sided = [gene for gene in shape.genes() if len(gene.positive) == 2]
    assert len(sided) > 10
    for gene in sided:
        for targets in (gene.positive, gene.negative):
            assert [re.search("/([lr])-", HEAD.target_names[target])[1] for target in targets] in (["l", "r"], [])
            for target, side in zip(targets, (1, -1), strict=False):
                assert (dense(target).any(1) * HEAD.vertices[:, 0]).sum() * side > 0
    for gene in shape.genes():
        assert len(gene.positive) in (1, 2)
        if len(gene.positive) == 1:
            assert not re.search("/[lr]-", HEAD.target_names[gene.positive[0]])


def test_genes_are_in_the_order_of_their_names_and_have_a_spread():
    names = [gene.name for gene in shape.genes()]
    assert names == sorted(set(names))
    assert all(0 < gene.spread < 1 for gene in shape.genes())


def test_asymmetries_are_the_one_sided_targets():
    found = {HEAD.target_names[target] for target in shape.asymmetries()}
    assert found == {name for name in HEAD.target_names if name.startswith("asym/")}


# ---------------------------------------------------------------------------------------------- vertices


@given(st.dictionaries(st.integers(0, len(HEAD.target_names) - 1), st.floats(-3, 3, width=32), max_size=12))
def test_a_blend_is_the_dense_sum(weights):
    before = HEAD.vertices.copy()
    expected = HEAD.vertices + sum((weight * dense(target) for target, weight in weights.items()), np.float64(0))
    found = shape.blend(HEAD.vertices, weights)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)
    assert np.array_equal(HEAD.vertices, before)
    assert not np.shares_memory(found, HEAD.vertices)


def test_the_order_of_weights_does_not_change_a_bit():
    weights = dict.fromkeys(range(0, 420, 3), 0.37)
    backwards = dict(reversed(weights.items()))
    assert np.array_equal(shape.blend(HEAD.vertices, weights), shape.blend(HEAD.vertices, backwards))


def test_an_expression_is_its_action_units(sitters):
    vertices = sitters[0].vertices
    units = {"jawOpen": 0.5, "mouthSmileLeft": 1.0, "mouthSmileRight": 0.25}
    expected = vertices + sum(strength * dense(HEAD.target(f"expr/{unit}")) for unit, strength in units.items())
    np.testing.assert_allclose(shape.express(vertices, units), expected, rtol=0, atol=2e-5)
    assert np.array_equal(shape.express(vertices, {}), vertices)
    with pytest.raises(KeyError, match="expr/wiggle"):
        shape.express(vertices, {"wiggle": 1.0})


def test_macro_weights_of_each_kind_add_up_to_1(sitters, weights):
    for sitter in sitters:
        found = {name: weight for name, weight in weights(plain(sitter.person)).items() if weight}
        assert all(name.startswith("macro/") for name in found)
        assert min(found.values()) >= 0
        bodies = {name: weight for name, weight in found.items() if "universal" not in name}
        assert np.isclose(sum(bodies.values()), 1)
        for n, ancestry in enumerate(("african", "asian", "caucasian")):
            own = sum(weight for name, weight in bodies.items() if name.startswith(f"macro/{ancestry}-"))
            assert np.isclose(own, sitter.person.ancestry[n])
        for word, share in (("-male-", sitter.person.sex), ("-old", sitter.person.age)):
            assert np.isclose(sum(weight for name, weight in bodies.items() if word in name), share)


@pytest.mark.parametrize("weight", [-1, -0.3, 0, 0.6, 1])
def test_weight_takes_the_thin_or_the_heavy_targets(sitters, weights, weight):
    found = weights(replace(plain(sitters[0].person), weight=weight))
    for build, amount in (("minweight", max(-weight, 0)), ("maxweight", max(weight, 0))):
        assert np.isclose(sum(w for name, w in found.items() if name.endswith(build)), amount)


def test_a_gene_below_0_takes_the_opposite_targets_as_strongly(sitters, weights):
    person = plain(sitters[0].person)
    for index in range(0, len(shape.genes()), 7):
        gene = shape.genes()[index]
        genes = np.zeros_like(person.genes)
        genes[index] = 1.3
        up, down = (
            {
                name: weight
                for name, weight in weights(replace(person, genes=sign * genes)).items()
                if not name.startswith("macro/") and weight
            }
            for sign in (1, -1)
        )
        assert set(up) == {HEAD.target_names[target] for target in gene.positive}
        assert set(down) == {HEAD.target_names[target] for target in gene.negative}
        assert np.allclose([*up.values(), *down.values()], 1.3 * gene.spread)


def test_no_gene_goes_beyond_three_standard_deviations(sitters):
    person = plain(sitters[0].person)
    signs = np.where(np.arange(len(person.genes)) % 2, 1.0, -1.0)
    wild, wilder = (shape.neutral(replace(person, genes=signs * value)) for value in (3.0, 50.0))
    assert np.array_equal(wild, wilder)


def test_sides_move_the_two_sides_apart_and_leave_unsided_genes(sitters, weights):
    person = sitters[0].person
    apart = np.stack([np.full(len(person.genes), 0.2), np.full(len(person.genes), -0.1)], 1)
    found = weights(replace(plain(person), sides=apart))
    for gene in shape.genes():
        left_right = [found.get(HEAD.target_names[target], 0.0) for target in (*gene.positive, *gene.negative)]
        if len(gene.positive) == 1:
            assert not any(left_right)
        elif gene.negative:  # left grows, right shrinks
            assert np.allclose(left_right, np.array([0.2, 0, 0, 0.1]) * gene.spread)


def test_a_head_without_sides_and_asymmetry_is_symmetrical(sitters, mirror):
    for sitter in sitters:
        person = replace(
            sitter.person,
            sides=np.zeros_like(sitter.person.sides),
            asymmetry=np.zeros_like(sitter.person.asymmetry),
        )
        vertices = shape.neutral(person)
        # The source rounds both sides by itself, to 0.001 a target.
        error = np.abs(vertices[mirror] * np.float32([-1, 1, 1]) - vertices)
        assert error.max() < 0.01
        assert np.median(error) < 1e-3
        own = np.abs(sitter.vertices[mirror] * np.float32([-1, 1, 1]) - sitter.vertices)
        assert own.mean() > 2 * error.mean()


def test_heads_are_finite_and_differ(sitters):
    for sitter in sitters:
        assert sitter.vertices.shape == HEAD.vertices.shape
        assert sitter.vertices.dtype == np.float32
        assert np.isfinite(sitter.vertices).all()
    for one, other in itertools.pairwise(sitters):
        assert np.abs(one.vertices - other.vertices).max() > 0.05


def test_heavy_faces_are_wider_than_thin_ones(sitters):
    thin, heavy = (shape.neutral(replace(sitters[0].person, weight=weight)) for weight in (-1.0, 1.0))
    x, y, z = HEAD.vertices.T
    cheeks = (np.abs(x) > 0.4) & (np.abs(y - 6.7) < 0.2) & (z > 0.6)
    assert np.abs(heavy[cheeks, 0]).mean() > np.abs(thin[cheeks, 0]).mean() + 0.02


# ---------------------------------------------------------------------------------------------- normals


def longhand_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """The sum of the triangles' cross products at each vertex, float64 [V, 3], before it is made a unit."""
    a, b, c = vertices[triangles].astype(np.float64).transpose(1, 0, 2)
    total = np.zeros(vertices.shape)
    for corner in range(3):
        np.add.at(total, triangles[:, corner], np.cross(b - a, c - a))
    return total


def test_normals_of_a_head_equal_longhand(sitters):
    triangles = np.ascontiguousarray(HEAD.triangles[HEAD.parts == asset.SKIN])
    found = shape.normals(sitters[1].vertices, triangles)
    total = longhand_normals(sitters[1].vertices, triangles)
    length = np.linalg.norm(total, axis=1)
    used = np.isin(np.arange(len(found)), triangles)
    assert (found[~used] == 0).all()
    assert np.allclose(np.linalg.norm(found[used], axis=1), 1, atol=1e-5)
    # Where triangles face each other the sum is small, and rounding large beside it.
    clear = length > 1e-5
    assert clear[used].mean() > 0.99
    np.testing.assert_allclose(found[clear], total[clear] / length[clear, None], rtol=0, atol=2e-3)


@given(st.integers(0, 1000))
def test_normals_of_any_triangles_equal_longhand(seed):
    r = np.random.default_rng(seed)
    vertices = r.normal(0, 1, (8, 3)).astype(np.float32)
    triangles = r.integers(0, 8, (9, 3)).astype(np.int32)
    total = longhand_normals(vertices, triangles)
    length = np.linalg.norm(total, axis=1)
    clear = length > 0.05
    found = shape.normals(vertices, triangles)
    np.testing.assert_allclose(found[clear], total[clear] / length[clear, None], rtol=0, atol=1e-4)
    assert np.isfinite(found).all()


def test_a_sphere_s_normals_point_outwards():
    polar, azimuth = np.meshgrid(np.linspace(0.3, 2.8, 20), np.linspace(0, 5, 30), indexing="ij")
    points = np.stack([np.sin(polar) * np.sin(azimuth), np.cos(polar), np.sin(polar) * np.cos(azimuth)], -1)
    found = shape.normals(points.reshape(-1, 3).astype(np.float32), grid_triangles(20, 30))
    assert ((found * points.reshape(-1, 3)).sum(1) > 0.98).all()
