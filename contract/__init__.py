"""What API and runner promise each other. Changing this package changes a promise.

No FastAPI, no torch, no Kubernetes client. Everything but `contract.stores` is data and pure functions.
"""
