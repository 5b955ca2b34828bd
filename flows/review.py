"""Waiting for a person: Prefect suspends a deployment's run until its form is filled in, other runs end and say how.

Prefect can only suspend the run of a deployment, because going on means that a worker
starts the flow anew. A flow that was called in a terminal would have to block, so it ends instead; everything is
cached, and the same command goes on from there.
"""

from typing import Literal
from uuid import UUID

from storage.artifact import Artifact
from storage.errors import AwaitsReview
from storage.files import Files
from storage.workspace import Workspace
from tasks.engine.runner import Runner
from tasks.review import approve_rest, approved, proposals_of, undecided

NOT_YET = Files((), "not approved yet")


def decisions_for(draft: Artifact, run: Runner) -> Files:
    """A person's decisions about a dictionary. A plan goes on without, a run is suspended or raises AwaitsReview."""
    workspace = run.workspace
    reviewed = approved(workspace, draft) if workspace.find(draft.kind, draft.fingerprint) else None
    if not (reviewed or run.makes):
        return NOT_YET
    if reviewed is None:
        _suspend(workspace, draft)
        reviewed = approved(workspace, draft)
    if reviewed is None:
        raise AwaitsReview(_what_to_do(workspace, draft))
    return reviewed


def go_on(workspace: Workspace, dictionary: Artifact, by: str) -> str:
    """Resume the suspended run that waits for this dictionary, if there is one. Returns what happened, in words."""
    note = workspace.waiting_run(dictionary)
    waiting = workspace.read(note)
    if waiting is None:
        return "run the same job again"
    import httpx
    from prefect.exceptions import NotPausedError, PrefectException
    from prefect.flow_runs import resume_flow_run

    run = waiting.decode()
    try:
        resume_flow_run(UUID(run), run_input={"decision": "approve", "reviewer": by})
    except NotPausedError:
        return "run the same job again"
    except (PrefectException, OSError, RuntimeError, httpx.HTTPError) as error:
        return f"resume the flow run {run} in Prefect's UI ({type(error).__name__}: its server was not reached)"
    workspace.erase(note)
    return f"the flow run {run} goes on"


def _suspend(workspace: Workspace, dictionary: Artifact) -> None:
    """Suspend a deployment's run; when it goes on, its form's answer is taken over. Nothing happens for other runs."""
    from prefect.context import FlowRunContext
    from prefect.flow_runs import suspend_flow_run
    from prefect.input import RunInput

    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow_run.deployment_id is None:
        return

    class DictionaryReview(RunInput):
        """The form in Prefect's UI."""

        decision: Literal["approve", "reject"] = "approve"
        """approve: the dictionary as it is, with what was imported. reject: the run fails."""
        reviewer: str
        """Who decided; stored with the decisions."""
        note: str = ""
        """Stored with the decisions."""

    note = workspace.waiting_run(dictionary)
    workspace.write(note, str(context.flow_run.id).encode())
    form = DictionaryReview.with_initial_data(description=_what_to_do(workspace, dictionary))
    answer = suspend_flow_run(wait_for_input=form, key=f"review-{dictionary.fingerprint}")
    workspace.erase(note)
    if answer.decision == "approve":
        approve_rest(workspace, dictionary, answer.reviewer, answer.note)


def _what_to_do(workspace: Workspace, dictionary: Artifact) -> str:
    options = f"--root {workspace.address}"
    entries, proposed = len(undecided(workspace, dictionary)), len(proposals_of(workspace, dictionary))
    return (
        f"the dictionary {dictionary.folder} awaits a review ({entries} entries are undecided, {proposed} more are "
        f"proposed): write the table with `nepenthe dictionary export review.csv {options}`, decide approve, change "
        f"or reject in it, take it over with `nepenthe dictionary import review.csv {options}` (add --approve-rest for "
        "entries without a decision), and run the same job again"
    )
