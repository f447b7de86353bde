"""The page put together: the folder with ``report.html``, ``report.json`` and ``pictures``."""

from html import escape
from pathlib import Path
from string import Template

from variate.base.files import write_atomic
from variate.base.progress import track
from variate.show.page import (
    associations,
    comparison,
    dictionary,
    headline,
    holes,
    html,
    interpolations,
    latent,
    marginals,
    numbers,
    reconstructions,
    samples,
    training,
)
from variate.show.page.findings import Findings

__all__ = ["write"]

OF_TABLES = (marginals, associations, holes, latent, training, comparison)
OF_ARRAYS = (samples, reconstructions, latent, interpolations, training, comparison)


def write(found: Findings, place: Path) -> Path:
    """Draw every section; the path of the page."""
    parts = []
    sections = OF_TABLES if found.run.schema.table else OF_ARRAYS
    for module in track(sections, "Drawing", unit="sections"):
        section = module.draw(found)
        for picture in section.pictures:
            write_atomic(place / "pictures" / f"{picture.name}.png", picture.light)
        parts.append(html.section(section))
    parts.append(html.listing(dictionary.TITLE, dictionary.HEADS, dictionary.rows(found)))
    parts.append(html.table("Numbers", numbers.rows(found)))
    write_atomic(place / "report.json", numbers.as_json(found))
    write_atomic(place / "report.html", _page(found, parts).encode("utf-8", "backslashreplace"))
    return place / "report.html"


def _page(found: Findings, sections: list[str]) -> str:
    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(found.run.info["data"]),
        summary=escape(headline.summary(found)),
        cards="".join(html.card(*card) for card in headline.cards(found)),
        sections="\n".join(sections),
    )
