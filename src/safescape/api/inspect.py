"""`inspect`: what is known of a model before it is measured."""

from __future__ import annotations

from safescape.api.settings import chat_template_of
from safescape.measure import inspection_of
from safescape.options import InspectOptions, each_of, takes
from safescape.probes import template_variables
from safescape.survey import Inspection
from safescape.weights import resolve


@takes(InspectOptions)
def inspect(options: InspectOptions) -> Inspection:
    """Look at a model without loading its weights: its tensors and which of them move, its chats, and what it needs.

    Returns:
        The inspection; `problems` says why the model cannot be scanned, if it cannot.

    Raises:
        InputError: there is no such model, or its files are not those of one.

    """
    return inspection_of(
        resolve(options.model, trust_remote_code=options.trust_remote_code),
        chat_template=chat_template_of(options),
        template_name=options.chat_template_name,
        variables=template_variables(each_of(options.template_vars)),
        trust_remote_code=options.trust_remote_code,
    )
