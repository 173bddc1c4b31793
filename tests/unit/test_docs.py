"""What the documents name is there: links, files, commands, settings, metrics, rows, names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from alert_service.settings import AlertSettings
from deploy.local.settings import LocalSettings
from ingest_service.settings import IngestSettings
from tests.faults.table import ROWS
from worker.settings import WorkerSettings

ROOT = Path(__file__).parents[2]
CODE = (
    *("alert_service", "bench", "deploy", "detection", "ingest_service", "job_store", "mesh"),
    *("protos", "tests", "worker", "clients/python"),
)
FOLDERS = (*CODE, "api_gateway", "clients", "docs", "requirements")
PAGES = sorted(
    page
    for pattern in ("*.md", "clients/*/*.md", "docs/**/*.md", "tests/**/*.md", "worker/**/*.md")
    for page in ROOT.glob(pattern)
)
SETTINGS: list[type[BaseSettings]] = [LocalSettings, IngestSettings, AlertSettings, WorkerSettings]


def text_of(name: str) -> str:
    return (ROOT / name).read_text()


def prose_of(page: Path) -> str:
    """Return a page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def spans_of(page: Path) -> list[str]:
    """Return what stands as code within the lines of a page."""
    return re.findall(r"`([^`\n]+)`", prose_of(page))


def anchors_of(page: Path) -> set[str]:
    """Return the names by which links lead to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose_of(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


def sources() -> Iterator[Path]:
    for room in CODE:
        for path in (ROOT / room).rglob("*.py"):
            if "gen" not in path.parts:
                yield path


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_the_readme_is_short() -> None:
    assert len(text_of("README.md").splitlines()) <= 200


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors_of(target), link


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_files_that_are_named_are_there(page: Path) -> None:
    for span in spans_of(page):
        if re.fullmatch(rf"(?:{'|'.join(FOLDERS)})/[\w./-]*", span) and "error_reports" not in span:
            assert (ROOT / span).exists(), span


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_that_are_named_are_there(page: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", text_of("Makefile"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z0-9-]+)", "\n".join(spans_of(page)))) <= targets


def test_every_setting_is_told() -> None:
    names = {f"SLUICE_{field}".upper() for each in SETTINGS for field in each.model_fields}
    told = set(re.findall(r"`(SLUICE_[A-Z_]+)`", text_of("docs/operations.md")))
    assert names - told == set()


def test_every_metric_is_told() -> None:
    pattern = re.compile(r'\b(?:Counter|Gauge|Histogram)\(\s*"(sluice_\w+)"')
    names = {name for path in sources() for name in pattern.findall(path.read_text())}
    assert names
    assert names - set(re.findall(r"`(sluice_\w+)`", text_of("docs/operations.md"))) == set()


def test_fault_rows_that_are_named_are_there() -> None:
    rows = {row.name for row in ROWS}
    (table,) = re.findall(r"^## Which test.*?(?=^## )", text_of("docs/testing.md"), re.M | re.S)
    assert set(re.findall(r"`([a-z0-9]+(?:-[a-z0-9]+)+)`", table)) <= rows
    for page in (ROOT / "docs" / "decisions").glob("*.md"):
        for line in re.findall(r"[Ff]ault rows? ((?:[^.(]|\n)*)", page.read_text()):
            assert set(re.findall(r"`([a-z0-9-]+)`", line)) <= rows, page


def test_every_decision_is_listed_by_its_number_and_title() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(r"^(\d+)\. \[(.+)\]\((.+)\)$", (folder / "README.md").read_text(), re.M)
    records = sorted(folder.glob("[0-9]*.md"))
    assert [name for _, _, name in listed] == [record.name for record in records]
    for count, ((number, title, _), record) in enumerate(zip(listed, records, strict=True), 1):
        assert (int(number), record.name[:4]) == (count, f"{count:04}")
        assert record.read_text().startswith(f"# {number}. {title}\n")


def test_every_name_of_the_glossary_is_in_the_code() -> None:
    (words,) = re.findall(r"^## Words$.*?(?=^## )", text_of("CONTRIBUTING.md"), re.M | re.S)
    names = set(re.findall(r"`([A-Z][a-z]\w+)`", words))
    assert names
    classes = {
        node.name
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    }
    messages = {
        name
        for path in (ROOT / "protos").rglob("*.proto")
        for name in re.findall(r"^(?:message|service|enum) (\w+)", path.read_text(), re.MULTILINE)
    }
    assert names - classes - messages == set()
