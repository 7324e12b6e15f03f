"""Requests to the galleries of a service, as tests send them."""

from typing import Any

FRIENDS = "/v1/collections/friends"


def create(client: Any, name: str, **fields: str) -> Any:
    return client.post("/v1/collections", files={key: (None, value) for key, value in {"name": name, **fields}.items()})


def enrol(client: Any, person: Any, *photos: bytes, where: str = FRIENDS, **fields: str) -> Any:
    parts = [("person", (None, person)), *(("photos", photo) for photo in photos)]
    return client.post(f"{where}/faces", files=[*parts, *((name, (None, value)) for name, value in fields.items())])


def search(client: Any, photo: bytes, where: str = FRIENDS, **fields: str) -> Any:
    return client.post(f"{where}/search", files={"photo": photo}, data=fields)


def people(client: Any, where: str = FRIENDS, **query: int) -> Any:
    return client.get(f"{where}/people", params=query).json()


def faces(client: Any, person: int, where: str = FRIENDS, **query: int) -> Any:
    return client.get(f"{where}/people/{person}/faces", params=query)


def outcomes(answer: Any) -> list[str]:
    return [photo["outcome"] for photo in answer.json()["photos"]]
