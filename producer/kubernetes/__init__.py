"""What tenstep tells the Kubernetes cluster that its workers run in."""
