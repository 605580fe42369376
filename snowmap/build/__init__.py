"""From the products of a recipe to an archive."""
