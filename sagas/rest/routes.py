"""Addresses: each with and without a trailing slash, and once more where older clients look for it.

Several addresses of one view share a name. `reverse` gives the one that comes last in the URLconf, so the documented
address always comes last.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from django.urls import ResolverMatch, URLPattern, path, reverse
from rest_framework.request import Request


def both(route: str, view: Any, name: str) -> list[URLPattern]:
    """The address with a trailing slash, which the schema leaves out, and without."""
    return [path(f"{route}/", view.as_view(schema=None), name=name), path(route, view.as_view(), name=name)]


def aliases(patterns: Iterable[URLPattern]) -> list[URLPattern]:
    """The same addresses for another prefix, left out of the schema. Put them before the documented ones."""
    return [
        path(str(pattern.pattern), pattern.callback.cls.as_view(schema=None), name=pattern.name)  # type: ignore[attr-defined] # set by as_view
        for pattern in patterns
    ]


def canonical_path(request: Request) -> str:
    """The documented path of a request, whichever of its addresses was used."""
    match = _match(request)
    return reverse(match.view_name, args=match.args, kwargs=match.kwargs)


def sibling(request: Request, name: str, **kwargs: Any) -> str:
    """The path of another view of the URLconf that this request came through, whatever prefix or namespace it has."""
    return reverse(":".join([*_match(request).namespaces, name]), kwargs=kwargs)


def _match(request: Request) -> ResolverMatch:
    return cast("ResolverMatch", request.resolver_match)
