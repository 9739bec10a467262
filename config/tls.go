package config

import (
	"crypto/tls"
	"crypto/x509"
	"os"

	"github.com/libnetwork/libnetwork/types"
)

// complete says whether all files are named.
func (f *ClientTLSConfig) complete() bool {
	return f.CertFile != "" && f.KeyFile != "" && f.CACertFile != ""
}

// load reads the files.
func (f *ClientTLSConfig) load() (*tls.Config, error) {
	ca, err := os.ReadFile(f.CACertFile)
	if err != nil {
		return nil, types.BadRequestErrorf("certificate authorities: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, types.BadRequestErrorf("certificate authorities: %s: no certificate in PEM", f.CACertFile)
	}
	cert, err := tls.LoadX509KeyPair(f.CertFile, f.KeyFile)
	if err != nil {
		return nil, types.BadRequestErrorf("client certificate: %w", err)
	}
	return &tls.Config{
		RootCAs:      roots,
		Certificates: []tls.Certificate{cert},
		MinVersion:   tls.VersionTLS12,
	}, nil
}

// loadTLS makes TLS from the files that a configuration file names. Who names files
// wants no connection without TLS, so it fails if one is missing.
func (s *ScopeCfg) loadTLS() error {
	if s == nil || s.Client.Config == nil || s.Client.Config.ClientTLS == nil {
		return nil
	}
	files := s.Client.Config.ClientTLS
	if !files.complete() {
		return types.BadRequestErrorf("clienttls: certfile, keyfile and cacertfile are needed together")
	}
	var err error
	s.Client.Config.TLS, err = files.load()
	return err
}
