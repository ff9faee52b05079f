"""An emulator of the Cloud AI SDK's Python module, over ONNX Runtime on the processor."""

from __future__ import annotations

from qaic.environment import SDK_VERSION
from qaic.errors import QaicError
from qaic.session import Session

__version__ = SDK_VERSION

__all__ = ["QaicError", "Session", "__version__"]
