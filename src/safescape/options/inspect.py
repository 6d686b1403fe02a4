"""The options of `inspect`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from safescape.options import shared
from safescape.options.option import Option, Options


class InspectOptions(Options):
    """What is shown of a model before it is measured."""

    model: str = Field(kw_only=False)
    """Hub id, directory, .gguf file, BASE+ADAPTER (PEFT), demo, or demo-base."""
    chat_template: shared.ChatTemplate = None
    chat_template_name: shared.ChatTemplateName = None
    template_vars: Annotated[
        str | Sequence[str], Option(metavar="NAME=VALUE", flags=("--template-var",), default="none")
    ] = ()
    """A variable of the chat template, as for scan; may be repeated."""
    trust_remote_code: bool = False
    """Allow the model to run its own code."""
