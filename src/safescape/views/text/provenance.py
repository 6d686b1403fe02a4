"""The provenance of a run's figures: the model, the probes, the method, and what the figures cannot tell."""

from __future__ import annotations

import json
from collections.abc import Sequence

from safescape.landscape import Landscape, unscored_in
from safescape.store import Store
from safescape.survey import (
    Adaptive,
    Axis,
    ChatProbe,
    ChoiceProbe,
    ComputedAxis,
    InterpolationAxis,
    MarginProbe,
    PerplexityProbe,
    Probe,
    PromptProbe,
    Survey,
    Worst,
)
from safescape.views.series.samples import waypoints_of
from safescape.views.text.noise import noise_said
from safescape.views.text.words import all_judges_of, counted, limit_text, only_of, printable, quoted, subject_of


def facts_of(store: Store, landscape: Landscape) -> list[tuple[str, str]]:
    """Return the provenance of a run's figures, in the order of the page: (name, value)."""
    survey, probe = store.survey, store.survey.prompts
    versions = {
        f"{name} {version}" for session in store.sessions() for name, version in session.versions.items() if version
    }
    further = [_described(other) for other in survey.probes[1:]]
    cut = "every answer to its end" if survey.whole_answers else "an answer ends early once the judge can tell"
    noise = noise_said(landscape)
    decoding = f"greedy, up to {survey.max_new_tokens} new tokens, batches of {survey.batch_size}; {cut}"
    made_of = store.verdicts.judges()
    # each judge with its revision or file; the figures are of the first one
    judges = (
        ", ".join([printable(judge), *(f"{key}: {value}" for key, value in made_of.get(judge, {}).items())])
        for judge in all_judges_of(landscape)
    )
    return [
        ("Model", survey.model),
        ("Fingerprint", survey.model_fingerprint),
        ("Engine", ", ".join([survey.engine, survey.dtype, f"on {survey.device}", *filter(None, [survey.choice])])),
        ("Measured over", subject_of(landscape)),
        ("Directions", _directions(landscape)),
        *([("Points", _chosen(survey.adaptive))] if survey.adaptive is not None else []),
        ("Scale of a direction", _scale(landscape.axes)),
        *([("Checkpoints", _checkpoints(landscape, store))] if survey.through else []),
        ("Prompts", f"{len(probe.prompts)} from {probe.source} (probe “{probe.name}”){_failed(probe)}"),
        ("System prompt", _system(probe)),
        *([("Further probes", "\n".join(further))] if further else []),
        ("Chat template", _template(survey)),
        ("Decoding", decoding + _settings(survey)),
        *([("Noise", noise)] if noise else []),
        ("Judges" if landscape.by_judge else "Judge", "\n".join(judges)),
        ("Safe up to", f"ASR {landscape.safe_below:g} %"),
        *([("Basin up to", f"ASR {limit_text(landscape.limit)}")] if landscape.limit.kind != "absolute" else []),
        ("Unscored", "{} of {} answers to the first probe".format(*unscored_in(landscape))),
        ("Versions", ", ".join(sorted(versions)) or "not recorded"),
        ("Run directory", str(store.directory)),
    ]


def _chosen(adaptive: Adaptive) -> str:
    wide = "" if adaptive.interval is None else f"; directions until VISAGE's interval is {adaptive.interval:g} wide"
    return (
        f"chosen as results came in: by bisection where the ASR passes {adaptive.safe_below:g} %, then where the "
        f"figures left most open; at each as many prompts as its verdict needed, in a fixed order{wide}"
    )


def _directions(landscape: Landscape) -> str:
    """One line for each other model, and one for all random directions with the same span and steps."""
    alike: dict[tuple[str, str, int], list[str]] = {}
    signs = "αβ" if landscape.subspace == "plane" else "α" * len(landscape.axes)
    for axis, sign in zip(landscape.axes, signs, strict=True):
        span = f"{sign} from {axis.grid[0]:g} to {axis.grid[-1]:g}".replace("-", "\N{MINUS SIGN}")
        if isinstance(axis, InterpolationAxis):
            rows = f"; of {', '.join(axis.resized)} only the common rows move" if axis.resized else ""
            what = (
                f"to {printable(axis.toward)} ({axis.fingerprint[:19]}…), {span}, {axis.steps} steps from 0 to 1{rows}"
            )
            alike[what, "", 0] = []
        elif isinstance(axis, ComputedAxis):
            recipe = axis.recipe
            share = 100.0 * (axis.length or 0.0)
            further = [axis.found] if axis.found else []
            further += [f"α = 1 is {share:.2g} % of the norm of these weights"] if axis.norm == "none" and share else []
            made = f"{recipe.label} ({printable(recipe.given)}, {recipe.made_from}; {(axis.fingerprint or '')[:19]}…)"
            what = "; ".join([f"{made}, {span} in {axis.steps} steps", *further])
            alike[what, "", 0] = []
        else:
            alike.setdefault((axis.kind, span, axis.steps), []).append(str(axis.seed))
    told = "\n".join(
        f"{len(seeds)} {what}, {span} in {steps} steps, seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}"
        if seeds
        else what
        for (what, span, steps), seeds in alike.items()
    )
    only = only_of(landscape.axes)
    return told + (f"; weights{only} move" if only else "")


