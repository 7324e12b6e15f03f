"""Faces of several requests share a batch, and none has another embedding for that, beyond rounding."""

import asyncio
import threading

import numpy as np
import pytest

from elasticface.service.batching import Batches


class Watched:
    """An encoder that keeps the sizes of its batches, waits to be let go, and fails of faces that are all black."""

    def __init__(self, encoder=None):
        self.encoder, self.sizes, self.go = encoder, [], threading.Event()

    def embed(self, faces, batch_size):
        assert self.go.wait(10)
        self.sizes.append(len(faces))
        if not all(face.any() for face in faces):
            raise ValueError("black")
        if self.encoder is not None:
            return self.encoder.embed(faces, batch_size=batch_size)
        return np.array([[face[0, 0, 0]] for face in faces], np.float32)


def face(value, size=112):
    return np.full((size, size, 3), value, np.uint8)


def embedded(batches, go, *requests):
    """Waits for all requests, which come while the first one is computed."""

    async def run():
        waiting = [batches.embed(requests[0])]
        await asyncio.sleep(0.05)
        waiting += [batches.embed(faces) for faces in requests[1:]]
        go.set()
        return await asyncio.gather(*waiting, return_exceptions=True)

    try:
        return asyncio.run(run())
    finally:
        batches.close()


def test_what_waits_is_computed_together_up_to_the_size():
    encoder, told = Watched(), []
    found = embedded(
        Batches(encoder, 4, 0.0, told.append), encoder.go, [face(1)], *([face(n), face(n + 100)] for n in range(2, 7))
    )
    assert encoder.sizes == told == [1, 4, 4, 2]
    assert [values.ravel().tolist() for values in found] == [[1.0], *([n, n + 100.0] for n in range(2, 7))]


def test_an_embedding_does_not_depend_on_its_batch_beyond_rounding(encoder):
    faces = np.random.default_rng(1).integers(0, 256, (13, 112, 112, 3), dtype=np.uint8)
    watched = Watched(encoder)
    found = embedded(Batches(watched, 32, 0.0), watched.go, *([one] for one in faces))
    assert watched.sizes == [1, 12]
    np.testing.assert_allclose(
        np.concatenate(found), np.concatenate([encoder.embed([one]) for one in faces]), atol=1e-5
    )


def test_one_requests_faces_that_the_model_fails_of_are_its_own_concern():
    encoder = Watched()
    found = embedded(Batches(encoder, 8, 0.0), encoder.go, [face(1)], [face(2)], [face(0)], [face(3)])
    assert [str(one) if isinstance(one, Exception) else float(one[0, 0]) for one in found] == [
        *(1.0, 2.0),
        "the model fails: ValueError",
        3.0,
    ]


def test_what_nobody_waits_for_is_not_computed():
    encoder = Watched()
    batches = Batches(encoder, 8, 0.0)

    async def run():
        first = batches.embed([face(1)])
        await asyncio.sleep(0.05)
        gone, stays = batches.embed([face(2)]), batches.embed([face(3)])
        gone.cancel()
        await asyncio.sleep(0)
        encoder.go.set()
        return [await first, await stays]

    assert [float(values[0, 0]) for values in asyncio.run(run())] == [1.0, 3.0]
    batches.close()
    assert encoder.sizes == [1, 1]


def test_closing_finishes_what_waits():
    encoder = Watched()
    batches = Batches(encoder, 1, 0.0)

    async def run():
        waiting = [batches.embed([face(n)]) for n in (1, 2, 3)]
        encoder.go.set()
        await asyncio.to_thread(batches.close)
        return [float((await one)[0, 0]) for one in waiting]

    assert asyncio.run(run()) == [1.0, 2.0, 3.0]
    assert not batches.alive


@pytest.mark.parametrize("wait", [0.0, 0.2])
def test_a_face_waits_for_others_as_long_as_it_may(wait):
    encoder = Watched()
    encoder.go.set()
    batches = Batches(encoder, 2, wait)

    async def run():
        first = batches.embed([face(1)])
        await asyncio.sleep(0.03)
        await asyncio.gather(first, batches.embed([face(2)]))

    asyncio.run(run())
    batches.close()
    assert encoder.sizes == ([2] if wait else [1, 1])
