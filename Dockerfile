# One image with all binaries; the command picks the service. The base of the
# final stage is empty: the binaries are static and run as nobody.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 GOTOOLCHAIN=local go build -trimpath -ldflags '-s -w' -o /out/ ./cmd/... && mkdir -p /out/data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/ /usr/local/bin/
COPY --from=build --chown=65532:65532 /out/data /data
ENV PATH=/usr/local/bin
USER 65532:65532
VOLUME /data
ENTRYPOINT []
CMD ["ebbwatch", "--help"]
