"""Data reviewed like code: schemas, recipes, the demo scores."""
