"""Puts policies into a pod file as annotations, and leaves every other byte as it is.

The edit is checked: the new text has to read as the old one with the policies in their places.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import yaml

from sealserve.policy.execution.deployments import yaml_reader
from sealserve.policy.execution.deployments.pod import ANNOTATION
from sealserve.policy.execution.deployments.text_edit import Edit, applied, line_end, require_same
from sealserve.policy.execution.generate import Generated


def into_pods(text: str, policies: Sequence[Generated]) -> str:
    """The pod file with each workload's policy as an annotation of its pods."""
    documents = yaml_reader.read_documents(text)
    edits = []
    wanted: list[Any] = [copy.deepcopy(each.value) for each in documents]
    for made in policies:
        at, *path = made.group.path
        node, pod = documents[int(at)].node, wanted[int(at)]
        for step in path:
            node, pod = _below(node, f"{step}"), pod[step]
        edits.append(_Pod(text, node).edit(made.base64))
        metadata = pod.get("metadata") or {}
        annotations = {**(metadata.get("annotations") or {}), ANNOTATION: made.base64}
        pod["metadata"] = {**metadata, "annotations": annotations}
    changed = applied(text, edits)
    require_same([each.value for each in yaml_reader.read_documents(changed)], wanted)
    return changed


def _below(node: yaml.Node, name: str) -> yaml.Node:
    pair = yaml_reader.member(node, name)
    assert pair is not None  # the path was found by the same names
    return pair[1]


class _Pod:
    """text: of the whole file, for its line ends and for what an old policy leaves behind."""

    def __init__(self, text: str, node: yaml.Node) -> None:
        self._text = text
        self._node = node
        self._newline = line_end(text)

    def edit(self, value: str) -> Edit:
        """At the shallowest place where something is missing, or at the old policy's own."""
        line = f"{ANNOTATION}: {value}"
        metadata = yaml_reader.member(self._node, "metadata")
        if metadata is None:
            return self._first_member(self._node, ["metadata:", "annotations:", line])
        annotations = yaml_reader.member(metadata[1], "annotations")
        if annotations is None:
            return self._into(metadata, ["annotations:", line])
        present = yaml_reader.member(annotations[1], ANNOTATION)
        if present is None:
            return self._into(annotations, [line])
        return self._replaced(present[1], value)

    def _into(self, pair: tuple[yaml.Node, yaml.Node], lines: Sequence[str]) -> Edit:
        """In front of the first member, or in place of nothing."""
        key, value = pair
        if isinstance(value, yaml.MappingNode) and value.value:
            return self._first_member(value, lines)
        column = key.start_mark.column + 2
        start = self._text.index(":", key.end_mark.index) + 1
        text = f"{self._newline}{' ' * column}{self._stacked(lines, column)}"
        return Edit(start, max(start, value.end_mark.index), text)

    def _first_member(self, mapping: yaml.Node, lines: Sequence[str]) -> Edit:
        if getattr(mapping, "flow_style", False):
            at = mapping.start_mark.index + 1
            opened = "".join(f"{line} {{" for line in lines[:-1])
            return Edit(at, at, f"{opened}{lines[-1]}{'}' * (len(lines) - 1)}, ")
        first = mapping.value[0][0].start_mark
        text = f"{self._stacked(lines, first.column)}{self._newline}{' ' * first.column}"
        return Edit(first.index, first.index, text)

    def _stacked(self, lines: Sequence[str], column: int) -> str:
        """Each line two columns further in than the one before; the first where it is put."""
        between = (f"{self._newline}{' ' * (column + 2 * depth)}" for depth in range(1, len(lines)))
        return lines[0] + "".join(
            f"{front}{line}" for front, line in zip(between, lines[1:], strict=True)
        )

    def _replaced(self, node: yaml.Node, value: str) -> Edit:
        """A block of text reaches to where the next thing begins; the blanks there stay."""
        start, end = node.start_mark.index, node.end_mark.index
        old = self._text[start:end]
        return Edit(start, start + len(old.rstrip()), value)
