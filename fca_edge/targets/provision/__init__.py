"""What an emulated or remote target needs, fetched from the registries as this machine has them."""
