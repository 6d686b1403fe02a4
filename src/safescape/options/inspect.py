"""The options of `inspect`."""

from __future__ import annotations

from pydantic import Field

from safescape.options import shared
from safescape.options.option import Options


class InspectOptions(Options):
    """What is shown of a model before it is measured."""

    model: str = Field(kw_only=False)
    """Hub id, directory, .gguf file, BASE+ADAPTER (PEFT), demo, or demo-base."""
    chat_template: shared.ChatTemplate = None
    chat_template_name: shared.ChatTemplateName = None
    template_vars: shared.TemplateVars = ()
    trust_remote_code: bool = False
    """Allow the model to run its own code."""
