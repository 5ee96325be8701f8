"""Budgets: what may still be spent, who asks, and who is warned."""
