"""``adair demo``: a web page on which people restore their photos."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
import rich_click

from adair_core.cli.automatic import DIAGNOSER
from adair_core.cli.choices import trained_adapter, weights_spec
from adair_core.cli.command import Command
from adair_core.cli.models import load_model, network_options, tile_of
from adair_core.cli.output import say
from adair_core.cli.process import threads_option, tune
from adair_core.errors import UsageError

LOCAL = ("127.0.0.1", "localhost", "::1")


@rich_click.command(
    "demo",
    cls=Command,
    examples=[
        "demo",
        "demo --adapter runs/denoise-lora/denoise --port 8000",
        "demo --host 0.0.0.0 --max-megapixels 12",
    ],
)
@rich_click.option(
    "--adapter",
    "adapters",
    multiple=True,
    metavar="NAME|DIR",
    help="trained adapter that is offered beside the zoo's; may be given several times",
)
@rich_click.option("--base", metavar="NAME|FILE", help="base [default: that of the first adapter]")
@rich_click.option("--accept-unknown-base", is_flag=True, help="use adapters that do not name their base")
@rich_click.option("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0: all [default: 127.0.0.1]")
@rich_click.option(
    "--port", type=click.IntRange(0, 65535), default=7860, metavar="N", help="0 is any free one [default: 7860]"
)
@rich_click.option(
    "--max-megapixels", type=float, default=24.0, metavar="X", help="of a photo, and of what it becomes [default: 24]"
)
@rich_click.option(
    "--max-megabytes", type=click.IntRange(min=1), default=200, metavar="N", help="of a photo's file [default: 200]"
)
@rich_click.option(
    "--max-waiting",
    type=click.IntRange(min=1),
    default=8,
    metavar="N",
    help="requests that wait for their turn before others are told that the page is busy [default: 8]",
)
@network_options
@threads_option
def command(adapters: Sequence[str], **parameters: Any) -> None:
    """Serve a web page that restores photos.

    It offers the zoo's adapters and those of --adapter, and finds out what is wrong where the zoo has a diagnoser.
    Before and after are compared, the strength is changed without computing again, and results keep depth and metadata
    as those of 'adair restore' do. One photo is restored at a time. The page is for this machine alone unless --host
    says otherwise, has no password, uses no other host and sends nothing anywhere. Ctrl-C ends it.
    """
    from adair_core.demo import Limits
    from adair_core.demo.offline import require_gradio
    from adair_core.demo.server import app, listening, serve

    require_gradio()  # told before the weights are read
    limits = Limits(
        megapixels=parameters["max_megapixels"],
        upload_megabytes=parameters["max_megabytes"],
        waiting=parameters["max_waiting"],
    )
    tune(parameters["threads"])
    with listening(parameters["host"], parameters["port"]) as listener:
        restorer = _restorer([trained_adapter(name) for name in adapters], parameters)
        say(f"offering {', '.join(restorer.labels)} with {restorer.model.info.name}")
        host, port = listener.getsockname()[:2]
        if host not in LOCAL:
            hint = "docs/demo.md says what to put in front of it"
            say(f"warning: whoever reaches {host} can use it, without password or encryption; {hint}")
        shown = f"[{host}]" if ":" in host else host

        def ready() -> None:
            say(f"http://{shown}:{port} (Ctrl-C ends it)")

        with app(restorer, limits) as served:
            serve(served, listener, on_ready=ready)


def _restorer(named: Sequence[str], parameters: Any) -> Any:
    """The network with all that it can restore.

    Raises:
        UsageError: there is nothing to offer, or an adapter that was named is for another base.
        AdairError: the weights cannot be used.
    """
    from adair_core.demo import Restorer, offer_of, zoo_offers
    from adair_core.demo.offers import told_apart
    from adair_core.diagnosis import Diagnoser
    from adair_core.inference import Settings

    own = [offer_of(name) for name in named]
    offers = [*own, *zoo_offers()]
    if not offers:
        raise UsageError("the zoo has no adapters; give those that 'adair train' made: --adapter runs/NAME/TASK")
    base = parameters["base"] or next((offer.base for offer in offers if offer.base is not None), None)
    loaded = load_model({**parameters, "adapters": (), "blend": None, "base": base}, task=None)
    info = loaded.model.info
    for offer in own:
        if not offer.fits(info):
            raise UsageError(
                f"adapter {offer.adapter} is for base {offer.base}, and the page has one base, {info.name}"
            )
    return Restorer(
        loaded.model,
        told_apart(offer for offer in offers if offer.fits(info)),
        Diagnoser.load(DIAGNOSER) if weights_spec(DIAGNOSER) is not None else None,
        Settings(
            tile=tile_of(parameters["tile"]),
            precision=parameters["precision"],
            exact=parameters["exact"],
            ensemble=parameters["self_ensemble"],
            graphs=not parameters["no_graphs"],
        ),
        accept_unknown_base=parameters["accept_unknown_base"],
    )
