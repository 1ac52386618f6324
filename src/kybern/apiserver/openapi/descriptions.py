"""What fields mean, in upstream's sentences: read from the docstrings of `lightkube-models`, as text.

The package is never imported, and what was read is kept only as long as somebody builds a document from it.
"""

import importlib.util
import re
from pathlib import Path

CLASS = re.compile(r'^class (\w+)\(DictMixin\):\n    r?"""(.*?)"""', re.DOTALL | re.MULTILINE)
FIELD = re.compile(r"^ {6}\* \*\*(\S+?)\*\* ``.*?`` - (.*?)(?=^ {6}\* \*\*|\Z)", re.DOTALL | re.MULTILINE)
PARAMETERS = "**parameters**"


class Descriptions:
    """The descriptions of every type, a module's read when the first of it is asked for."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or models_folder()
        self.modules: dict[str, dict[str, str]] = {}

    def of_type(self, module: str, name: str) -> str:
        """`module` as in `kybern.api`: `core_v1`."""
        text = self._module(module).get(name, "")
        return flowing(text.partition(PARAMETERS)[0])

    def of_fields(self, module: str, name: str) -> dict[str, str]:
        """By the fields' JSON names."""
        text = self._module(module).get(name, "").partition(PARAMETERS)[2]
        return {field.rstrip("_"): flowing(said) for field, said in FIELD.findall(text)}

    def of_field(self, path: str) -> str:
        """`core_v1.PodStatus.podIP`; empty where nothing is said of it."""
        module, name, field = path.split(".")
        return self.of_fields(module, name).get(field, "")

    def _module(self, module: str) -> dict[str, str]:
        found = self.modules.get(module)
        if found is None:
            path = self.folder / f"{module}.py" if self.folder else None
            text = path.read_text(encoding="utf-8") if path is not None and path.is_file() else ""
            found = self.modules[module] = dict(CLASS.findall(text))
        return found


def models_folder() -> Path | None:
    spec = importlib.util.find_spec("lightkube")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        models = Path(folder) / "models"
        if models.is_dir():
            return models
    return None


def flowing(text: str) -> str:
    """A wrapped text as paragraphs of one line each."""
    paragraphs = re.split(r"\n\s*\n", text.strip())
    return "\n\n".join(" ".join(line.strip() for line in paragraph.splitlines()) for paragraph in paragraphs)
