package main

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"time"

	"jaegis-proxy/config"
	"jaegis-proxy/store/redis"
)

// openRedis makes the store that a part of the configuration asks for.
func (s *stores) openRedis(name string, c config.Redis, log *slog.Logger) (*redis.Store, error) {
	secure, err := redisTLS(c)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	r, err := redis.New(redis.Options{
		URL: string(c.URL), Username: c.Username, Password: string(c.Password), DB: c.DB,
		Mode: c.Mode, Addresses: c.Addresses, ReadReplicas: c.ReadReplicas,
		MasterName: c.MasterName, SentinelUsername: c.SentinelUsername, SentinelPassword: string(c.SentinelPassword),

		MaxConnections: c.MaxConnections, RetryOnTimeout: c.RetryOnTimeout,
		SocketTimeout: time.Duration(c.SocketTimeout), ConnectTimeout: time.Duration(c.SocketConnectTimeout),
		HealthCheckInterval: cmp.Or(time.Duration(c.HealthCheckInterval), -1), // there it is 0 that is for ever
		KeepAlive:           net.KeepAliveConfig{Enable: c.SocketKeepalive},
		Budget:              time.Duration(c.Budget),

		EncryptionKeys: s.keys, TLS: secure, Logger: log.With("store", name),
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}

// redisTLS gives the TLS settings where TLS is spoken, nil where it is not.
func redisTLS(c config.Redis) (*tls.Config, error) {
	if !c.Secure() {
		return nil, nil
	}
	roots, err := certPool(c.TLS.CAFile)
	if err != nil {
		return nil, err
	}
	t := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12, ServerName: c.TLS.ServerName}
	if c.TLS.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.TLS.CertFile, c.TLS.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}
