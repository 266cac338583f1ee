//go:build !linux

package siege

import "net/netip"

type forger struct{}

func newForger() (*forger, error) { return nil, ErrNoNamespace }

func (*forger) close() {}

func (*forger) send(netip.AddrPort, netip.AddrPort, []byte) error { return ErrNoNamespace }
