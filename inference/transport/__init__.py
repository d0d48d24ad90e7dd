"""gRPC's server side over HTTP/2 and TLS 1.3, on asyncio: the part of `grpc.aio` that ours needs.

Handlers are registered as `grpc` calls them, so services written for `grpc.aio` (health,
reflection) are served as they are. See docs/decisions/0005.
"""
