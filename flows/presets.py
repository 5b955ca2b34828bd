"""Named recipes: settings that a job takes over where it does not give its own.

`durable` forgets deeper at less cost than the paper's recipe on the demo's world and on a novel in a small pretrained
model (docs/LOG.md); on large models it has not been measured.
"""

from typing import Any

from storage.errors import BadInput

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {},
    "durable": {
        "labels": {"soft": 1.0},  # v_generic as a whole distribution: hard labels sharpen the model
        "student": {"learning_rate": 2e-6, "hardening": 3.0},  # twice the paper's rate
    },
}
RETAINED = {"retain": 0.5, "steps": 300, "keep": [60, 120, 180, 240]}
"""What `durable` does besides where the job names text to retain: half of every batch, so twice as many of them."""


def with_preset(values: dict[str, Any]) -> dict[str, Any]:
    """A job's values with its preset's below them: what the job says itself stays. Raises BadInput for another name."""
    name = values.get("preset", "paper")
    if name not in PRESETS:
        raise BadInput(f"preset: expected one of {', '.join(PRESETS)}, found {name!r}")
    below = {section: dict(settings) for section, settings in PRESETS[name].items()}
    if name == "durable" and (values.get("retain") or {}).get("paths"):
        below["student"] |= RETAINED
    return values | {section: _over(settings, values.get(section, {})) for section, settings in below.items()}


def _over(settings: dict[str, Any], own: Any) -> Any:
    """What is no section is left for the job to refuse."""
    return settings | own if isinstance(own, dict) else own
