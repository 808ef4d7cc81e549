"""What a build of the package does besides: the runner's kernels are compiled into it."""

import runpy
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUILD = Path(__file__).parent / "runner" / "kernels" / "build.py"


class Kernels(BuildHookInterface):  # type: ignore[type-arg]
    """Makes the wheel one of this platform, for any Python."""

    def initialize(
        self,
        version: str,  # noqa: ARG002
        build_data: dict[str, Any],
    ) -> None:
        """Compiles where they lie, so that an editable installation finds them, too."""
        made = runpy.run_path(str(BUILD))["compile_kernels"]()
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data.update(pure_python=False, tag=f"py3-none-{platform}")
        build_data["artifacts"] += [path.relative_to(self.root).as_posix() for path in made]
