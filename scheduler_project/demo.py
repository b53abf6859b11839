"""What `manage.py up --demo` shows: people, sales, and schedules of every kind over the three domain apps.

Everything is found by its name first, so that seeding again changes nothing.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django_celery_beat.models import PeriodicTask, SolarSchedule

from backups.models import BackupPolicy, BackupTarget
from billing.models import Customer, Invoice, InvoiceLine
from jobs.engine.editing import Draft, create, parse_cron, set_policy
from jobs.engine.pausing import pause
from jobs.models import Schedule
from notifications.models import Recipient, Template

DAYS = 90
SEED = 20_260_101
RECIPIENTS = (
    ("ada@example.com", "Ada", "Europe/London", "en"),
    ("bruno@example.com", "Bruno", "Europe/Berlin", "de"),
    ("chiyo@example.com", "Chiyo", "Asia/Tokyo", "ja"),
)
CUSTOMERS = (
    ("Nordwind Logistik GmbH", "buchhaltung@nordwind.example", "Europe/Berlin", "EUR"),
    ("Atelier Lumière", "compta@lumiere.example", "Europe/Paris", "EUR"),
    ("Kawa Roasters", "keiri@kawa.example", "Asia/Tokyo", "JPY"),
    ("Bluebird Studio LLC", "billing@bluebird.example", "America/New_York", "USD"),
    ("Studio Żubr", "biuro@zubr.example", "Europe/Warsaw", "EUR"),
    ("Harbor & Finch", "accounts@harborfinch.example", "America/Chicago", "USD"),
)
PRODUCTS = (("Basic, monthly", 1900, 50), ("Pro, monthly", 4900, 30), ("Team, monthly", 14900, 12),
            ("Onboarding", 45000, 4), ("Support pack", 9900, 8))  # fmt: skip
RATE = {"EUR": 1.0, "USD": 1.1, "JPY": 1.6}
"""Rough: a JPY price in yen is about 1.6 times the EUR price in cents."""


@dataclass(frozen=True, slots=True)
class Seeded:
    """How many rows were made; all zero the second time."""

    recipients: int
    templates: int
    invoices: int
    policies: int
    schedules: int


def seed(now: datetime) -> Seeded:
    """Make what is not there yet, as of `now`."""
    with transaction.atomic():
        return Seeded(
            recipients=_recipients(),
            templates=_templates(),
            invoices=_sales(now),
            policies=_backup_policy(),
            schedules=_schedules(now),
        )


def _recipients() -> int:
    made = 0
    for email, name, zone, locale in RECIPIENTS:
        defaults = {"name": name, "time_zone": zone, "locale": locale}
        made += Recipient.objects.get_or_create(email=email, defaults=defaults)[1]
    return made


def _templates() -> int:
    defaults = {
        "subject": "Hello {{ recipient.name }}, it is {{ scheduled_for|time:'H:i' }} where you are",
        "text": "Dear {{ recipient.name }},\n\nthis mail is for {{ scheduled_for|date:'j F Y, H:i' }} "
        "({{ recipient.time_zone }}).\n{{ note }}\n\nJadwal\n",
        "html": "<p>Dear {{ recipient.name }},</p><p>this mail is for "
        "<strong>{{ scheduled_for|date:'j F Y, H:i' }}</strong> ({{ recipient.time_zone }}).</p>"
        "<p>{{ note }}</p><p>Jadwal</p>",
    }
    return int(Template.objects.get_or_create(code="welcome", version=1, defaults=defaults)[1])


def _backup_policy() -> int:
    target, _ = BackupTarget.objects.get_or_create(name="local")
    defaults = {"target": target, "keep_last": 7}
    return int(BackupPolicy.objects.get_or_create(name="main", defaults=defaults)[1])


def _sales(now: datetime) -> int:
    """Make three months of invoices up to `now`: more on weekdays, growing slowly, most of them paid."""
    if Invoice.objects.exists():
        return 0
    chance = random.Random(SEED)  # noqa: S311  (the same demo for everybody)
    customers = [
        (Customer.objects.get_or_create(email=email, defaults={"name": name, "time_zone": zone})[0], currency)
        for name, email, zone, currency in CUSTOMERS
    ]
    first = (now - timedelta(days=DAYS)).replace(hour=0, minute=0, second=0, microsecond=0)
    times = sorted(
        at
        for back in range(DAYS + 1)
        for at in _times_of_day(chance, first + timedelta(days=back), back)
        if at < now
    )
    invoices: list[Invoice] = []
    lines: list[InvoiceLine] = []
    for number, at in enumerate(times, 1):
        invoice, own = _sale(chance, f"D-{number:06d}", at, now, customers)
        invoices.append(invoice)
        lines += own
    Invoice.objects.bulk_create(invoices, batch_size=500)
    InvoiceLine.objects.bulk_create(lines, batch_size=1_000)
    return len(invoices)


def _times_of_day(chance: random.Random, day: datetime, growth: int) -> list[datetime]:
    usual = (5 if day.weekday() >= 5 else 12) + growth // 15
    return [
        day + timedelta(seconds=chance.triangular(0, 86_399, 50_000))
        for _ in range(max(1, round(chance.gauss(usual, 2))))
    ]


def _sale(
    chance: random.Random, number: str, at: datetime, now: datetime, customers: list[tuple[Customer, str]]
) -> tuple[Invoice, list[InvoiceLine]]:
    customer, currency = chance.choice(customers)
    paid_at = at + timedelta(hours=chance.expovariate(1 / 30))
    status = "void" if chance.random() < 0.02 else "paid" if paid_at < now else "open"
    invoice = Invoice(
        number=number,
        customer=customer,
        status=status,
        currency=currency,
        issued_at=at,
        paid_at=paid_at if status == "paid" else None,
    )
    weights = [weight for *_, weight in PRODUCTS]
    lines = []
    for product, price, _ in dict.fromkeys(chance.choices(PRODUCTS, weights, k=chance.choice((1, 1, 1, 2)))):
        quantity = chance.choice((1, 1, 1, 2, 5)) if "monthly" in product else 1
        unit = round(price * RATE[currency] / 100) * 100
        lines.append(
            InvoiceLine(
                invoice=invoice, product=product, quantity=quantity, unit_amount=unit, amount=quantity * unit
            )
        )
    invoice.total = sum(line.amount for line in lines)
    return invoice, lines


# --- Schedules ----------------------------------------------------------------------------------------------


def _schedules(now: datetime) -> int:
    made = 0
    for draft in (*_domain_drafts(now), *_canary_drafts(now)):
        if not _exists(draft.name):
            create(draft)
            made += 1
    return made + _paused_schedule() + _solar_schedule()


def _exists(name: str) -> bool:
    return bool(PeriodicTask.objects.filter(name=name).exists())


def _domain_drafts(now: datetime) -> list[Draft]:
    hello = {
        "template": "welcome",
        "recipients": [email for email, *_ in RECIPIENTS],
        "context": {"note": "It comes every minute."},
    }
    once = {
        "to": "ada@example.com",
        "subject": "Two minutes after the start",
        "text": "This mail was scheduled once.",
    }
    report = {
        "catch_up": "all",
        "catchup_window": timedelta(days=7),
        "note": "The day before, as PDF. Run it now to see one.",
    }
    main: dict[str, Any] = {"task": "backups.run_backup", "kwargs": {"policy": "main"}}
    return [
        Draft(
            name="demo: hello e-mail every minute",
            task="notifications.send_email",
            cron=parse_cron("* * * * *", tz="UTC"),
            kwargs=hello,
            policy={"note": "A recurring mail to three people, each in their own time zone."},
        ),
        Draft(
            name="demo: one-shot e-mail",
            task="notifications.send_message",
            at=now + timedelta(minutes=2),
            kwargs=once,
        ),
        Draft(
            name="demo: daily sales report 01:00 Europe/Berlin",
            task="billing.daily_sales_report",
            cron=parse_cron("0 1 * * *", tz="Europe/Berlin"),
            kwargs={"zone": "Europe/Berlin"},
            policy=report,
        ),
        Draft(name="demo: nightly backup 02:30", cron=parse_cron("30 2 * * *", tz="UTC"), **main),
        Draft(name="demo: backup every 10 minutes", every=timedelta(minutes=10), **main),
    ]


def _canary_drafts(now: datetime) -> list[Draft]:
    return [
        Draft(
            name="demo: canary every 15 s",
            task="jobs.canary",
            every=timedelta(seconds=15),
            kwargs={"note": "every 15 s"},
        ),
        Draft(
            name="demo: fails, retries, gives up",
            task="jobs.canary",
            at=now + timedelta(minutes=1),
            kwargs={"note": "a failure to look at", "fail": "The demo fails on purpose."},
            policy={"max_attempts": 3, "backoff_base": timedelta(seconds=5)},
        ),
    ]


def _paused_schedule() -> int:
    name = "demo: paused"
    if _exists(name):
        return 0
    cron = parse_cron("* * * * *", tz="UTC")
    schedule = create(Draft(name=name, task="jobs.canary", cron=cron, kwargs={"note": "paused"}))
    pause(schedule, note="Paused on purpose: its times pass as skipped.", actor="seed_demo")
    return 1


def _solar_schedule() -> int:
    """Make a solar schedule by hand: the editing verb knows crontabs, intervals and instants so far."""
    name = "demo: sunrise in Mecca"
    if _exists(name):
        return 0
    solar, _ = SolarSchedule.objects.get_or_create(event="sunrise", latitude=21.4225, longitude=39.8262)
    row = PeriodicTask.objects.create(
        name=name, task="jobs.canary", solar=solar, kwargs='{"note": "the sun is up"}'
    )
    set_policy(Schedule.objects.get(pk=row.pk), {"note": "Solar times follow the place."})
    return 1
