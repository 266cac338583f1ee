package sweep

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// Kinds of datagrams: 16 bytes, of which the first says what it is, and the last 8
// of which trial.
const (
	kindAsk    = 0xA1 // to the server: where do I come from
	kindTell   = 0xA2 // its answer: 4 bytes address, 2 bytes port
	kindProbe  = 0xA3
	kindAnswer = 0xA4
	size       = 16
)

func message(kind byte, trial uint64) []byte {
	b := make([]byte, size)
	b[0] = kind
	binary.BigEndian.PutUint64(b[8:], trial)
	return b
}

// serve answers who asks with the address that the question came from, until the
// socket is closed.
func serve(conn net.PacketConn) {
	b := make([]byte, 64)
	for {
		n, from, err := conn.ReadFrom(b)
		if err != nil {
			return
		}
		if n != size || b[0] != kindAsk {
			continue
		}
		a := from.(*net.UDPAddr).AddrPort()
		out := message(kindTell, binary.BigEndian.Uint64(b[8:]))
		ip := a.Addr().Unmap().As4()
		copy(out[1:], ip[:])
		binary.BigEndian.PutUint16(out[5:], a.Port())
		_, _ = conn.WriteTo(out, from) // a lost answer is asked for again
	}
}

// errDeaf is the error of a side that the server does not answer.
var errDeaf = errors.New("the server in the middle does not answer")

// side is one end of a trial.
type side struct {
	conn  net.PacketConn
	trial uint64
}

// discover asks the server where the side's packets come from.
func (s side) discover(ctx context.Context, server netip.AddrPort) (netip.AddrPort, error) {
	b := make([]byte, 64)
	for range 10 {
		if err := ctx.Err(); err != nil {
			return netip.AddrPort{}, err
		}
		if _, err := s.conn.WriteTo(message(kindAsk, s.trial), net.UDPAddrFromAddrPort(server)); err != nil {
			return netip.AddrPort{}, err
		}
		if err := s.conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			return netip.AddrPort{}, err
		}
		n, _, err := s.conn.ReadFrom(b)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			continue
		case err != nil:
			return netip.AddrPort{}, err
		}
		if n == size && b[0] == kindTell && binary.BigEndian.Uint64(b[8:]) == s.trial {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[1:5])), binary.BigEndian.Uint16(b[5:])), nil
		}
	}
	return netip.AddrPort{}, errDeaf
}

// outcome is what one side saw.
type outcome struct {
	left            time.Time // when its first probe was sent
	heard, answered bool
	err             error
}

// play sends the side's probes from a time on, and answers what it hears until
// another.
func (s side) play(at, until time.Time, interval time.Duration, probes int, to netip.AddrPort) (o outcome) {
	sent := make(chan outcome, 1)
	go func() {
		var o outcome
		for n := range probes {
			time.Sleep(time.Until(at.Add(time.Duration(n) * interval)))
			if n == 0 {
				o.left = time.Now()
			}
			if _, err := s.conn.WriteTo(message(kindProbe, s.trial), net.UDPAddrFromAddrPort(to)); err != nil && o.err == nil && !refused(err) {
				o.err = err
			}
		}
		sent <- o
	}()
	b := make([]byte, 64)
	var failure error
	for {
		if failure = s.conn.SetReadDeadline(until); failure != nil {
			break
		}
		n, from, err := s.conn.ReadFrom(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if refused(err) {
			continue
		}
		if failure = err; err != nil {
			break
		}
		if n != size || binary.BigEndian.Uint64(b[8:]) != s.trial {
			continue
		}
		switch b[0] {
		case kindProbe:
			o.heard = true
			_, _ = s.conn.WriteTo(message(kindAnswer, s.trial), from) // lost like any other
		case kindAnswer:
			o.answered = true
		}
	}
	first := <-sent
	o.left, o.err = first.left, errors.Join(first.err, failure)
	return o
}

// refused reports whether an error only passes on an ICMP error of the network.
func refused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH)
}
