"""Products that people download, each read by one module: interferograms, weather, snow maps, outlines.

A module gives what one product holds on the product's own grid, with dates, unit, sign and CRS taken from the product;
it knows neither the grid of the region nor the archive. `snowmap.build` brings them together.
"""
