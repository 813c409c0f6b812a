// Package link connects to Temporal: mutual TLS, and payloads that only the fleet can read.
package link

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"

	"snaptastic-fleet/config"
)

// Options are those of a client of the server in fleet.hcl. A [CommandError] is worth another try.
func Options(ctx context.Context, s config.Server, log *slog.Logger) (client.Options, error) {
	o := client.Options{HostPort: s.Address, Namespace: s.Namespace, Logger: sdklog.NewStructuredLogger(log)}
	if s.TLS != nil {
		t, err := mutual(*s.TLS)
		if err != nil {
			return o, err
		}
		o.ConnectionOptions.TLS = t
	}
	o.DataConverter = converter.GetDefaultDataConverter()
	if keys := s.Keys(); len(keys) > 0 {
		c, err := NewCodec(ctx, keys...)
		if err != nil {
			return o, err
		}
		o.DataConverter = converter.NewCodecDataConverter(o.DataConverter, c)
		// Messages and stack traces of errors are payloads then, too.
		o.FailureConverter = temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{
			DataConverter: o.DataConverter, EncodeCommonAttributes: true,
		})
	}
	return o, nil
}

// Dial connects. The error says what to look at.
func Dial(ctx context.Context, o client.Options) (client.Client, error) {
	c, err := client.DialContext(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("cannot reach Temporal at %s: %w. Check server.address and server.tls in fleet.hcl, and that the server runs", o.HostPort, err)
	}
	return c, nil
}

func mutual(t config.TLS) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(secret(t.Cert), secret(t.Key))
	if err != nil {
		return nil, fmt.Errorf("cannot read this host's certificate: %w", err)
	}
	pem, err := os.ReadFile(secret(t.CA))
	if err != nil {
		return nil, fmt.Errorf("cannot read the server's CA: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New(t.CA + " holds no certificate in PEM")
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, ServerName: t.ServerName, MinVersion: tls.VersionTLS12}, nil
}
