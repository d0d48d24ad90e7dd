"""The self-hosted trust service: an attestation service and a key vault with Azure's protocols."""
