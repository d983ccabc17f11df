"""How many requests one user may make: reads and writes apart, anonymous callers by address.

The counters are in the cache. While the cache does not answer there are no limits: they protect the service, and a
service that refuses all requests because of them would be down.
"""

from __future__ import annotations

import logging
from typing import Any

import redis
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.throttling import ScopedRateThrottle

logger = logging.getLogger(__name__)


class Throttle(ScopedRateThrottle):
    """The scope is the view's `throttle_scope`, or `anonymous`, `read` or `write`."""

    def allow_request(self, request: Request, view: Any) -> bool:
        self.scope = getattr(view, "throttle_scope", None) or _scope(request)
        self.rate = self.get_rate()
        self.num_requests, self.duration = self.parse_rate(self.rate)
        try:
            return super(ScopedRateThrottle, self).allow_request(request, view)
        except redis.RedisError as error:
            logger.warning("Throttling is off", extra={"action": "throttle_unavailable", "error": str(error)})
            return True

    def get_cache_key(self, request: Request, view: Any) -> str:
        identity = request.user.pk if request.user.is_authenticated else self.get_ident(request)
        return self.cache_format % {"scope": self.scope, "ident": identity}


def _scope(request: Request) -> str:
    if not request.user.is_authenticated:
        return "anonymous"
    return "read" if request.method in SAFE_METHODS else "write"
