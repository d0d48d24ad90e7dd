"""Is it acceptable? What a client expects, what a key's owner demands, and what may run."""

from sealserve.policy.appraise import appraise
from sealserve.policy.release import ReleasePolicy
from sealserve.policy.release_build import build as build_release_policy
from sealserve.policy.trust import Trust
from sealserve.policy.verdict import Verdict

__all__ = ["ReleasePolicy", "Trust", "Verdict", "appraise", "build_release_policy"]