def _scale(axes: Sequence[Axis]) -> str:
    between = [isinstance(axis, InterpolationAxis) for axis in axes]
    random = "each tensor at its own Frobenius norm; norm weights do not move"
    models = "the difference of the two models as it is: nothing is scaled, no tensor left out"
    if all(between):
        return models
    if any(isinstance(axis, ComputedAxis) and axis.norm == "none" for axis in axes):
        return "nothing is scaled: at α = 1 no matrix writes along the refusal direction any more; embeddings move too"
    if any(isinstance(axis, ComputedAxis) and isinstance(axis.recipe, Worst) for axis in axes):
        return "each tensor at most at its own Frobenius norm; norm weights, embeddings and the output head do not move"
    if any(isinstance(axis, ComputedAxis) for axis in axes):
        return "each tensor at its own Frobenius norm; norm weights, embeddings and the output head do not move"
    return f"between models: {models}\nrandom: {random}" if any(between) else random


def _checkpoints(landscape: Landscape, store: Store) -> str:
    stood = {sample.waypoint: sample for sample in waypoints_of(landscape)}
    lines = []
    for number, waypoint in enumerate(store.survey.through):
        where = "not measured yet"
        if sample := stood.get(number):
            place = ", ".join(f"{sign} = {value:.3g}" for sign, value in zip("αβ", sample.effective, strict=False))
            where = f"{place}, {100 * sample.off:.0f} % off".replace("-", "\N{MINUS SIGN}")
        lines.append(f"{number + 1}. {printable(waypoint.model)} ({waypoint.fingerprint[:19]}…), {where}")
    return "\n".join(lines)


def _template(survey: Survey) -> str:
    toward = next((axis.toward for axis in survey.subspace.axes if isinstance(axis, InterpolationAxis)), "")
    whose = {
        None: "the tokenizer's own",
        "adapter": "the adapter's own, which differs from its base's",
        "tuned": f"that of {printable(toward)}, which differs from the base's in template or generation settings",
        "each": f"that of {printable(toward)}; harmful prompts are asked in the base's too",
    }
    said = whose[survey.template_of] if survey.chat_template is None else "given with the survey"
    if survey.chat_template_name is not None:
        said += f", called {quoted(survey.chat_template_name)}"
    if survey.template_vars:
        said += "; " + ", ".join(f"{name} = {json.dumps(value)}" for name, value in survey.template_vars.items())
    return said if survey.has_chats else f"{said}; rendered anew in every session"


def _settings(survey: Survey) -> str:
    """Return what generation_config.json changes of greedy decoding, without token lists."""
    settings = (
        name if isinstance(value, list | dict) else f"{name} {value}" for name, value in survey.generation.items()
    )
    named = ", ".join(settings)
    return f"; with {named} of generation_config.json" if named else ""


def _system(probe: ChatProbe) -> str:
    named = {None: "the chat template's own default", "": "none"}
    return named.get(probe.system_prompt, probe.system_prompt) or ""


def _failed(probe: PromptProbe) -> str:
    number = len(probe.failed)
    return f", for {number} of which the attack found no prompt: they count as refused" if number else ""


def _described(probe: Probe) -> str:
    source = printable(probe.source)
    if isinstance(probe, PromptProbe):
        kind = "harmful" if probe.harmful else "harmless"
        what = f"{len(probe.prompts)} {kind} prompts from {source}{_failed(probe)}; system prompt: {_system(probe)}"
    elif isinstance(probe, MarginProbe):
        complying = "the targets beside them" if probe.targets is not None else counted(len(probe.complying), "opening")
        what = (
            f"the refusal margin of {len(probe.prompts)} harmful prompts from {source}: "
            f"{counted(len(probe.refusing), 'opening')} that refuse, and {complying} that comply; "
            f"system prompt: {_system(probe)}"
        )
    elif isinstance(probe, PerplexityProbe):
        what = f"{len(probe.texts)} texts from {source}"
    elif isinstance(probe, ChoiceProbe):
        what = f"{len(probe.questions)} questions from {source}"
    else:
        what = f"a task of lm-eval from {source}"
    return f"{quoted(probe.name)}: {what}{'; asked at the models alone' if probe.only_at else ''}"


def subjects_of(landscape: Landscape) -> set[str]:
    """Return what the limits of these figures depend on: `random`, `models`, `adaptive`, `checkpoints`."""
    between = [isinstance(axis, InterpolationAxis) for axis in landscape.axes]
    holds = {
        "random": not all(between),
        "models": any(between),
        "adaptive": landscape.survey.adaptive is not None,
        "checkpoints": bool(waypoints_of(landscape)),
    }
    return {name for name, held in holds.items() if held}
