"""From a model to georeferenced maps, and from written maps to tables."""
