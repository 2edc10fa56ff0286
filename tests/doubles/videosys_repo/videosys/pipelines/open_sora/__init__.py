from .pipeline_open_sora import OpenSoraConfig, OpenSoraPipeline

__all__ = ["OpenSoraConfig", "OpenSoraPipeline"]
