"""A web page on which people restore their photos; `adair demo` serves it.

What is done with files is what `adair restore` does. Only `page`, `offline` and `server` know Gradio.
"""

from __future__ import annotations

from adair_core.demo.limits import Limits
from adair_core.demo.offers import AUTO, Offer, offer_of, zoo_offers
from adair_core.demo.restorer import Restorer
from adair_core.demo.session import Session, Shown
from adair_core.demo.sessions import Sessions

__all__ = ["AUTO", "Limits", "Offer", "Restorer", "Session", "Sessions", "Shown", "offer_of", "zoo_offers"]
