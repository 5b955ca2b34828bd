"""One stage, made where a work pool's worker runs: the deployment that a job's `placement.deployment` names.

What travels is the call alone, references and settings; tensors and tables stay in the workspace. The parameter's name
is what deployments and runs on servers already have.
"""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from storage.errors import NepentheError
from tasks.engine.backends import execute
from tasks.engine.call import StageCall


@flow(name="stage", persist_result=False)
def stage(order: dict[str, Any]) -> State[Any]:
    """Make an artifact, or a part of one. A mistake of the user's ends as a state that bears the error's name."""
    asked = StageCall.from_json(order)
    try:
        execute(asked)
    except NepentheError as error:
        return Failed(name=type(error).__name__, message=str(error))
    return Completed(message=asked.artifact.folder)
