"""Have a deployment run a job: python deploy/submit.py JOB.toml [--set SECTION.SETTING=VALUE] [--deployment FLOW/NAME].

The job's paths become absolute; they must mean the same where the run takes place. Prints the run's id.
"""

import argparse
import sys
from pathlib import Path

from flows.job import read_job
from storage.errors import NepentheError


def main() -> None:
    """Bad input is one sentence and exit code 2, before anything is started."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", type=Path)
    parser.add_argument("--set", action="append", default=[], dest="changes", metavar="SECTION.SETTING=VALUE")
    parser.add_argument("--deployment", default="unlearn/cpu", metavar="FLOW/NAME")
    asked = parser.parse_args()
    try:
        job = read_job(asked.job, asked.changes)
    except NepentheError as error:
        sys.exit(f"submit.py: {error}")

    from prefect.deployments import run_deployment

    run = run_deployment(asked.deployment, parameters={"job": job.model_dump(mode="json")}, timeout=0)
    print(run.id)


if __name__ == "__main__":
    main()
