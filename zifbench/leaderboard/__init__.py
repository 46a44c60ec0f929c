"""Leaderboards: one small validated entry for each model, and tables of them."""
