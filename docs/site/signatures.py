"""Show the arguments that a function takes from its options, as `help` shows them, in place of `options`."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

import griffe


class Signatures(griffe.Extension):
    """Replace the parameters and the docstring of functions that `safescape.options.takes` decorates."""

    def on_function(self, *, func: griffe.Function, **kwargs: Any) -> None:
        """Look at every function."""
        if not any(str(decorator.value).startswith("takes(") for decorator in func.decorators):
            return
        function = getattr(import_module(func.module.path), func.name)
        func.parameters = griffe.Parameters(
            *(
                griffe.Parameter(
                    parameter.name,
                    annotation=inspect.formatannotation(parameter.annotation).replace("collections.abc.", ""),
                    kind=griffe.ParameterKind[parameter.kind.name.lower()],
                    default=None if parameter.default is parameter.empty else repr(parameter.default),
                )
                for parameter in inspect.signature(function).parameters.values()
            )
        )
        func.docstring = griffe.Docstring(inspect.getdoc(function) or "", parent=func)
