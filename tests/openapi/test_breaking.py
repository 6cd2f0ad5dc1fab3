"""What `breaking` finds, change by change: `python3 -m unittest` in this folder."""

import copy
import importlib.machinery
import importlib.util
import pathlib
import unittest

PATH = pathlib.Path(__file__).with_name("breaking")
LOADER = importlib.machinery.SourceFileLoader("breaking", str(PATH))
breaking = importlib.util.module_from_spec(importlib.util.spec_from_loader("breaking", LOADER))
LOADER.exec_module(breaking)

REQUEST = {"type": "object", "required": ["units"], "properties": {
    "units": {"type": "integer", "minimum": 1, "maximum": 10},
    "note": {"type": ["string", "null"]},
    "when": {"type": "string", "enum": ["now", "later"]},
}}
ANSWER = {"type": "object", "required": ["id", "state"], "properties": {
    "id": {"type": "string"},
    "state": {"type": "string", "enum": ["open", "done"]},
    "next": {"oneOf": [{"$ref": "#/components/schemas/Answer"}, {"type": "null"}]},
}}
DOCUMENT = {
    "info": {"version": "0.1.0"},
    "paths": {"/a": {"post": {
        "operationId": "make_a",
        "security": [{"Key": []}],
        "parameters": [{"in": "query", "name": "limit", "schema": {"type": "integer", "maximum": 100}}],
        "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Request"}}}},
        "responses": {
            "200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Answer"}}}},
            "400": {},
        },
    }}},
    "components": {"schemas": {"Request": REQUEST, "Answer": ANSWER}},
}


class Breaking(unittest.TestCase):
    def found(self, change):
        new = copy.deepcopy(DOCUMENT)
        operation = new["paths"]["/a"]["post"]
        change(new, operation, new["components"]["schemas"]["Request"], new["components"]["schemas"]["Answer"])
        return breaking.Comparison(DOCUMENT, new).run()

    def breaks(self, change, part):
        found = self.found(change)
        self.assertTrue(any(part in line for line in found), found)

    def keeps(self, change):
        self.assertEqual(self.found(change), [])

    def test_the_same_document_breaks_nothing(self):
        self.keeps(lambda new, operation, request, answer: None)

    def test_what_is_gone_breaks(self):
        self.breaks(lambda new, *_: new["paths"].clear(), "POST /a: is gone")
        self.breaks(lambda new, operation, *_: operation["parameters"].clear(), "limit is gone")
        self.breaks(lambda new, operation, *_: operation["responses"].pop("200"), "never answered")
        self.breaks(lambda new, operation, request, _: request["properties"].pop("note"), "note is gone (request)")
        self.breaks(lambda new, operation, _, answer: answer["properties"].pop("id"), "id is gone (answer)")

    def test_other_names_break(self):
        self.breaks(lambda new, operation, *_: operation.update(operationId="create_a"), "is called create_a")
        self.breaks(lambda new, *_: new["components"]["schemas"].update(B=1) or self.rename(new), "Answer is gone")

    def rename(self, new):
        schemas = new["components"]["schemas"]
        schemas["B"] = schemas.pop("Answer")
        schemas["B"]["properties"]["next"]["oneOf"][0]["$ref"] = "#/components/schemas/B"
        content = new["paths"]["/a"]["post"]["responses"]["200"]["content"]
        content["application/json"]["schema"]["$ref"] = "#/components/schemas/B"

    def test_a_request_that_must_say_more_breaks(self):
        self.breaks(lambda new, o, request, _: request["required"].append("when"), "when is required now")
        self.breaks(lambda new, o, *_: o["requestBody"].update(required=True), "a body is required")
        wanted = {"in": "header", "name": "Key", "required": True, "schema": {}}
        self.breaks(lambda new, o, *_: o["parameters"].append(wanted), "Key is required now")

    def test_a_shared_parameter_is_judged_like_any_other(self):
        def share(required):
            def change(new, operation, *_):
                shared = {"in": "header", "name": "Id", "required": required, "schema": {"type": "string"}}
                new["components"]["parameters"] = {"Id": shared}
                operation["parameters"].append({"$ref": "#/components/parameters/Id"})
            return change
        self.keeps(share(False))
        self.breaks(share(True), "Id is required now")

    def test_a_narrower_request_breaks_and_a_wider_one_does_not(self):
        units = lambda request: request["properties"]["units"]
        self.breaks(lambda n, o, request, _: units(request).update(maximum=9), "maximum is 9 and was 10")
        self.breaks(lambda n, o, request, _: units(request).update(minimum=2), "minimum is 2 and was 1")
        self.keeps(lambda n, o, request, _: units(request).update(minimum=0, maximum=11))
        self.breaks(lambda n, o, request, _: request["properties"]["note"].update(type="string"), "type is string")
        self.breaks(lambda n, o, request, _: request["properties"]["note"].update(pattern="^a$"), "pattern is ^a$")
        self.breaks(lambda n, o, request, _: request["properties"]["when"]["enum"].remove("now"), "now is no longer")
        self.keeps(lambda n, o, request, _: request["properties"]["when"]["enum"].append("never"))

    def test_a_wider_answer_breaks_and_a_narrower_one_does_not(self):
        self.breaks(lambda n, o, _, answer: answer["properties"]["state"]["enum"].append("lost"), "lost is answered")
        self.breaks(lambda n, o, _, answer: answer["properties"]["state"].pop("enum"), "any other is answered")
        self.keeps(lambda n, o, _, answer: answer["properties"]["state"]["enum"].remove("open"))
        self.breaks(lambda n, o, _, answer: answer["properties"]["id"].update(type=["string", "null"]), "or string")
        self.breaks(lambda n, o, _, answer: answer["required"].remove("id"), "id may be missing now")

    def test_what_is_added_breaks_nothing(self):
        self.keeps(lambda new, *_: new["paths"].update({"/b": {"get": {"operationId": "b", "responses": {}}}}))
        self.keeps(lambda n, o, request, _: request["properties"].update(more={"type": "string"}))
        self.keeps(lambda n, o, _, answer: answer["properties"].update(more={"type": "string"}))
        self.keeps(lambda n, o, *_: o["responses"].update({"409": {}}))

    def test_new_credentials_break_and_another_way_does_not(self):
        self.breaks(lambda n, o, *_: o.update(security=[{"Token": []}]), "Key no longer suffices")
        self.keeps(lambda n, o, *_: o.update(security=[{"Key": []}, {"Token": []}]))
        self.keeps(lambda n, o, *_: o.update(security=[]))

    def test_the_version_says_that_it_breaks(self):
        for old, new, says in [
            ("0.1.0", "0.1.9", False), ("0.1.9", "0.2.0", True), ("0.9.0", "1.0.0", True),
            ("1.2.0", "1.3.0", False), ("1.2.0", "2.0.0", True), ("2.0.0", "1.9.0", False), ("1.0.0", "0.9.0", False),
        ]:
            self.assertEqual(breaking.says_so(old, new), says, (old, new))


if __name__ == "__main__":
    unittest.main()
