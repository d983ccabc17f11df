"""Maximum lengths of the texts in the payments tables, in characters."""

from __future__ import annotations

OWNER_LENGTH = 150
TOKEN_LENGTH = 64
PROVIDER_ID_LENGTH = 64
KEY_LENGTH = 200
REASON_LENGTH = 255
