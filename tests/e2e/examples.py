"""The clients in other languages as their README types them: built, run, and cut off from a mesh.

`make test-examples` runs this. Its name keeps it out of `make test`, which needs no Go and no Node.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from deploy.local.parts import tool
from tests.kit.client import Client
from tests.kit.proxies import Lost, RedisProxy

ROOT = Path(__file__).parents[2]
README = Path("clients/examples/README.md")
TOOLCHAINS = {
    "go": ("go", "Go 1.26 or later"),
    "typescript": ("npm", "Node 20 or later, with npm"),
}
"""What each example is built with: the command, and what to install where there is none."""

# The first build on a machine fetches modules and compiles the generators.
pytestmark = pytest.mark.timeout(600)


class Example:
    """One of them, in a copy: building leaves files behind."""

    def __init__(self, language: str, root: Path) -> None:
        shutil.copytree(
            ROOT / README.parent / language,
            root / README.parent / language,
            ignore=shutil.ignore_patterns("node_modules"),
        )
        shutil.copytree(ROOT / "protos" / "gen", root / "protos" / "gen")
        pattern = rf"^```sh\n(cd {README.parent}/{language}\n.*?)^```$"
        (self._commands,) = re.findall(pattern, (ROOT / README).read_text(), re.DOTALL | re.M)
        self._root = root

    def run(self, target: str) -> subprocess.CompletedProcess[str]:
        """Type its block of commands, at this target."""
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self._commands.replace("localhost:8001", target)],
            cwd=self._root,
            env=os.environ | {"PATH": f"{os.environ['PATH']}:{tool('buf').parent}"},
            capture_output=True,
            text=True,
        )

    def change(self, old: str, new: str) -> None:
        """Replace a text of its program, which stands there once."""
        (program,) = (self._root / README.parent).glob("*/main.*")
        assert program.read_text().count(old) == 1
        program.write_text(program.read_text().replace(old, new))


@pytest.fixture(params=TOOLCHAINS)
def example(request: pytest.FixtureRequest, tmp_path: Path) -> Example:
    command, what = TOOLCHAINS[request.param]
    if shutil.which(command) is None:
        pytest.fail(f"There is no `{command}` here, which this example needs: install {what}.")
    return Example(request.param, tmp_path)


@pytest.fixture
def proxy(client: Client) -> Iterator[RedisProxy]:
    # It passes any protocol on.
    with closing(RedisProxy(client.mesh.settings.gateway_port)) as proxy:
        yield proxy


def show_as_it_should(client: Client, done: subprocess.CompletedProcess[str]) -> None:
    """Check what one run of an example printed, and that all of it is on record, once."""
    assert done.returncode == 0, done.stdout + done.stderr
    tasks = dict(re.findall(r"^(\d): accepted as task (\S+)$", done.stdout, re.M))
    assert list(tasks) == ["0", "2"]
    (alert,) = re.findall(r"^1: CONTENT_REFUSED by email, alert (\S+)$", done.stdout, re.M)
    assert "1: EMAIL at /data/to\n" in done.stdout
    for task in tasks.values():
        assert f"task {task}: TASK_STATE_SUCCEEDED\n" in done.stdout
        assert len(client.rows(f"task_id = '{task}'")) == 1
    assert alert in client.reports()
    assert "bob@" not in done.stdout + done.stderr


def test_it_submits_a_batch_and_waits(client: Client, example: Example) -> None:
    show_as_it_should(client, example.run(client.mesh.gateway))


@pytest.mark.parametrize("lost", Lost)
def test_a_lost_call_is_repeated_and_taken_once(
    client: Client, example: Example, proxy: RedisProxy, lost: Lost
) -> None:
    before = client.rows("source =~ /-example$/")
    loss = proxy.lose(b"invitation", lost=lost)
    show_as_it_should(client, example.run(urlsplit(proxy.url).netloc))
    assert loss.struck.is_set()
    assert len(client.rows("source =~ /-example$/")) == len(before) + 3


def test_other_verdicts_than_expected_are_a_failure(client: Client, example: Example) -> None:
    example.change("bob@example.com", "bob")
    done = example.run(client.mesh.gateway)
    assert done.returncode == 1
    assert "expected the second of three to be refused" in done.stderr
