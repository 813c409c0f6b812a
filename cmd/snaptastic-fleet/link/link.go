// Package link connects to Temporal: mutual TLS, and payloads that only the fleet can read.
package link

import (
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

// Options are those of a client of the server in fleet.hcl.
func Options(s config.Server, log *slog.Logger) (client.Options, error) {
	o := client.Options{HostPort: s.Address, Namespace: s.Namespace, Logger: sdklog.NewStructuredLogger(log)}
	if s.TLS != nil {
		t, err := mutual(*s.TLS)
		if err != nil {
			return o, err
		}
		o.ConnectionOptions.TLS = t
	}
	if s.KeyFile != "" {
		c, err := NewCodec(s.KeyFile)
		if err != nil {
			return o, err
		}
		o.DataConverter = converter.NewCodecDataConverter(converter.GetDefaultDataConverter(), c)
		// Messages and stack traces of errors are payloads then, too.
		o.FailureConverter = temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{
			DataConverter: o.DataConverter, EncodeCommonAttributes: true,
		})
	}
	return o, nil
}

// Dial connects. The error says what to look at.
func Dial(s config.Server, log *slog.Logger) (client.Client, error) {
	o, err := Options(s, log)
	if err != nil {
		return nil, err
	}
	c, err := client.Dial(o)
	if err != nil {
		return nil, fmt.Errorf("cannot reach Temporal at %s: %w. Check server.address and server.tls in fleet.hcl, and that the server runs", s.Address, err)
	}
	return c, nil
}

func mutual(t config.TLS) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, fmt.Errorf("cannot read this host's certificate: %w", err)
	}
	pem, err := os.ReadFile(t.CA)
	if err != nil {
		return nil, fmt.Errorf("cannot read the server's CA: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New(t.CA + " holds no certificate in PEM")
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, ServerName: t.ServerName, MinVersion: tls.VersionTLS12}, nil
}
