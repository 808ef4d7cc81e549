"""Runners as processes of this machine: the embedded default, without a cluster."""

from api.launchers.local.launcher import LauncherInUse, LocalLauncher

__all__ = ["LauncherInUse", "LocalLauncher"]
