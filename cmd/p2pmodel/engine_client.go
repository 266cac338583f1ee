package main

import (
	"bytes"
	"fmt"
	"net/url"
	"os"

	"github.com/nats-io/nkeys"
	"github.com/spf13/pflag"

	"p2pmodel/core/shard/engine/natsengine"
	"p2pmodel/core/shard/service"
)

// engineFlags say where the engine is, and who connects.
type engineFlags struct {
	servers           []string
	seedFile, caFile  string
	certFile, keyFile string
}

func (f *engineFlags) add(flags *pflag.FlagSet) {
	flags.StringSliceVar(&f.servers, "engine", nil, "`URL` of an engine, tls://HOST:PORT or nats://HOST:PORT; may be repeated (required)")
	flags.StringVar(&f.seedFile, "engine-seed-file", "", "`FILE` with the nkey seed by which this process is known to the engine")
	flags.StringVar(&f.caFile, "engine-ca-file", "", "PEM `FILE` with the certificates of who signs the engines' ones")
	flags.StringVar(&f.certFile, "engine-cert-file", "", "PEM `FILE` with a certificate of this process, where engines ask for one")
	flags.StringVar(&f.keyFile, "engine-key-file", "", "PEM `FILE` with its key")
}

func (f *engineFlags) check() error {
	if len(f.servers) == 0 {
		return usage("--engine URL is required, such as tls://10.0.0.1:4222")
	}
	for _, text := range f.servers {
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || u.Scheme != "tls" && u.Scheme != "nats" {
			return usage("--engine %q: want tls://HOST:PORT or nats://HOST:PORT", text)
		}
		if u.User != nil {
			return usage("--engine: no names and passwords in a URL; --engine-seed-file says who connects")
		}
	}
	if (f.certFile == "") != (f.keyFile == "") {
		return usage("--engine-cert-file and --engine-key-file need each other")
	}
	return f.checkFiles()
}

// checkFiles reads the files as a connection would.
func (f *engineFlags) checkFiles() error {
	if f.seedFile != "" {
		if err := checkSeed(f.seedFile); err != nil {
			return usage("--engine-seed-file: %w", err)
		}
	}
	if f.caFile != "" {
		if _, err := service.LoadPool(f.caFile); err != nil {
			return usage("--engine-ca-file: %w", err)
		}
	}
	if f.certFile != "" {
		if _, err := service.LoadCertificate(f.certFile, f.keyFile); err != nil {
			return usage("--engine-cert-file: %w", err)
		}
	}
	return nil
}

func checkSeed(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	pair, err := nkeys.FromSeed(bytes.TrimSpace(data))
	if err != nil {
		return fmt.Errorf("%s: this is no nkey seed, which begins with SU", file)
	}
	pair.Wipe()
	return nil
}

// connect gives the connection to the engine. New credentials are used as soon
// as they are there.
func (f *engineFlags) connect(s *service.Service, name string, replicas int) (*natsengine.Engine, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	e, err := natsengine.Connect(natsengine.Config{
		Servers: f.servers, Name: name, Replicas: replicas, Log: s.Log(),
		Credentials: natsengine.Credentials{SeedFile: f.seedFile, CAFile: f.caFile, CertFile: f.certFile, KeyFile: f.keyFile},
	})
	if err != nil {
		return nil, usage("%w", err)
	}
	var files []string
	for _, file := range []string{f.seedFile, f.caFile, f.certFile, f.keyFile} {
		if file != "" {
			files = append(files, file)
		}
	}
	if len(files) > 0 {
		s.Watch("engine credentials", func() error {
			if err := f.checkFiles(); err != nil {
				return err
			}
			return e.Reconnect()
		}, files...)
	}
	addEngine(s, "engine connection", e)
	return e, nil
}
