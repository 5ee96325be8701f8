"""What the repository promises beside the code: its layers, docs, packaging, releases, deployments, dashboard and benchmark."""
