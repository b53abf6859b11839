"""Making, finding and revoking the tokens of the HTTP API."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db.models import Q

from jobs.engine import auditing
from jobs.models import ApiToken

PREFIX = "jdw_"
"""How a token begins: so that a scanner for leaked secrets can know one."""
USED_EVERY = timedelta(minutes=1)
"""How exactly `last_used_at` is kept."""


def create(name: str, user: User, *, expires_at: datetime | None = None) -> tuple[ApiToken, str]:
    """Make a token of `user`; return its row, and the token itself, which nothing can show again."""
    text = PREFIX + secrets.token_urlsafe(32)
    token = ApiToken.objects.create(name=name, user=user, digest=_digest(text), expires_at=expires_at)
    auditing.record([token], "create")
    return token, text


def find(text: str, now: datetime) -> ApiToken | None:
    """Return the valid token that `text` is, of a user who is active; None for none."""
    token = ApiToken.objects.select_related("user").filter(digest=_digest(text)).first()
    if token is None or not token.is_valid(now) or not token.user.is_active:
        return None
    unused = Q(last_used_at__isnull=True) | Q(last_used_at__lt=now - USED_EVERY)
    ApiToken.objects.filter(unused, pk=token.pk).update(last_used_at=now)
    return token


def revoke(name: str, now: datetime) -> bool:
    """Revoke the token of that name; return False if there is none that could still be used."""
    token = ApiToken.objects.filter(name=name, revoked_at__isnull=True).first()
    if token is None:
        return False
    ApiToken.objects.filter(pk=token.pk).update(revoked_at=now)
    auditing.record([token], "revoke")
    return True


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
