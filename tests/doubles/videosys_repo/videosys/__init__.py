from .pipelines.open_sora import OpenSoraConfig, OpenSoraPipeline

__all__ = ["OpenSoraConfig", "OpenSoraPipeline"]
