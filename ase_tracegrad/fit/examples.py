"""Training structures as the loss needs them, and several of them as one."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from ..nn.batch import join_batches
from .dataset import LabelledBatch
from .targets import TraceLabels


@dataclass(frozen=True)
class Example:
    """labels, envelope of their pairs (E,), trace labels off-site and on-site if they are learned."""

    graph: LabelledBatch
    envelope: Tensor
    traces: tuple[TraceLabels, TraceLabels] | None


def join_examples(examples: Sequence[Example]) -> Example:
    """All of them as one example that goes through the network at once; a single one is returned as it is."""
    if len(examples) == 1:
        return examples[0]
    graphs = [example.graph for example in examples]
    batch, order = join_batches([graph.batch for graph in graphs])
    parts: dict[str, Any] = {}
    for field in fields(LabelledBatch)[1:]:
        tensors = [getattr(graph, field.name) for graph in graphs]
        if any(tensor is None for tensor in tensors):
            parts[field.name] = None
        else:
            joined = torch.cat(tensors)
            parts[field.name] = joined[order] if field.name.startswith("offsite") else joined
    traces = None
    labels = [example.traces for example in examples if example.traces is not None]
    if labels:
        offsite, onsite = (_join_labels([pair[k] for pair in labels]) for k in range(2))
        traces = TraceLabels(offsite.values[order], offsite.mask[order]), onsite
    return Example(LabelledBatch(batch, **parts), torch.cat([example.envelope for example in examples])[order], traces)


def _join_labels(labels: Sequence[TraceLabels]) -> TraceLabels:
    return TraceLabels(torch.cat([part.values for part in labels]), torch.cat([part.mask for part in labels]))
