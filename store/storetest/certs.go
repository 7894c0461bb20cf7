package storetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// ServerName is a name that the certificate of a server has, beside localhost
// and 127.0.0.1.
const ServerName = "redis.jaegis.test"

// Certs are a certificate authority, a server's certificate and a client's, as
// PEM files.
type Certs struct {
	CAFile                        string
	CertFile, KeyFile             string // the server's
	ClientCertFile, ClientKeyFile string

	client *tls.Config
}

// NewCerts makes them, and writes them into dir.
func NewCerts(dir string) (*Certs, error) {
	file := func(name string) string { return filepath.Join(dir, name) }
	c := certsIn(dir)
	ca, caKey, err := issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}, nil, nil, c.CAFile, file("ca.key"))
	if err != nil {
		return nil, err
	}
	_, _, err = issue(&x509.Certificate{
		Subject:  pkix.Name{CommonName: ServerName},
		DNSNames: []string{ServerName, "localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		// A server is a client too: of its primary, and of other nodes.
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, ca, caKey, c.CertFile, c.KeyFile)
	if err != nil {
		return nil, err
	}
	_, _, err = issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "jaegis-proxy"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, ca, caKey, c.ClientCertFile, c.ClientKeyFile)
	if err != nil {
		return nil, err
	}
	return LoadCerts(dir)
}

// LoadCerts gives those that are in dir, under the names that NewCerts gives
// them.
func LoadCerts(dir string) (*Certs, error) {
	c := certsIn(dir)
	pair, err := tls.LoadX509KeyPair(c.ClientCertFile, c.ClientKeyFile)
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, err
	}
	c.client = &tls.Config{RootCAs: x509.NewCertPool(), Certificates: []tls.Certificate{pair}}
	if !c.client.RootCAs.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s holds no certificate", c.CAFile)
	}
	return c, nil
}

func certsIn(dir string) *Certs {
	file := func(name string) string { return filepath.Join(dir, name) }
	return &Certs{
		CAFile:   file("ca.crt"),
		CertFile: file("server.crt"), KeyFile: file("server.key"),
		ClientCertFile: file("client.crt"), ClientKeyFile: file("client.key"),
	}
}

// Client gives what a client needs to be let in.
func (c *Certs) Client() *tls.Config { return c.client.Clone() }

// settings are a server's.
func (c *Certs) settings() []string {
	return []string{
		"tls-ca-cert-file", c.CAFile, "tls-cert-file", c.CertFile, "tls-key-file", c.KeyFile,
		"tls-auth-clients", "yes", "tls-replication", "yes",
	}
}

// issue makes a certificate and its key and writes both. Without a CA it signs
// itself.
func issue(t, ca *x509.Certificate, caKey crypto.Signer, certFile, keyFile string) (*x509.Certificate, crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if t.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return nil, nil, err
	}
	t.NotBefore, t.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	if !t.IsCA {
		t.KeyUsage = x509.KeyUsageDigitalSignature
	}
	if ca == nil {
		ca, caKey = t, key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, ca, key.Public(), caKey)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate of %s: %w", t.Subject, err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	if err := os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		return nil, nil, err
	}
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600); err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}
