"""The configuration: routes.yaml → Config, or every problem at once, each with its line."""
