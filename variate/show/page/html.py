"""Sections → HTML. Every text that comes from outside is escaped here."""

from base64 import b64encode
from html import escape

from variate.show.page.parts import Keys, Picture, Section

__all__ = ["card", "listing", "section", "table"]

LONGEST = 18  # characters of a name beside a picture; the rest shows where the pointer rests on it
MOST_NAMED = 12  # columns whose names have room in the usual type
STRETCHED = 2  # CSS pixels that a pixel of a sheet may take


def section(drawn: Section) -> str:
    """Title, a line of text, figures; nothing at all without figures."""
    if not drawn.pictures:
        return ""
    text = (f"<p>{escape(drawn.text)}</p>" if drawn.text else "") + _legend(drawn.keys)
    figures = "\n".join(map(_figure, drawn.pictures))
    grid = "figures small" if all(picture.small for picture in drawn.pictures) else "figures"
    return f'<section><h2>{escape(drawn.title)}</h2>{text}\n<div class="{grid}">\n{figures}\n</div></section>'


def _figure(picture: Picture) -> str:
    dark = ""
    if picture.dark is not None:
        dark = f'<source media="(prefers-color-scheme: dark)" srcset="{_data_uri(picture.dark)}">'
    image = f'<img id="{escape(picture.name)}" alt="{escape(picture.title)}" src="{_data_uri(picture.light)}">'
    labels = _names("rows", picture.rows) + _names("columns", picture.columns)
    caption = f"<figcaption><b>{escape(picture.title)}</b> {escape(picture.caption)}</figcaption>"
    tiles = f'<div class="{_kind(picture)}><picture>{dark}{image}</picture>{labels}</div>'
    wide = ' class="wide"' if picture.wide else ""
    return f"<figure{wide}>{tiles}{_legend(picture.keys)}{caption}</figure>"


def _kind(picture: Picture) -> str:
    """The class of what surrounds an image and, for pixels, which grow but little, how wide it may become."""
    if not picture.sheet:
        return 'chart"'
    if picture.dark is not None:
        return 'sheet narrow"' if len(picture.columns) > MOST_NAMED else 'sheet"'
    return f'sheet pixels" style="max-width: {STRETCHED * _width(picture.light)}px"'


def _width(png: bytes) -> int:
    """In pixels; where the format puts it."""
    return int.from_bytes(png[16:20], "big")


def _legend(keys: Keys) -> str:
    spans = "".join(_name(name, f' style="--key: {colour}"') for colour, name in keys)
    return f'<div class="keys">{spans}</div>' if spans else ""


def _names(side: str, names: tuple[str, ...]) -> str:
    return f'<div class="{side}">{"".join(map(_name, names))}</div>' if names else ""


def _name(name: str, style: str = "") -> str:
    if len(name) <= LONGEST:
        return f"<span{style}>{escape(name)}</span>"
    return f'<span{style} title="{escape(name)}">{escape(name[: LONGEST - 1].rstrip())}…</span>'


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{b64encode(png).decode()}"


def card(number: str, unit: str, name: str, how: str) -> str:
    number, unit, name, how = map(escape, (number, unit, name, how))
    return f'<div class="card"><b>{number} <small>{unit}</small></b><span>{name}</span><i>{how}</i></div>'


def table(title: str, rows: list[tuple[str, str, str, str]]) -> str:
    """Rows of (id, what it is, value, note)."""
    lines = "\n".join(_row(*map(escape, row)) for row in rows)
    return f"<section><h2>{escape(title)}</h2>\n<table>\n{lines}\n</table></section>"


def _row(name: str, label: str, value: str, note: str) -> str:
    return f'<tr id="{name}"><th scope="row">{label}</th><td class="value">{value}</td><td>{note}</td></tr>'


def listing(title: str, heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Rows under headings; nothing at all without rows."""
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    lines = "\n".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    table = f'<table class="listing">\n<tr>{head}</tr>\n{lines}\n</table>'
    return f"<section><h2>{escape(title)}</h2>\n{table}</section>"
