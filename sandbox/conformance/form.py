"""Form encoding as Stripe reads it: `items[0][price]=p`, `expand[]=a`, every value a text."""

import re
from urllib.parse import parse_qsl


def decoded(form):
    """Nested parameters of an encoded text, of pairs, or of what is nested already."""
    if not form:
        return {}
    if isinstance(form, dict):
        return form
    if isinstance(form, str):
        form = parse_qsl(form.lstrip("?"), keep_blank_values=True, strict_parsing=True)
    root = {}
    for name, value in form:
        first, *rest = re.findall(r"[^\[\]]+|(?<=\[)(?=\])", name)
        here = root
        for step, following in zip([first, *rest], [*rest, None]):
            key = str(len(here)) if step == "" else step
            if following is None:
                here[key] = value
            else:
                here = here.setdefault(key, {})
    return listed(root)


def listed(value):
    """Lists where the keys are 0, 1, 2 …"""
    if not isinstance(value, dict):
        return value
    if value and list(value) == [str(at) for at in range(len(value))]:
        return [listed(inner) for inner in value.values()]
    return {key: listed(inner) for key, inner in value.items()}


def typed(value, schema, fits):
    """Texts as the type that the schema asks for, so that they can be validated. `fits` says whether
    a value fits a schema."""
    if not isinstance(schema, dict):
        return value
    if "anyOf" in schema:
        candidates = [typed(value, option, fits) for option in schema["anyOf"]]
        fitting = (one for one, option in zip(candidates, schema["anyOf"]) if fits(one, option))
        return next(fitting, candidates[0])
    kind = schema.get("type")
    if isinstance(value, dict):
        rest = schema.get("additionalProperties")
        inner = schema.get("properties", {})
        return {key: typed(one, inner.get(key, rest), fits) for key, one in value.items()}
    if isinstance(value, list):
        return [typed(one, schema.get("items"), fits) for one in value]
    if isinstance(value, str):
        if kind == "integer" and re.fullmatch(r"-?\d+", value):
            return int(value)
        if kind == "number" and re.fullmatch(r"-?\d+(\.\d+)?", value):
            return float(value)
        if kind == "boolean" and value in ("true", "false"):
            return value == "true"
    return value
