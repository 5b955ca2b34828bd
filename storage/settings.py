"""The base of every settings model: frozen, and a name that does not exist is refused."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A stage's settings. The docstring under each field is its help text in the Prefect form."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
