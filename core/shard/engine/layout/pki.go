package layout

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"
)

// Lives of certificates. One that has less than a third of its life left is made
// anew when the layout's files are.
const (
	AuthorityLife   = 10 * 365 * 24 * time.Hour
	CertificateLife = 365 * 24 * time.Hour
)

// Pair is a certificate and its key, in PEM.
type Pair struct{ Cert, Key []byte }

// Usage is what a certificate is good for.
type Usage struct{ Server, Client bool }

// NewAuthority makes a certificate authority.
func NewAuthority(name string, now time.Time) (Pair, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotAfter:              now.Add(AuthorityLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	return issue(template, nil, nil, now)
}

// Issue makes a certificate that an authority has signed, with a new key; names are
// host names and addresses.
func (authority Pair) Issue(name string, names []string, usage Usage, now time.Time) (Pair, error) {
	pair, err := tls.X509KeyPair(authority.Cert, authority.Key)
	if err != nil {
		return Pair{}, fmt.Errorf("certificate of %s: the authority: %w", name, err)
	}
	parent, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return Pair{}, fmt.Errorf("certificate of %s: the authority: %w", name, err)
	}
	template := &x509.Certificate{
		Subject:  pkix.Name{CommonName: name},
		NotAfter: now.Add(CertificateLife),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if usage.Server {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	if usage.Client {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	if template.NotAfter.After(parent.NotAfter) {
		template.NotAfter = parent.NotAfter
	}
	return issue(template, parent, pair.PrivateKey, now)
}

// issue signs a certificate for a new key; without a parent by that key itself.
func issue(template, parent *x509.Certificate, signer crypto.PrivateKey, now time.Time) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return Pair{}, err
	}
	template.SerialNumber = serial
	template.NotBefore = now.Add(-time.Hour) // clocks differ
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return Pair{}, fmt.Errorf("certificate of %s: %w", template.Subject.CommonName, err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}, nil
}

// fresh reports whether a pair is one that may stay: signed by the authority, for
// these names, and with a third of its life left.
func (p Pair) fresh(authority Pair, names []string, now time.Time) error {
	pair, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		return err
	}
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return err
	}
	if cert.NotAfter.Sub(now) < cert.NotAfter.Sub(cert.NotBefore)/3 {
		return errors.New("it ends soon")
	}
	for _, n := range names {
		if err := cert.VerifyHostname(n); err != nil {
			return err
		}
	}
	if bytes.Equal(p.Cert, authority.Cert) {
		return nil
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority.Cert)
	_, err = cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err
}
