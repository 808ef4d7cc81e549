"""The OpenAPI document: FastAPI's, less the answers that this API never gives."""

from typing import Any

from fastapi import FastAPI


def describe(app: FastAPI) -> dict[str, Any]:
    """The document, made once. FastAPI promises a 422 of its own shape to every parameter; ours are texts."""
    if app.openapi_schema is None:
        document = FastAPI.openapi(app)
        for methods in document["paths"].values():
            for operation in methods.values():
                if "HTTPValidationError" in str(operation["responses"].get("422")):
                    del operation["responses"]["422"]
        for name in ("HTTPValidationError", "ValidationError"):
            document["components"]["schemas"].pop(name, None)
    assert app.openapi_schema is not None
    return app.openapi_schema
