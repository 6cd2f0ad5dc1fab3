#!/usr/bin/env python3
"""Validates what the sandbox recorded against Stripe's own OpenAPI document.

    validate.py [--requests-only] RECORDING…

A recording is what `bursar-sandbox --record FILE` writes: one JSON object a line with method,
path, query, form, status, response and version. Of each call in a version as new as the document
these are checked, and one table is printed; the exit code is 1 if anything is wrong:

* the request's parameters, against the schemas of query and body, where no unknown ones are taken;
* the response, against the schema of that path and status;
* every event's object, which the document leaves open, against the schema of its kind;
* every object's fields: one that the document does not know is a misspelt or a moved one.
"""

import argparse
import json
from collections import Counter, defaultdict

from form import decoded, typed
from jsonschema.exceptions import best_match
from spec import Spec

# The first release that shows the shapes of the document.
SINCE = "2026-03-25"
# The page on which a customer pays is no part of the documented API; the CLI's fixtures use it.
UNDOCUMENTED = ("/v1/payment_pages/",)
# The sandbox's own routes.
OWN = ("/sandbox/",)
# Details printed of one operation.
SHOWN_MAX = 8


class Check:
    """Counts, and what is wrong, by operation."""

    def __init__(self, spec, requests_only):
        self.spec = spec
        self.requests_only = requests_only
        self.calls = Counter()
        self.wrong = defaultdict(Counter)
        self.skipped = Counter()
        self.kinds = Counter()
        self.validators = {}

    def note(self, operation, text):
        self.wrong[operation][text] += 1

    def validator(self, key, schema):
        if key not in self.validators:
            self.validators[key] = self.spec.validator(schema)
        return self.validators[key]

    def call(self, row):
        method, path = row["method"].upper(), row["path"].split("?")[0]
        if path.startswith(OWN) or path.startswith(UNDOCUMENTED):
            self.skipped[f"{method} {path.split('/cs_')[0]} (not in the document)"] += 1
            return
        if (row.get("version") or "")[:10] < SINCE:
            self.skipped[f"version {row.get('version')}"] += 1
            return
        found = self.spec.operation(method, path)
        if found is None:
            if row["status"] == 404:
                self.skipped[f"{method} {path}: unknown, answered with 404"] += 1
            else:
                self.note(f"{method} {path}", f"answered with {row['status']}, but there is no such operation")
            return
        name, operation = found
        label = f"{method} {name}"
        self.calls[label] += 1
        if row["status"] < 400:
            # A refused call may well have been refused for its parameters.
            self.request(label, operation, row)
        if not self.requests_only:
            self.response(label, operation, row)

    def request(self, label, operation, row):
        for part, schema in zip(("query", "form"), self.spec.request_schema(operation)):
            check = self.validator((label, part), schema)

            def fits(value, option):
                return self.spec.validator(option).is_valid(value)

            value = typed(decoded(row.get(part)), schema, fits)
            for error in check.iter_errors(value):
                if not self.is_newer_version(error):
                    self.note(label, f"{part}: {told(error)}")

    def is_newer_version(self, error):
        """The document lists the versions of the API up to its own; later ones are no mistake."""
        is_version = list(error.absolute_path) == ["api_version"] and error.validator == "enum"
        return is_version and str(error.instance)[:10] > self.spec.version[:10]

    def response(self, label, operation, row):
        schema = self.spec.response_schema(operation, row["status"])
        body = row["response"]
        body = json.loads(body) if isinstance(body, str) else body
        check = self.validator((label, row["status"] < 400), schema)
        for error in check.iter_errors(body):
            self.note(label, f"{row['status']}: {told(error)}")
        for thing in objects(body):
            self.thing(label, thing)

    def thing(self, label, thing):
        kind = thing["object"]
        self.kinds[kind] += 1
        known = self.spec.schemas.get(kind, {}).get("properties")
        if thing.get("deleted") is True:
            known = self.spec.schemas.get(f"deleted_{kind}", {}).get("properties")
        if known and kind != "list":
            for field in sorted(set(thing) - set(known)):
                self.note(label, f"{kind}.{field} is no field of a {kind}")
        if kind == "event":
            data = thing["data"]["object"]
            check = self.spec.object_validator(data.get("object"))
            if check and data.get("deleted") is not True:
                for error in check.iter_errors(data):
                    self.note(label, f"event {thing['type']}: {told(error)}")

    def report(self):
        width = max([len(label) for label in [*self.calls, *self.wrong]], default=9)
        print(f"{'operation':<{width}}  calls  wrong")
        for label in sorted({*self.calls, *self.wrong}):
            wrong = self.wrong.get(label, {})
            print(f"{label:<{width}}  {self.calls[label]:>5}  {sum(wrong.values()):>5}")
            for text, count in Counter(wrong).most_common(SHOWN_MAX):
                print(f"    {count} × {text}")
        for text, count in sorted(self.skipped.items()):
            print(f"not checked: {count} × {text}")
        total = sum(sum(wrong.values()) for wrong in self.wrong.values())
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.kinds.most_common())
        print(f"objects: {kinds or 'none'}")
        print(f"{sum(self.calls.values())} calls of {len(self.calls)} operations checked against {self.spec.version}, {total} violations")
        return total


def told(error):
    """An error, followed down to the alternative that fits best."""
    place = "/".join(str(step) for step in error.absolute_path) or "body"
    if error.context:
        deeper = best_match(error.context)
        return f"{place}: {told(deeper)}" if deeper.absolute_path != error.absolute_path else told(deeper)
    text = error.message
    return f"{place}: {text if len(text) < 160 else text[:157] + '…'}"


def objects(value):
    """Every object that says what it is, however deep; metadata is the customer's own."""
    if isinstance(value, list):
        for inner in value:
            yield from objects(inner)
    elif isinstance(value, dict):
        if isinstance(value.get("object"), str):
            yield value
        for key, inner in value.items():
            if key != "metadata":
                yield from objects(inner)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("recordings", nargs="+", metavar="RECORDING")
    parser.add_argument("--requests-only", action="store_true", help="leave the responses alone")
    arguments = parser.parse_args()
    check = Check(Spec(), arguments.requests_only)
    for name in arguments.recordings:
        with open(name, encoding="utf-8") as file:
            for line in file:
                check.call(json.loads(line))
    wrong = check.report()
    if not check.calls:
        raise SystemExit("no call was checked")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
