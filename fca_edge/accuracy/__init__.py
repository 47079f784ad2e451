"""How often a network is right on labelled images, and what an artefact loses of that."""
