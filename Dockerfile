# One small image with both programs. Dependencies are a layer of their own, built from the manifests alone, so that a
# change of the sources compiles only the sources.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
# aws-lc-rs compiles C; the compiler is in the base image, its headers and make may not be.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev make \
    && rm -rf /var/lib/apt/lists/*

COPY Cargo.toml Cargo.lock ./
COPY simulator/Cargo.toml simulator/
COPY devtools/Cargo.toml devtools/
COPY .cargo .cargo
# Empty programs in the place of ours: cargo builds every dependency and caches it in this layer. The developer's tools stay
# empty: they are no part of the image, but cargo wants to see every package.
RUN mkdir -p src simulator/src devtools/src tests/it \
    && touch src/lib.rs simulator/src/lib.rs tests/it/main.rs \
    && echo 'fn main() {}' | tee src/main.rs simulator/src/main.rs >devtools/src/main.rs \
    && cargo build --locked --release --bins -p alipayhk-gateway -p alipay-simulator \
    && rm -rf src simulator/src

COPY .sqlx .sqlx
COPY migrations migrations
COPY openapi openapi
COPY src src
COPY simulator/src simulator/src
# COPY keeps the times of the files, which may be older than the empty ones just built.
RUN find src simulator/src migrations -type f -exec touch {} + \
    && cargo build --locked --release --bins -p alipayhk-gateway -p alipay-simulator \
    && mkdir /out \
    && cp target/release/alipayhk-gateway target/release/alipay-simulator /out/


FROM debian:bookworm-slim
# CA certificates: without them no TLS connection to Alipay can be verified.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 gateway \
    && useradd --uid 10001 --gid gateway --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin gateway \
    && install -d -o gateway -g gateway -m 0700 /keys /staging
COPY --from=build /out/ /usr/local/bin/
# By number, so that a cluster can see that it is not root.
USER 10001:10001
LABEL org.opencontainers.image.title="alipayhk-gateway" \
      org.opencontainers.image.description="An open gateway for AlipayHK in-store barcode payments" \
      org.opencontainers.image.licenses="Apache-2.0"
# Files that are brought wait in /staging: mount something there that can be written to where the root file system is read-only.
ENV HTTP_LISTEN=0.0.0.0:8080 TMPDIR=/staging
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 \
    CMD ["alipayhk-gateway", "healthcheck"]
ENTRYPOINT ["alipayhk-gateway"]
CMD ["serve"]
