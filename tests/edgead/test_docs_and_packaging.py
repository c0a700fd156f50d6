"""What the documents promise is there, and the three distributions ask for each other."""

import re
from pathlib import Path

import edgead_export
import edgead_runtime
import msgspec
import pytest
from edgead_export._version import __version__ as export_version
from packaging.requirements import Requirement

import edgead
from edgead.cli.app import app

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_are_finished_and_their_links_lead_somewhere(document):
    text = document.read_text(encoding="utf-8")
    assert not re.findall(r"\b(MEASURED|TODO|TBD|FIXME|[A-Z]+_MINUTES|EVALTABLE)\b", text)
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (document.parent / target).exists(), target


def test_commands_in_the_readme_exist():
    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```.*?```|`[^`\n]+`", readme, flags=re.DOTALL))
    named = set(re.findall(r"(?<![.\w])edgead (\w+)", code))
    assert {"export", "enroll", "detect", "eval", "recipes"} <= named <= known


def test_the_three_are_released_together_and_ask_for_each_other():
    assert edgead.__version__ == export_version == edgead_runtime.__version__
    assert edgead_export.__name__ == "edgead_export"
    asked = []
    for project in (ROOT, ROOT / "export", ROOT / "runtime"):
        fields = msgspec.toml.decode((project / "pyproject.toml").read_bytes())["project"]
        asked += [Requirement(text) for text in fields["dependencies"] if text.startswith("edgead")]
    assert sorted(requirement.name for requirement in asked) == [
        "edgead-export",
        "edgead-runtime",
        "edgead-runtime",
    ]
    for requirement in asked:
        assert requirement.specifier
        assert edgead.__version__ in requirement.specifier
        assert "0.2.0" not in requirement.specifier
