"""What the repository promises beside the code: its layers, docs, packaging, deployments, dashboard and benchmark."""
