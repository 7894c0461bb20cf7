# The image holds the static binary, the CA certificates, and a /tmp for
# request bodies too large for memory: no shell, no package manager, no root.
#
#   docker build -t jaegis-proxy .
#   docker run -p 8080:8080 jaegis-proxy serve --upstream https://api.example.com
#
# The admin listener stays on the container's own loopback, where the health
# check reaches it. To scrape metrics from outside, move it and give it a token
# (it will not start beyond loopback without one):
#
#   docker run -p 8080:8080 -p 127.0.0.1:8081:8081 \
#     -e JAEGIS_ADMIN_LISTEN=0.0.0.0:8081 -e JAEGIS_ADMIN_TOKEN=... jaegis-proxy serve ...

FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
RUN CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags "-s -w -X main.version=${VERSION}" \
        -o /image/jaegis-proxy ./cmd/jaegis-proxy \
 && install -D -m 0644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt \
 && install -d -m 1777 /image/tmp

FROM scratch
COPY --from=build /image/ /
ENV JAEGIS_LISTEN=0.0.0.0:8080 JAEGIS_ADMIN_LISTEN=127.0.0.1:8081
USER 65532:65532
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["/jaegis-proxy", "healthcheck"]
ENTRYPOINT ["/jaegis-proxy"]
CMD ["serve"]
