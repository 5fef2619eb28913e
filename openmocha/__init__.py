"""openmocha: speech and a prompt in, a film of talking characters out."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from openmocha.pipeline import MoChaPipeline as MoChaPipeline


def __getattr__(name: str) -> Any:
    # torch takes seconds to import; `openmocha --help` and the film tools do without it
    if name == "MoChaPipeline":
        from openmocha.pipeline import MoChaPipeline

        return MoChaPipeline
    raise AttributeError(f"module 'openmocha' has no attribute {name!r}")
