"""What backends send to a worker is what a worker takes."""

import inspect

from flows.stage import stage
from tasks.engine import backends


def test_the_deployment_takes_what_the_work_pool_sends() -> None:
    sent = inspect.getsource(backends)
    for worker, name in ((stage.fn, "order"), (backends._on_worker, "call")):
        assert list(inspect.signature(worker).parameters) == [name]
        assert f'parameters={{"{name}": ' in sent
