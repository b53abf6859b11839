"""`manage.py tokens`: who may use the HTTP API."""

from __future__ import annotations

from typing import Annotated

from django.contrib.auth import get_user_model
from typer import Argument, Option

from jobs.cli.base import GroupCommand, verb
from jobs.cli.durations import parse_duration
from jobs.cli.failures import CONFLICT, NOT_FOUND, Failure
from jobs.cli.output import Column, Document
from jobs.engine import tokens
from jobs.engine.clock import database_now
from jobs.models import ApiToken
from jobs.rules.instants import rfc3339

COLUMNS = (
    Column("NAME", "name"),
    Column("USER", "user"),
    Column("CREATED", "created_at"),
    Column("EXPIRES", "expires_at"),
    Column("LAST USED", "last_used_at"),
    Column("REVOKED", "revoked_at"),
)

Name = Annotated[str, Argument(metavar="NAME", show_default=False)]


class Command(GroupCommand):
    """Tokens of the HTTP API. A token may do what its user may."""

    @verb()
    def create(
        self,
        name: Name,
        user: Annotated[str, Option("--user", metavar="USERNAME", help="Whose permissions it has.")],
        expires: Annotated[
            str | None, Option("--expires", metavar="D", help="How long it is valid, for example 90d.")
        ] = None,
    ) -> None:
        """Make a token and print it: nothing can show it again."""
        owner = get_user_model().objects.filter(username=user).first()
        if owner is None:
            raise Failure(f"There is no user {user!r}: make one with 'manage.py createsuperuser'.", NOT_FOUND)
        if ApiToken.objects.filter(name=name).exists():
            raise Failure(f"There is a token {name!r} already: choose another name.", CONFLICT)
        now = database_now()
        expires_at = now + parse_duration(expires, "--expires") if expires else None
        token, text = tokens.create(name, owner, expires_at=expires_at)
        document = {**_document(token), "token": text}
        self.out.item(document)

    @verb("list")
    def list_(self) -> None:
        """List the tokens; what they are is not stored."""
        items = [_document(token) for token in ApiToken.objects.select_related("user").order_by("name")]
        self.out.items(
            items, COLUMNS, empty="No tokens: make one with 'manage.py tokens create NAME --user U'."
        )

    @verb()
    def revoke(self, name: Name) -> None:
        """Let a token open nothing from now on."""
        if not tokens.revoke(name, database_now()):
            raise Failure(f"There is no token {name!r} in use.", NOT_FOUND)
        self.out.note(f"The token {name} is revoked.")


def _document(token: ApiToken) -> Document:
    token.refresh_from_db()
    return {
        "name": token.name,
        "user": token.user.get_username(),
        **{
            field: rfc3339(moment) if (moment := getattr(token, field)) else None
            for field in ("created_at", "expires_at", "last_used_at", "revoked_at")
        },
    }
