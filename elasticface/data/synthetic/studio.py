"""Where people are photographed: (seed, identity, photo) -> an aligned picture, and what is in it."""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from elasticface.base import keyed
from elasticface.data.images import alignment
from elasticface.data.synthetic import camera, shape, texture
from elasticface.data.synthetic.person import Person, draw_person
from elasticface.data.synthetic.renderer import Sitter, expose
from elasticface.data.synthetic.scene import Scene, Variation, draw_scene

SIZE = alignment.SIZE
RENDERER_VERSION = 3
"""Goes up whenever the same (seed, identity, photo) gives another picture."""

_KEPT = 8  # people
_draw_person = lru_cache(maxsize=16)(draw_person)


class Studio:
    """Takes photos. Keeps the last few sitters, since a head takes longer to make than a photo of it.

    Args:
        seed: of the population.
        variation: how much its photos vary.
    """

    def __init__(self, seed: int = 0, variation: Variation | None = None) -> None:
        self.seed, self.variation = seed, variation or Variation()
        self._sitters: dict[int, Sitter] = {}

    def person(self, identity: int) -> Person:
        """Who has this number."""
        genes, asymmetries = len(shape.genes()), len(shape.asymmetries())
        return _draw_person(self.seed, identity, genes, asymmetries, self.variation.heterogeneity)

    def scene(self, identity: int, photo: int) -> Scene:
        """What a photo shows, without taking it."""
        return draw_scene(self.person(identity), self.seed, photo, self.variation.appearance)

    def image(self, identity: int, photo: int) -> NDArray[np.uint8]:
        """A photo, uint8 RGB [112, 112, 3]."""
        return self.take(self.sitter(identity), self.scene(identity, photo), photo)

    def metadata(self, identity: int, photo: int) -> dict[str, str | int | float]:
        """What is in a photo, one value a factor; angles in degrees."""
        scene = self.scene(identity, photo)
        return {
            "heterogeneity": round(self.person(identity).heterogeneity, 4),
            "yaw": round(math.degrees(scene.yaw), 2),
            "pitch": round(math.degrees(scene.pitch), 2),
            "roll": round(math.degrees(scene.roll), 2),
            "distance": round(scene.distance, 2),
            "light_azimuth": round(math.degrees(scene.lamp.azimuth), 1),
            "light_elevation": round(math.degrees(scene.lamp.elevation), 1),
            "light_strength": round(scene.lamp.strength, 3),
            "expression": scene.expression,
            "expression_strength": round(scene.strength, 3),
            "occlusion": scene.occlusion,
            "glasses": int(scene.look.glasses is not None),
            "hair": scene.look.hair.kind,
            "hat": "none" if scene.look.hat is None else scene.look.hat.kind,
            "beard": round(scene.look.paint.beard, 2),
            "blur": round(scene.quality.blur, 2),
            "resolution": scene.quality.resolution,
            "noise": round(scene.quality.noise, 2),
            "jpeg": scene.quality.jpeg,
            "grey": int(scene.quality.saturation == 0),
        }

    def sitter(self, identity: int) -> Sitter:
        """The person with head and skin."""
        if identity not in self._sitters:
            self._sitters[identity] = self.seat(self.person(identity))
            while len(self._sitters) > _KEPT:
                del self._sitters[next(iter(self._sitters))]
        return self._sitters[identity]

    def seat(self, person: Person) -> Sitter:
        """A person, who need not be of the population, with head and skin."""
        return Sitter(person, shape.neutral(person), texture.draw_skin(person, self.seed))

    def take(self, sitter: Sitter, scene: Scene, photo: int = 0, size: int = SIZE) -> NDArray[np.uint8]:
        """A photo of a scene, which need not be of the population either, uint8 RGB [size, size, 3].

        Args:
            sitter: who.
            scene: what.
            photo: keys the noise of the camera.
            size: side in pixels; 112 is what models expect.
        """
        grain = None
        if scene.quality.noise:
            grain = keyed.generator(self.seed, "synthetic grain", sitter.person.number, photo)
        return camera.develop(expose(sitter, scene, size), scene.quality, grain)
