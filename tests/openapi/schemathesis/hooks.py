"""Checks of this API's own, beside those of schemathesis."""

import schemathesis
from schemathesis.generation import GenerationMode

# Codes of refusals for the form of a request. What fits the document has that form.
FORM = {
    "bad_request",
    "body_too_large",
    "invalid_amount",
    "invalid_body",
    "invalid_idempotency_key",
    "invalid_limit",
    "invalid_parameter",
    "invalid_scopes",
    "missing_idempotency_key",
    "unsupported_media_type",
}


def is_positive(case):
    return case.meta is not None and case.meta.generation.mode == GenerationMode.POSITIVE


def without_fractions(value):
    """Writes 3.0 as 3: to JSON Schema both are whole numbers, and this API takes those that are written as such."""
    if isinstance(value, dict):
        return {name: without_fractions(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [without_fractions(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@schemathesis.hook
def before_call(ctx, case, kwargs):
    if is_positive(case):
        case.body = without_fractions(case.body)


@schemathesis.check
def what_fits_the_document_has_a_good_form(ctx, response, case):
    """The document says all that a request's form has to fulfil."""
    if response.status_code < 400 or not is_positive(case):
        return
    code = response.json().get("code")
    assert code not in FORM, f"the document allows this, and the server answers {code}: {response.text}"


@schemathesis.check
def every_refusal_is_a_problem_with_a_documented_code(ctx, response, case):
    """An error has one of the codes that its operation lists (RFC 9457)."""
    if response.status_code < 400 or case.path.startswith("/health"):
        return
    documented = case.operation.definition.raw["responses"].get(str(response.status_code))
    if documented is None:
        # Another check reports it.
        return
    listed = documented["content"]["application/problem+json"]["examples"]
    code = response.json().get("code")
    assert code in listed, f"{response.status_code} {code} is not among {', '.join(listed)}"
