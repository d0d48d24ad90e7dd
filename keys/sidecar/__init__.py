"""The sidecar for secure key release: Microsoft's REST paths and gRPC calls, our checks."""
