"""Stages two and three where there is a GPU: it does in passing what would keep sixteen CPUs busy."""
