"""docs/OPERATING.md says what is so: files exist, deployments and limits are those of deploy/prefect.yaml."""

import os
import re
import subprocess

import pytest
import yaml
from servers import DEPLOY, REPOSITORY

GUIDE = (REPOSITORY / "docs" / "OPERATING.md").read_text()


def test_every_file_that_the_guide_names_exists() -> None:
    named = set(re.findall(r"\b((?:deploy|tests|docs)/[\w./-]+\w)", GUIDE))
    assert len(named) > 10
    assert [name for name in sorted(named) if not (REPOSITORY / name).exists()] == []


def test_deployments_pools_and_limits_are_those_of_the_file() -> None:
    written = yaml.safe_load((DEPLOY / "prefect.yaml").read_text())["deployments"]
    expected = {
        (
            f"{one['entrypoint'].rsplit('.')[-1]}/{one['name']}",
            one["work_pool"]["name"],
            one["concurrency_limit"]["limit"],
        )
        for one in written
    }
    rows = re.findall(r"^\| `(\w+/\w+)`[^|]*\| (\w+) \| (\d+),", GUIDE, re.MULTILINE)
    assert {(name, pool, int(limit)) for name, pool, limit in rows} == expected


def test_the_settings_that_the_guide_sets_are_settings() -> None:
    from tasks.engine.stage import Placement

    named = set(re.findall(r"placement\.(\w+)", GUIDE))
    assert named
    assert named <= set(Placement.model_fields)


REFUSED = (
    ("server.sh", {"PREFECT_API_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:///secret.db"}, "found another database"),
    ("server.sh", {}, "found nothing"),
    ("deploy.sh", {"NEPENTHE_ROOT": "nepenthe-workspace"}, "found nepenthe-workspace"),
    ("worker.sh", {}, "expected PREFECT_API_URL"),
)


@pytest.mark.parametrize(("script", "told", "said"), REFUSED, ids=lambda one: one if isinstance(one, str) else "")
def test_a_script_that_lacks_something_says_so(script: str, told: dict[str, str], said: str) -> None:
    """In one sentence, before anything starts, and without showing an address that may hold a password."""
    done = subprocess.run(
        [str(DEPLOY / script)], env={"PATH": os.environ["PATH"]} | told, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "secret" not in done.stderr
