# syntax=docker/dockerfile:1
#
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=0.1.0 -t REGISTRY/slicer-cloud-provider:0.1.0 --push .

# On the machine's own architecture, for that of the image: nothing is emulated.
FROM --platform=$BUILDPLATFORM rust:1.95-slim-bookworm AS build
# For the C and assembler in ring, see image/build.
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
      gcc-x86-64-linux-gnu libc6-dev-amd64-cross gcc-aarch64-linux-gnu libc6-dev-arm64-cross \
 && rm -rf /var/lib/apt/lists/*
RUN rustup target add x86_64-unknown-linux-musl aarch64-unknown-linux-musl
WORKDIR /src
COPY . .
ARG TARGETARCH
# What was downloaded and compiled stays for the next build, for each architecture by itself.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,id=target-$TARGETARCH,target=/src/target \
    image/build "$TARGETARCH" /slicer-cloud-provider

# Authorities for https and the user 65532; no shell.
FROM gcr.io/distroless/static-debian12:nonroot
ARG VERSION=dev
ARG REVISION=
LABEL org.opencontainers.image.title="slicer-cloud-provider" \
      org.opencontainers.image.description="Lets an unmodified Kubernetes cluster-autoscaler add and remove K3s nodes on Slicer microVM hosts" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /slicer-cloud-provider /usr/local/bin/slicer-cloud-provider
USER 65532:65532
# gRPC, and health with metrics
EXPOSE 8086 8087
ENTRYPOINT ["/usr/local/bin/slicer-cloud-provider"]
CMD ["serve"]
