"""Create the work pools and the automation, or bring them up to date.

    python deploy/pools.py [process|slurm|kubernetes]

`cpu` takes the orchestrating flows, `gpu` the stages that load models. The word says how work is started: by a worker
on the machine itself (process), the gpu pool's as Slurm jobs (slurm), or both pools' as Kubernetes jobs (kubernetes).
"""

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).absolute().parent


def pools(kind: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """By pool: the type of its workers, and its base job template."""
    if kind == "kubernetes":
        return dict.fromkeys(("cpu", "gpu"), (kind, template("kubernetes/base-job-template.json")))
    process = process_template()
    return {
        "cpu": ("process", process),
        "gpu": ("process", template("slurm/base-job-template.json") if kind == "slurm" else process),
    }


def process_template() -> dict[str, Any]:
    """Prefect's own, with the command that starts a run at once: there is no code to fetch and no folder to prepare."""
    from prefect.workers.process import ProcessWorker

    base = ProcessWorker.get_default_base_job_template()
    base["variables"]["properties"]["command"]["default"] = "python -m prefect.engine"
    return base


def template(name: str) -> dict[str, Any]:
    """A base job template of this folder; @HERE@ in it is this folder."""
    return dict(json.loads((HERE / name).read_text().replace("@HERE@", str(HERE))))


def main() -> None:
    """Say what was created."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", nargs="?", default="process", choices=("process", "slurm", "kubernetes"))
    kind = parser.parse_args().kind
    with get_client(sync_client=True) as client:
        for name, (worker, base) in pools(kind).items():
            client.create_work_pool(WorkPoolCreate(name=name, type=worker, base_job_template=base), overwrite=True)
            print(f"pool {name}, whose workers are of type {worker}")
    automate()


def automate() -> None:
    """What the server does by itself, under its name once."""
    from prefect.automations import Automation

    wanted = Automation.model_validate(yaml.safe_load((HERE / "automation.yaml").read_text()))
    try:
        known = Automation.read(name=wanted.name)
    except ValueError:  # there is none
        wanted.create()
    else:
        known.trigger, known.actions, known.enabled = wanted.trigger, wanted.actions, wanted.enabled
        known.update()
    print(f"automation {wanted.name}: {wanted.description}")


if __name__ == "__main__":
    main()
