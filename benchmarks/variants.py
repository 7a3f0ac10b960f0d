"""The variants that comparison.py compares: what each changes in a configuration."""

from dataclasses import dataclass

OFF = {
    "network.tracegrad.nodes": False,
    "network.tracegrad.edges": False,
    "network.tracegrad.decoder": False,
    "loss.trace_weight": 0.0,
}


@dataclass(frozen=True)
class Variant:
    """settings: what is changed in the configuration; matched: name of a variant, to no fewer parameters than it has this one is
    widened; after: name of a variant, on whose trained network of the same seed a second stage of HarmoSE is put; lengths: times
    the epochs of the others."""

    title: str
    settings: dict
    standardize: bool = False
    matched: str = ""
    after: str = ""
    lengths: int = 1


VARIANTS = {
    "backbone": Variant("backbone", OFF),
    "trace-loss": Variant("+ trace loss", {"network.tracegrad.gradient": False}),
    "gradient": Variant("+ gradient", {"network.tracegrad.decoder": False, "loss.trace_weight": 0.0}),
    "tracegrad": Variant("TraceGrad", {}),
    "standardized": Variant("backbone, standardized", OFF, standardize=True),
    "matched": Variant("backbone, matched parameters", OFF, matched="tracegrad"),
    "tracegrad-standardized": Variant("TraceGrad, standardized", {}, standardize=True),
}

# Where the gain might hide if there is none: one choice of TraceGrad changed at a time. Not among the default variants.
ABLATION = {
    "full": Variant("TraceGrad, all channel pairs", {"network.tracegrad.full": True}),
    "wide-mlp": Variant(
        "TraceGrad, MLP four times as wide", {"network.tracegrad.hidden": 256, "network.tracegrad.invariants": 128}
    ),
    "pairs-only": Variant("TraceGrad on pairs only", {"network.tracegrad.nodes": False}),
    "lambda-1": Variant("TraceGrad, lambda 1", {"loss.trace_weight": 1.0}),
    "log-label": Variant("TraceGrad, log(1 + T) as label", {"loss.trace_label": "log"}),
    "three-blocks": Variant("TraceGrad, three blocks", {"network.n_blocks": 3}),
    "backbone-three-blocks": Variant("backbone, three blocks", OFF | {"network.n_blocks": 3}),
}
# A second stage has had both the epochs of its stage 1 and as many of its own: beside it stands stage 1 trained as long.
SECOND_STAGE = {"network.harmose.n_blocks": 2}
HARMOSE = {
    "harmose": Variant("HarmoSE: standardized, stage 2", OFF | SECOND_STAGE, standardize=True, after="standardized"),
    "longer": Variant("standardized, twice the epochs", OFF, standardize=True, lengths=2),
    "harmose-matched": Variant("standardized, parameters of HarmoSE", OFF, standardize=True, matched="harmose"),
    "tracegrad-harmose": Variant(
        "TraceGrad, standardized, stage 2", SECOND_STAGE, standardize=True, after="tracegrad-standardized"
    ),
}
DELTA = {"network.reference": "minao"}
INPUT = {"network.qhnet.overlap": True}
MOLECULES = {
    "delta": Variant("backbone, delta", OFF | DELTA, standardize=True),
    "tracegrad-delta": Variant("TraceGrad, delta", DELTA, standardize=True),
    "overlap": Variant("backbone, overlap as input", OFF | INPUT, standardize=True),
}
ALL = VARIANTS | ABLATION | HARMOSE | MOLECULES
