"""Reading a page of `fca-edge report` as a reader or a browser would."""

import re
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """Text by section, drawings, scripts and every address that a page names."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.section = "head"
        self.texts: dict[str, list[str]] = {}
        self.scripts: list[tuple[str | None, str]] = []
        self.addresses: list[str] = []
        self.feed(source)
        self.svgs = re.findall(r"<svg.*?</svg>", source, re.S)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "section":
            self.section = values["id"] or ""
        if tag == "script":
            self.scripts.append((values.get("type"), ""))
        names = ("src", "href", "xlink:href", "action", "srcset", "data", "poster")
        self.addresses += [value for name, value in attrs if name in names and value]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"{tag} ends what another began"
        if tag == "section":
            self.section = "foot"

    def handle_data(self, data: str) -> None:
        if "script" in self.open:
            kind, text = self.scripts[-1]
            self.scripts[-1] = (kind, text + data)
        elif "style" not in self.open and data.strip():
            self.texts.setdefault(self.section, []).append(data.strip())

    def text(self, *sections: str) -> str:
        return "\n".join(
            part for name in sections or self.texts for part in self.texts.get(name, [])
        )


def read_page(path: Path) -> Page:
    page = Page(path.read_text(encoding="utf-8"))
    page.close()
    assert page.open == [], "something does not end"
    return page
