"""For mkdocs: links from the documents to files of the repository that are no pages of the site become plain file names."""

import re


def on_page_markdown(markdown: str, **_) -> str:
    """[text](../path) -> text (`path` in the repository); links between the documents stay."""
    return re.sub(r"\[([^\]]+)\]\(\.\./([^)#]+)(#[^)]*)?\)", lambda m: _name(m[1], m[2]), markdown)


def _name(text: str, path: str) -> str:
    return f"`{path}`" if text.removeprefix("../") == path else f"{text} (`{path}`)"
