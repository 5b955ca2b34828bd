"""What Kubernetes would be given, against Kubernetes' own schemas. No cluster is needed, and none was run."""

import asyncio
import json
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml
from servers import DEPLOY

kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate")
pytest.importorskip("prefect_kubernetes", reason="needs prefect-kubernetes")

pytestmark = pytest.mark.slow
VERSIONS = ("1.29", "1.37")
FOLDER = DEPLOY / "kubernetes"
MANIFESTS = [
    (path, document) for path in sorted(FOLDER.glob("*.yaml")) for document in yaml.safe_load_all(path.read_text())
]


def valid(manifest: dict[str, Any], version: str) -> None:
    """Raise for whatever the schemas do not know or want otherwise."""
    kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("path", "manifest"), MANIFESTS, ids=lambda one: getattr(one, "stem", ""))
def test_every_manifest_fits_the_schemas(path: Path, manifest: dict[str, Any], version: str) -> None:
    valid(manifest, version)


def job_manifest(variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The Kubernetes job that a worker would create for a run, made by the worker's own code."""
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun
    from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

    monkeypatch.setenv("PREFECT_API_URL", "http://prefect:4200/api")
    template = json.loads((FOLDER / "base-job-template.json").read_text())
    made = asyncio.run(
        KubernetesWorkerJobConfiguration.from_template_and_values(
            template, variables, client=PrefectClient("http://127.0.0.1:1/api")
        )
    )
    made.prepare_for_flow_run(FlowRun(id=uuid.uuid4(), flow_id=uuid.uuid4(), name="student takedown"))
    found: dict[str, Any] = made.job_manifest
    return found


def deployments() -> dict[str, dict[str, Any]]:
    """The deployments' job variables, by entrypoint."""
    found = yaml.safe_load((DEPLOY / "prefect.yaml").read_text())["deployments"]
    return {one["entrypoint"]: one["work_pool"]["job_variables"] for one in found}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("entrypoint", deployments())
def test_the_job_of_every_deployment_fits_the_schemas(
    entrypoint: str, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    valid(job_manifest(deployments()[entrypoint], monkeypatch), version)


def test_a_stage_gets_its_gpu_volumes_and_secrets_and_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = job_manifest(deployments()["flows.stage.stage"], monkeypatch)["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["args"] == ["prefect", "flow-run", "execute"]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 1, "memory": "64G"}
    assert [one["secretRef"]["name"] for one in container["envFrom"]] == ["nepenthe-runs"]
    env = {one["name"]: one.get("value") for one in container["env"]}
    assert env["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
    assert env["PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"] == "reschedule"  # an evicted run comes back by itself
    mounted = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    assert mounted == {"workspace": "/workspace", "models": "/models", "corpora": "/corpora", "shm": "/dev/shm"}
    assert {one["name"] for one in spec["volumes"]} == set(mounted)


def test_an_orchestrating_run_asks_for_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = job_manifest(deployments()["flows.unlearn.unlearn"], monkeypatch)
    assert manifest["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 0


def test_volumes_secrets_and_accounts_that_are_named_are_made() -> None:
    """Between the manifests and the base job template; the secrets in the example."""
    made = {(one["kind"], one["metadata"]["name"]) for _, one in MANIFESTS}
    properties = json.loads((FOLDER / "base-job-template.json").read_text())["variables"]["properties"]
    kinds = {"workspace_claim": "PersistentVolumeClaim", "models_claim": "PersistentVolumeClaim"}
    kinds |= {"corpora_claim": "PersistentVolumeClaim", "secret": "Secret", "service_account_name": "ServiceAccount"}
    for variable, kind in (kinds | {"namespace": "Namespace"}).items():
        assert (kind, properties[variable]["default"]) in made
