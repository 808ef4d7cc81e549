"""Real servers for the tests to talk to: Kubernetes, a node that runs containers, a bucket. See README.md."""
