package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"p2pmodel/core/shard/engine/layout"
)

// keepCertificate makes a certificate for hosts, which are names or addresses, in
// a folder, unless one is there that is good for all of them for another month. It
// is for development: nobody knows its authority but those who are given ca.crt,
// and that has no key any more.
func keepCertificate(dir string, hosts []string, now time.Time) (certFile, keyFile string, err error) {
	certFile, keyFile = filepath.Join(dir, "agent.crt"), filepath.Join(dir, "agent.key")
	if suits(certFile, hosts, now.Add(30*24*time.Hour)) {
		return certFile, keyFile, nil
	}
	authority, err := layout.NewAuthority("P2PModel development", now)
	if err != nil {
		return "", "", err
	}
	pair, err := authority.Issue("P2PModel agent", hosts, layout.Usage{Server: true}, now)
	if err != nil {
		return "", "", err
	}
	chain := append(pair.Cert, authority.Cert...)
	return certFile, keyFile, errors.Join(
		replaceFile(keyFile, pair.Key, 0o600), replaceFile(filepath.Join(dir, "ca.crt"), authority.Cert, 0o644), replaceFile(certFile, chain, 0o644))
}

// suits reports whether a file has a certificate for all hosts until a time.
func suits(file string, hosts []string, until time.Time) bool {
	text, err := os.ReadFile(file)
	return err == nil && suitsPEM(text, hosts, until)
}

// suitsPEM is suits for what is in a file.
func suitsPEM(text []byte, hosts []string, until time.Time) bool {
	block, _ := pem.Decode(text)
	if block == nil {
		return false
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil || until.After(cert.NotAfter) {
		return false
	}
	for _, host := range hosts {
		if cert.VerifyHostname(host) != nil {
			return false
		}
	}
	return true
}

// replaceFile writes a file whole or not at all; nobody sees half of it.
func replaceFile(name string, data []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // has gone if all went well
	_, err = f.Write(data)
	if err := errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return os.Rename(f.Name(), name)
}
