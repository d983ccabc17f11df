"""Sends requests to the sagas API of this project and prints each answer as a line of JSON.

`python -m tests.sagas.elsewhere PREFIX`: the path below which the URLconf has the API, such as `/shop/v1`.
"""

from __future__ import annotations

import json
import os
import sys

#: Packages of the product that the engine's API must do without.
for name in ("drf_spectacular", "unfold", "knox", "redis", "structlog", "environ", "channels", "stripe"):
    sys.modules[name] = None  # type: ignore[assignment] # importing it raises ImportError

import django  # noqa: E402 - after those are out of reach

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.sagas.elsewhere.settings"
django.setup()

from django.contrib.auth.models import User  # noqa: E402 - after setup
from django.core.management import call_command  # noqa: E402
from django.db import transaction  # noqa: E402
from rest_framework.test import APIClient  # noqa: E402

from sagas.engine import commands  # noqa: E402
from tests.sagas.elsewhere.bookings.sagas import TAKEN, Booking, book_seat  # noqa: E402

HEADERS = ("Content-Type", "Location", "Link", "ETag", "Idempotent-Replayed")


def book(seat: str) -> str:
    with transaction.atomic():
        return str(commands.start(book_seat, input=Booking(seat), key=seat, subject=seat, owner="ann").id)


def main(prefix: str) -> None:
    call_command("migrate", verbosity=0)
    ann, nobody = APIClient(), APIClient()
    ann.force_authenticate(User.objects.create(username="ann"))
    free, taken = book("1A"), book(TAKEN)

    def send(label: str, api: APIClient, method: str, path: str, body: object = None, **headers: str) -> None:
        response = getattr(api, method)(prefix + path, body, format="json", headers=headers)
        shown = {name: response.headers[name] for name in HEADERS if name in response.headers}
        answer = {"status": response.status_code, "headers": shown, "body": json.loads(response.content or b"null")}
        print(json.dumps({"label": label} | answer))  # noqa: T201 - read by the test

    send("one page", ann, "get", "/sagas?limit=1")
    send("filtered", ann, "get", "/sagas?status=inprogress&subject=1A")
    send("wrong filter", ann, "get", "/sagas?status=sleeping")
    send("slash", ann, "get", f"/sagas/{free}/")
    send("unknown saga", ann, "get", "/sagas/nonsense")
    send("nobody", nobody, "get", "/sagas")
    send("preview", ann, "get", f"/sagas/{free}/cancel")
    send("unknown field", ann, "post", f"/sagas/{free}/cancel", {"why": "x"})
    send("too large", ann, "post", f"/sagas/{free}/cancel", {"reason": "x" * 70_000})
    send("refused cancel", ann, "post", f"/sagas/{taken}/cancel")
    send("cancelled", ann, "post", f"/sagas/{free}/cancel", **{"Idempotency-Key": "k"})
    send("cancelled again", ann, "post", f"/sagas/{free}/cancel/", **{"Idempotency-Key": "k"})
    send("no operator", ann, "post", f"/sagas/{free}/retry", {"reason": "x"})
    send("holds", ann, "get", "/sagas/holds")


main(sys.argv[1])
