"""The service: faces found, compared, embedded, enrolled and searched over HTTP, with bounds on what a client asks."""

from typing import TYPE_CHECKING

from elasticface.base.lazy import exports

if TYPE_CHECKING:
    from elasticface.service.app import create_app
    from elasticface.service.keys import Key, default_folder, new_key, open_key
    from elasticface.service.limits import Limits
    from elasticface.service.serving import listen, serve

__all__ = ["Key", "Limits", "create_app", "default_folder", "listen", "new_key", "open_key", "serve"]

__getattr__ = exports(
    __name__,
    {"create_app": "app", "Limits": "limits"}
    | dict.fromkeys(("Key", "default_folder", "new_key", "open_key"), "keys")
    | dict.fromkeys(("listen", "serve"), "serving"),
)
