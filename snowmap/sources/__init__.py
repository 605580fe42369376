"""Where Cubes come from: each source reads one layout of files."""
