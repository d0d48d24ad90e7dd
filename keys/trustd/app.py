"""The routes of a trust service, as the unmodified Azure SDK and our own client ask for them."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route

from sealserve.keys.body import Body
from sealserve.keys.trustd.endpoint import Answer, api_version, bearer, no_such_route, route
from sealserve.keys.trustd.pages import Page
from sealserve.keys.trustd.service import Service


def build(service: Service) -> Starlette:
    """The ASGI application of this service."""
    routes = [*_attestation(service), *_keys(service), *_deleted(service)]
    app = Starlette(routes=routes, exception_handlers={HTTPException: no_such_route})
    app.router.redirect_slashes = False
    return app


def _attestation(service: Service) -> list[Route]:
    """Evidence in, token out; and where clients find the keys of the tokens."""
    tokens = service.tokens
    place = tokens.issuer.removeprefix(service.state.url)

    def attest(request: Request, body: Body) -> Answer:
        return service.attest(request.path_params["kind"], body)

    def discovery(_: Request, __: Body) -> Answer:
        return tokens.openid_configuration()

    def certs(_: Request, __: Body) -> Answer:
        return tokens.jwks()

    return [
        route(f"{place}/.well-known/openid-configuration", GET=discovery),
        route(f"{place}/certs", "application/jwk+json", GET=certs),
        route("/attest/{kind}", POST=attest),
    ]


def _keys(service: Service) -> list[Route]:
    def create(request: Request, body: Body) -> Answer:
        return service.create(bearer(request), _name(request), body)

    def bring(request: Request, body: Body) -> Answer:
        return service.bring(bearer(request), _name(request), body)

    def update(request: Request, body: Body) -> Answer:
        return service.update(bearer(request), _name(request), _version(request), body)

    def get(request: Request, _: Body) -> Answer:
        return service.get(bearer(request), _name(request), _version(request))

    def names(request: Request, _: Body) -> Answer:
        return service.names(bearer(request), _page(request))

    def versions(request: Request, _: Body) -> Answer:
        return service.versions(bearer(request), _name(request), _page(request))

    def release(request: Request, body: Body) -> Answer:
        asked = api_version(request)
        return service.release(bearer(request), _name(request), _version(request), body, asked)

    def wrap(request: Request, body: Body) -> Answer:
        return service.wrap(bearer(request), _name(request), _version(request), body)

    def delete(request: Request, _: Body) -> Answer:
        return service.delete(bearer(request), _name(request))

    return [
        route("/keys", GET=names),
        route("/keys/{name}/create", POST=create),
        route("/keys/{name}/versions", GET=versions),
        # without a version the SDK leaves its place empty: `/keys/NAME/` and `/keys/NAME//release`
        route("/keys/{name}/release", POST=release),
        route("/keys/{name}//release", POST=release),
        route("/keys/{name}/{version}/release", POST=release),
        route("/keys/{name}/{version}/wrapkey", POST=wrap),
        route("/keys/{name}", GET=get, PUT=bring, DELETE=delete),
        route("/keys/{name}/", GET=get, PATCH=update),
        route("/keys/{name}/{version}", GET=get, PATCH=update),
    ]


def _deleted(service: Service) -> list[Route]:
    """Keys that can still be recovered, and randomness, which belongs to no key."""

    def names(request: Request, _: Body) -> Answer:
        return service.deleted_names(bearer(request), _page(request))

    def get(request: Request, _: Body) -> Answer:
        return service.deleted(bearer(request), _name(request))

    def recover(request: Request, _: Body) -> Answer:
        return service.recover(bearer(request), _name(request))

    def purge(request: Request, _: Body) -> None:
        service.purge(bearer(request), _name(request))

    def random(request: Request, body: Body) -> Answer:
        return service.random(bearer(request), body)

    return [
        route("/deletedkeys", GET=names),
        route("/deletedkeys/{name}", GET=get, DELETE=purge),
        route("/deletedkeys/{name}/recover", POST=recover),
        route("/rng", POST=random),
    ]


def _name(request: Request) -> str:
    return _part(request.path_params, "name")


def _version(request: Request) -> str:
    return _part(request.path_params, "version")


def _part(parts: dict[str, Any], name: str) -> str:
    return str(parts.get(name, ""))


def _page(request: Request) -> Page:
    return Page.of(request.query_params)
