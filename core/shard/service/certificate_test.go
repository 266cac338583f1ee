package service

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// issue writes a certificate of its own making, with its key.
func issue(t *testing.T, cert, key, name string, end time.Time) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: end.Add(-time.Hour), NotAfter: end}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestACertificateIsReplacedWhole(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	issue(t, cert, key, "first", time.Now().Add(time.Minute))
	c, err := LoadCertificate(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	name := func() string {
		pair, err := c.Get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf.Subject.CommonName
	}
	// A new certificate whose key has not come yet.
	issue(t, cert, filepath.Join(dir, "late"), "second", time.Now().Add(time.Minute))
	if err := c.Load(); err == nil || !strings.Contains(err.Error(), cert) || name() != "first" {
		t.Errorf("error %v, in use is %s", err, name())
	}
	if err := os.Rename(filepath.Join(dir, "late"), key); err != nil {
		t.Fatal(err)
	}
	if err := c.Load(); err != nil || name() != "second" {
		t.Errorf("error %v, in use is %s", err, name())
	}
	issue(t, cert, key, "late", time.Now().Add(-time.Minute))
	if err := c.Load(); err == nil || !strings.Contains(err.Error(), "expired") || name() != "second" {
		t.Errorf("error %v, in use is %s", err, name())
	}
}

func TestLogsAreTextOrJSON(t *testing.T) {
	var b bytes.Buffer
	for format, want := range map[string]string{"text": `level=WARN msg=hello`, "json": `"level":"WARN","msg":"hello"`} {
		b.Reset()
		log, err := NewLog(&b, format, "warn")
		if err != nil {
			t.Fatal(err)
		}
		log.Info("silent")
		log.Warn("hello")
		if !strings.Contains(b.String(), want) || strings.Contains(b.String(), "silent") {
			t.Errorf("%s: %s", format, b.String())
		}
	}
	for _, bad := range [][2]string{{"xml", "info"}, {"text", "loud"}, {"text", "info+3"}, {"text", ""}} {
		if _, err := NewLog(&b, bad[0], bad[1]); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
