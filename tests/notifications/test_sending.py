"""A mail is sent at most once, whatever happens on the way; one recipient never keeps another's mail."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from jobs.public import Permanent
from notifications.models import Delivery, Recipient, Template
from notifications.queueing import Mail, queue
from notifications.sending import LineDownError, NotYetError, Tally, send
from notifications.tasks import send_email, send_message
from tests.notifications.mailserver import MailServer, hang_up, kill

ANN, BOB, CAT = "ann@example.com", "bob@example.com", "cat@example.com"


def queue_plain(key: str, *addresses: str) -> None:
    queue(Mail(dedup_key=key, subject="News", text="Something new."), addresses)


def statuses(key: str) -> dict[str, str]:
    return dict(Delivery.objects.filter(dedup_key=key).values_list("recipient__email", "status"))


@pytest.mark.django_db
def test_a_template_is_rendered_per_recipient_and_counted(mail: MailServer, welcome: Template) -> None:
    ann = Recipient.objects.create(email=ANN, name="Ann & Co")

    result = send_email.apply(args=["welcome", [ann.pk, "Bob@Example.com"], {"who": "<us>"}]).get()

    assert result == {"sent": 2, "failed": 0, "in_doubt": 0, "unknown": []}
    [message] = mail.to(ANN)
    assert message["Subject"] == "Hello Ann & Co"
    assert message.get_body(("plain",)).get_content().strip() == "Dear Ann & Co, from <us>."  # type: ignore[union-attr]
    assert "Dear Ann &amp; Co, from &lt;us&gt;." in message.get_body(("html",)).get_content()  # type: ignore[union-attr]
    assert len(mail.to(BOB)) == 1
    delivery = Delivery.objects.get(recipient=ann)
    assert (delivery.status, delivery.attempts, delivery.subject) == ("sent", 1, "Hello Ann & Co")
    assert message["Message-ID"] == delivery.message_id
    assert mail.connections == 1, "the connection is reused"


@pytest.mark.django_db
def test_what_was_accepted_is_not_sent_again_by_a_retry(mail: MailServer) -> None:
    queue_plain("k", ANN, BOB)
    mail.on_rcpt[BOB] = ["451 come back later"]

    with pytest.raises(NotYetError, match="451 come back later"):
        send("k")
    assert statuses("k") == {ANN: "sent", BOB: "pending"}

    queue_plain("k", ANN, BOB)
    assert send("k") == Tally(sent=2)
    assert (len(mail.to(ANN)), len(mail.to(BOB))) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_a_sender_killed_after_data_leaves_doubt_and_no_second_mail(mail: MailServer) -> None:
    queue_plain("k", ANN)
    code = (
        "import os, sys, django; django.setup(); print(os.getpid(), flush=True); sys.stdin.readline();"
        "from notifications.sending import send; send('k')"
    )
    url = os.environ["DATABASE_URL"].rpartition("/")[0] + "/" + connection.settings_dict["NAME"]
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "DATABASE_URL": url, "EMAIL_URL": f"smtp://127.0.0.1:{mail.port}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    mail.on_data[ANN] = [kill(int(child.stdout.readline()))]
    child.communicate("go\n", timeout=30)
    assert child.returncode == -9
    assert statuses("k") == {ANN: "sending"}, "committed before the message was handed over"

    queue_plain("k", ANN)
    assert send("k") == Tally(in_doubt=1)
    assert send("k") == Tally(in_doubt=1)
    assert len(mail.to(ANN)) == 1


@pytest.mark.django_db
def test_a_line_that_breaks_after_data_leaves_doubt(mail: MailServer) -> None:
    queue_plain("k", ANN, BOB)
    mail.on_data[ANN] = [hang_up]

    assert send("k") == Tally(sent=1, in_doubt=1)
    assert statuses("k") == {ANN: "in_doubt", BOB: "sent"}


@pytest.mark.django_db
def test_a_line_that_breaks_before_data_is_tried_again(mail: MailServer) -> None:
    queue_plain("k", ANN, BOB)
    mail.on_mail[:] = [hang_up]

    with pytest.raises(NotYetError):
        send("k")
    assert statuses("k") == {ANN: "pending", BOB: "sent"}
    assert send("k") == Tally(sent=2)
    assert (len(mail.to(ANN)), len(mail.to(BOB))) == (1, 1)


@pytest.mark.django_db
@pytest.mark.parametrize("where", ["rcpt", "data"])
def test_a_refusal_fails_that_mail_and_no_other(mail: MailServer, where: str) -> None:
    queue_plain("k", ANN, BOB, CAT)
    getattr(mail, f"on_{where}")[BOB] = ["550 5.1.1 no such user"]

    assert send("k") == Tally(sent=2, failed=1)
    assert statuses("k") == {ANN: "sent", BOB: "failed", CAT: "sent"}
    assert "550 5.1.1 no such user" in Delivery.objects.get(status="failed").error
    assert send("k") == Tally(sent=2, failed=1)
    assert len(mail.accepted) == 2, "a refused mail is not tried again"


@pytest.mark.django_db
def test_a_refused_sender_is_nobodys_bad_address(mail: MailServer) -> None:
    queue_plain("k", ANN)
    mail.on_mail[:] = ["550 who are you"]

    with pytest.raises(NotYetError, match="who are you"):
        send("k")
    assert statuses("k") == {ANN: "pending"}


@pytest.mark.django_db
def test_no_server_is_a_retry_and_touches_nothing(mail: MailServer, settings: Any) -> None:
    queue_plain("k", ANN)
    settings.EMAIL_PORT = 1
    with pytest.raises(LineDownError, match="cannot be reached"):
        send("k")
    delivery = Delivery.objects.get(dedup_key="k")
    assert (delivery.status, delivery.attempts) == ("pending", 0)


@pytest.mark.django_db
def test_after_a_day_a_mail_is_given_up(mail: MailServer, settings: Any) -> None:
    queue_plain("k", ANN)
    Delivery.objects.update(created_at=timezone.now() - timedelta(hours=25))
    mail.on_rcpt[ANN] = ["451 later"]
    assert send("k") == Tally(failed=1)
    assert "451 later" in Delivery.objects.get(dedup_key="k").error


@pytest.mark.django_db
def test_a_text_that_fails_for_one_recipient_fails_that_mail(mail: MailServer) -> None:
    bad = Template.objects.create(code="odd", subject="s", text="{% widthratio 1 recipient.name 2 x y %}")
    good = Template.objects.create(code="good", subject="s", text="t")
    queue(Mail(dedup_key="k", template=bad), [ANN])
    queue(Mail(dedup_key="k", template=good), [BOB])

    assert send("k") == Tally(sent=1, failed=1)
    assert "cannot be rendered" in Delivery.objects.get(recipient__email=ANN).error


@pytest.mark.django_db
def test_unknown_recipients_are_named_and_the_others_get_theirs(mail: MailServer, welcome: Template) -> None:
    result = send_email("welcome", [ANN, 4711, "nobody", ANN.upper()])
    assert result == {"sent": 1, "failed": 0, "in_doubt": 0, "unknown": [4711, "nobody"]}
    assert len(mail.to(ANN)) == 1


@pytest.mark.django_db
def test_an_unknown_template_is_a_permanent_error() -> None:
    with pytest.raises(Permanent, match="no template 'nothing'"):
        send_email("nothing", [ANN])


@pytest.mark.django_db
def test_a_retry_keeps_the_version_it_began_with(mail: MailServer, welcome: Template) -> None:
    queue(Mail(dedup_key="k", template=welcome), [ANN])
    mail.on_rcpt[ANN] = ["451 later"]
    with pytest.raises(NotYetError):
        send("k")
    newer = Template.objects.create(code="welcome", version=2, subject="Other", text="Other")

    queue(Mail(dedup_key="k", template=newer), [ANN])
    send("k")
    assert mail.to(ANN)[0]["Subject"].startswith("Hello")


@pytest.mark.django_db
def test_a_message_to_one_address(mail: MailServer) -> None:
    assert send_message(ANN, "One\nline", "Hello.") == {"sent": 1, "in_doubt": 0}
    assert mail.to(ANN)[0]["Subject"] == "One line"
    mail.on_rcpt[BOB] = ["550 no such user"]
    with pytest.raises(Permanent, match="refused"):
        send_message(BOB, "s", "t")
    with pytest.raises(Permanent, match="not an e-mail address"):
        send_message("nobody", "s", "t")


@pytest.mark.django_db
@pytest.mark.parametrize("backend", ["locmem", "dummy"])
def test_any_backend_of_django_will_do(settings: Any, backend: str, mailoutbox: list[Any]) -> None:
    settings.EMAIL_BACKEND = f"django.core.mail.backends.{backend}.EmailBackend"
    queue_plain("k", ANN)
    assert send("k") == Tally(sent=1)
    assert len(mailoutbox) == (backend == "locmem")
