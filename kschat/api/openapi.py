"""The OpenAPI 3.1 document of the HTTP API, made from the types that it is served by."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from kschat.api.methods import METHODS
from kschat.api.problems import PROBLEMS
from kschat.api.types import Problem

_REF: Final = "#/components/schemas/{name}"


def document() -> bytes:
    """The document as JSON."""
    kinds = [kind for method in METHODS.values() for kind in (method.body, method.answer)] + [Problem]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    listed = iter(schemas)
    statuses = sorted({status for status, _ in PROBLEMS.values()} - {405})
    problems = {
        str(int(status)): {
            "description": "; ".join(title for one, title in PROBLEMS.values() if one == status),
            "content": {"application/problem+json": {"schema": schemas[-1]}},
        }
        for status in statuses
    }
    paths: dict[str, Any] = {}
    for method in METHODS.values():
        body, answer = next(listed), next(listed)
        paths[f"/v1/{method.name}"] = {
            "post": {
                "operationId": method.name.replace("/", "-"),
                "summary": (method.do.__doc__ or "").strip(),
                "description": f"Needs a key with the scope `{method.scope}`." if method.scope else "Needs a key.",
                "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
                "responses": {
                    "200": {"description": "Done", "content": {"application/json": {"schema": answer}}},
                    **problems,
                },
            }
        }
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "kschat", "version": "1", "description": "The API of kschat for back ends."},
            "security": [{"key": []}],
            "paths": paths,
            "components": {
                "schemas": components,
                "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            },
        }
    )
