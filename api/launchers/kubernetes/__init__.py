"""Runners as Kubernetes Jobs, one for each song. The only place of the API that knows Kubernetes."""

from api.launchers.kubernetes.access import Access
from api.launchers.kubernetes.launcher import KubernetesLauncher, open_kubernetes_launcher

__all__ = ["Access", "KubernetesLauncher", "open_kubernetes_launcher"]
