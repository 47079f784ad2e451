"""A folder that classifies images on a board: model, labels, settings and a runner."""
