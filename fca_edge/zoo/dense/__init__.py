"""Networks that answer per pixel or per object: trunks of four maps, and the heads on them."""
