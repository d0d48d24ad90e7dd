"""Execution policies: what may run, in the text that confidential containers enforce."""

from sealserve.policy.execution.environment import EnvRule
from sealserve.policy.execution.process import ExecutionPolicy, generate_process
from sealserve.policy.execution.text import PolicyText
from sealserve.policy.execution.text import parse as parse_text

__all__ = ["EnvRule", "ExecutionPolicy", "PolicyText", "generate_process", "parse_text"]
