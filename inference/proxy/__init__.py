"""Plain gRPC of this machine in, attested gRPC out: the client for every other language."""
