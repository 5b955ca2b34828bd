"""The base of every settings model: frozen, and a name that does not exist is refused."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What is drawn is drawn by it; numpy takes no other."""


class Settings(BaseModel):
    """A stage's settings. The docstring under each field is its help text in the Prefect form."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
