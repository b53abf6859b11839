"""How the admin looks: django-unfold's `UNFOLD`. Its sidebar is in `jobs/admin/navigation.py`."""

from __future__ import annotations

from typing import Any

from django.templatetags.static import static

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Jadwal",
    "SITE_HEADER": "Jadwal",
    "SITE_SUBHEADER": "Job scheduler",
    "SITE_SYMBOL": "schedule",
    "SITE_URL": None,
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_BACK_BUTTON": True,
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("jobs/favicon.svg")}
    ],
    "BORDER_RADIUS": "8px",
    "DASHBOARD_CALLBACK": "jobs.admin.dashboard.context",
    "STYLES": [lambda request: static("jobs/console.css")],
    "COLORS": {
        "primary": {
            "50": "oklch(97% .014 254.604)",
            "100": "oklch(93.2% .032 255.585)",
            "200": "oklch(88.2% .059 254.128)",
            "300": "oklch(80.9% .105 251.813)",
            "400": "oklch(70.7% .165 254.624)",
            "500": "oklch(62.3% .214 259.815)",
            "600": "oklch(54.6% .245 262.881)",
            "700": "oklch(48.8% .243 264.376)",
            "800": "oklch(42.4% .199 265.638)",
            "900": "oklch(37.9% .146 265.522)",
            "950": "oklch(28.2% .091 267.935)",
        }
    },
    "SIDEBAR": {
        "show_search": False,
        "show_all_applications": False,
        "navigation": "jobs.admin.navigation.sidebar",
    },
    "TABS": "jobs.admin.navigation.tabs",
}
