"""Minutes to hours of odd, slow and broken traffic: `python -m tests.soak`, and the modules beside it."""
