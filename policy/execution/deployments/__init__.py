"""What deployments are written in: read into groups of containers, and given their policies."""
