"""Container objects of a policy, out of what was wanted and the image it names."""
