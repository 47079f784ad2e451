"""Where time or instructions go, by the checkpoint's own modules."""
