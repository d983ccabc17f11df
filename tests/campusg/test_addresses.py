"""Every address of the API has one base class of views, and its aliases for older clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.urls import URLPattern, get_resolver, resolve, reverse
from rest_framework.views import APIView

from sagas.rest.endpoint import Endpoint

#: Sample values for the arguments in an address.
ARGUMENTS = {
    "sku": "a", "order_id": "b", "customer_id": "c", "saga_id": "d", "dependency": "e", "payment_id": "f",
    "escrow_id": "g", "user_id": "h", "event_id": "i",
}  # fmt: skip
OURS = ("orders", "payments", "timers", "sagas")


def patterns(below: list, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for pattern in below:
        if isinstance(pattern, URLPattern):
            yield prefix + str(pattern.pattern), pattern
        elif pattern.app_name != "admin":
            yield from patterns(pattern.url_patterns, prefix + str(pattern.pattern))


def view_of(pattern: URLPattern) -> type[APIView] | None:
    return getattr(pattern.callback, "cls", None)


API = {
    route: pattern
    for route, pattern in patterns(get_resolver().url_patterns)
    if (view := view_of(pattern)) is not None and view.__module__.split(".")[0] in OURS
}
DOCUMENTED = sorted(route for route in API if route.startswith("api/") and not route.endswith("/"))


def path_of(route: str) -> str:
    for name, value in ARGUMENTS.items():
        route = route.replace(f"<str:{name}>", value)
    assert "<" not in route
    return f"/{route}"


def test_the_number_of_documented_addresses_is_unchanged() -> None:
    assert len(DOCUMENTED) == 38


@pytest.mark.parametrize("route", DOCUMENTED)
def test_every_view_has_the_same_base_class(route: str) -> None:
    view = view_of(API[route])
    assert view is not None
    assert issubclass(view, Endpoint)


@pytest.mark.parametrize("route", DOCUMENTED)
def test_an_address_has_its_aliases_and_only_the_documented_one_has_the_name(route: str) -> None:
    path = path_of(route)
    found = resolve(path)
    has_bare_alias = not route.startswith(("api/orders", "api/menu"))
    aliases = [f"{path}/"] + ([path.removeprefix("/api"), f"{path.removeprefix('/api')}/"] if has_bare_alias else [])
    for alias in aliases:
        match = resolve(alias)
        assert match.func.cls is found.func.cls
        assert match.func.initkwargs["schema"] is None, "an alias is not in the schema"
        assert reverse(match.view_name, kwargs=match.kwargs) == path
    assert "schema" not in found.func.initkwargs
