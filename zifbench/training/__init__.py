"""Training the candidates: recipes, and what runs them with the nequip framework."""
