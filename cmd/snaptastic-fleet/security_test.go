package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"snaptastic-fleet/flow"
	"snaptastic-fleet/link"
)

// authority makes a CA and certificates for the server and one host in a folder.
func authority(t *testing.T, dir string) {
	t.Helper()
	ca, caKey := issue(t, "ca", nil, nil)
	save(t, dir, "ca", ca, nil)
	for _, name := range []string{"server", "host"} {
		cert, key := issue(t, name, ca, caKey)
		save(t, dir, name, cert, key)
	}
}

func issue(t *testing.T, name string, ca *x509.Certificate, caKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	parent, signer := ca, caKey
	if ca == nil {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func save(t *testing.T, dir, name string, cert *x509.Certificate, key *ecdsa.PrivateKey) {
	t.Helper()
	write := func(file, kind string, der []byte) {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(name+".pem", "CERTIFICATE", cert.Raw)
	if key != nil {
		der, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		write(name+".key", "EC PRIVATE KEY", der)
	}
}

// Only who has a certificate is served, and what is stored at the server says nothing without the key.
func TestTheServerLearnsNothing(t *testing.T) {
	needFleet(t)
	tls := t.TempDir()
	authority(t, tls)
	key := filepath.Join(tls, "fleet.key")
	if err := os.WriteFile(key, []byte(link.NewKey()), 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, 1, func(r *rig) {
		r.tls, r.more = tls, fmt.Sprintf("  key_file  = %q\n  tls {\n    ca   = %q\n    cert = %q\n    key  = %q\n  }\n", key, tls+"/ca.pem", tls+"/host.pem", tls+"/host.key")
	})
	h1 := r.hosts["h1"]
	r.must(h1, "run", "mount", "db")
	r.must(h1, "run", "snapshot", "db")
	const secret = "a-set-that-does-not-exist"
	var got flow.HostsResult
	err := r.fleet(&got, "restore", "shards", "--set", secret)
	if err == nil || !strings.Contains(err.Error(), secret) {
		t.Errorf("a set that does not exist: %v", err)
	}
	if err := r.fleet(&got, "verify", "shards"); err != nil || got.Done != 1 {
		t.Errorf("%v %+v", err, got)
	}
	if err := r.fleet(nil, "schedule", "shards", "clean", "--cron", "5 4 * * *"); err != nil {
		t.Error(err)
	}
	if w := r.status("clean"); w.Schedule == nil || w.Schedule.Cron != "5 4 * * *" {
		t.Errorf("a schedule is not read with the key: %+v", w)
	}
	files, _ := filepath.Glob(r.dir + "/temporal.db*")
	found := false
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(secret)) {
			t.Errorf("%s has the set's name in plain text", filepath.Base(f))
		}
		found = found || bytes.Contains(b, []byte("restore/shards"))
	}
	if !found {
		t.Error("the records do not have the workflow at all: this test proves nothing")
	}

	plain := r.more
	r.more = ""
	r.write("fleet.hcl", r.settings(r.onControl))
	if err := r.fleet(nil, "status"); err == nil || !strings.Contains(err.Error(), "cannot reach Temporal") {
		t.Errorf("without a certificate: %v", err)
	}
	r.more = strings.Replace(plain, "  key_file", "  #", 1)
	r.write("fleet.hcl", r.settings(r.onControl))
	if err := r.fleet(nil, "verify", "shards"); err == nil || !strings.Contains(err.Error(), "server.key_file") {
		t.Errorf("without the key: %v", err)
	}
}
