# From the root of the project:
#   docker buildx bake --file docker/docker-bake.hcl [--set '*.platform=linux/arm64' --load] [runner]

variable "TAG" {
  default = "0.1.0"
}

variable "PREFIX" {
  default = ""
}

# The Dockerfiles hold the same default.
variable "BASE" {
  default = "docker.io/library/debian:bookworm-20260824-slim@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171"
}

variable "TORCH_INDEX" {
  default = "https://download.pytorch.org/whl/cpu"
}

group "default" {
  targets = ["exporter", "runner"]
}

target "exporter" {
  context    = "."
  dockerfile = "docker/exporter.Dockerfile"
  args = {
    BASE        = BASE
    TORCH_INDEX = TORCH_INDEX
  }
  platforms = ["linux/amd64", "linux/arm64"]
  tags      = ["${PREFIX}fca-edge-exporter:${TAG}"]
}

target "runner" {
  context    = "."
  dockerfile = "docker/runner.Dockerfile"
  args = {
    BASE = BASE
  }
  platforms = ["linux/arm64", "linux/arm/v7"]
  tags      = ["${PREFIX}fca-edge-runner:${TAG}"]
}
