"""What may follow the ? in the address of a request: the fields that its route declares, each once."""

from fastapi import Request

from elasticface.base.files import printable
from elasticface.service.forms import SHOWN, repeated
from elasticface.service.problems import Problem


async def check_query(request: Request) -> None:
    """Refuse a field that would have no effect, as of a form: a search would be decided by another rate than was given.

    Raises:
        Problem: 422, the route has no such field, or it is given more than once.
    """
    known = [field.alias for field in request.scope["route"].dependant.query_params]
    seen = set()
    for name, _ in request.query_params.multi_items():
        if name not in known:
            there = f"there are {', '.join(known)}" if known else "fields are sent as a form"
            raise Problem(422, "unknown-field", f"{printable(name, SHOWN)}: no such field after the ?; {there}")
        if name in seen:
            raise repeated(name)
        seen.add(name)
