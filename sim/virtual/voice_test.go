package virtual_test

import (
	"net/netip"
	"testing"
	"time"

	"p2pmodel/core/sansio"
	"p2pmodel/sim"
)

// voice is a machine with one socket, which sends what it is told to and keeps what
// it hears. An echo answers with whom it heard.
type voice struct {
	sansio.Outbox
	local netip.AddrPort
	echo  bool
	bound error
	told  [][]netip.Addr // addresses of its host
	heard []said
}

// said is a datagram that a voice has heard.
type said struct {
	at   time.Time
	from netip.AddrPort
	text string
}

func (v *voice) HandleInterfaces(_ time.Time, addrs []netip.Addr) {
	if v.told = append(v.told, addrs); len(v.told) == 1 {
		v.Bind(1, v.local)
	}
}

func (v *voice) HandleBound(_ time.Time, _ sansio.Socket, _ netip.AddrPort, err error) { v.bound = err }

func (v *voice) HandleDatagram(now time.Time, d sansio.Datagram) {
	v.heard = append(v.heard, said{now, d.Remote, string(d.Payload)})
	if v.echo {
		v.Send(1, d.Remote, []byte(d.Remote.String()))
	}
}

func (v *voice) HandleTimeout(time.Time) {}
func (v *voice) PollTimeout() time.Time  { return time.Time{} }

// speaker is a voice that runs on a host.
type speaker struct {
	*voice
	tb      testing.TB
	net     sim.Network
	running sim.RunningMachine
}

const servicePort = 4222

func anyAddress(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.IPv4Unspecified(), port) }

// speak runs a voice on a host.
func speak(tb testing.TB, n sim.Network, host string, v *voice) *speaker {
	tb.Helper()
	running, err := hostOf(tb, n, host).Run(tb.Context(), v, nil)
	if err != nil {
		tb.Fatal(err)
	}
	running.Do(func(time.Time) {})
	if v.bound != nil {
		tb.Fatal(v.bound)
	}
	return &speaker{v, tb, n, running}
}

// client and server are the usual voices.
func client(tb testing.TB, n sim.Network, host string) *speaker {
	tb.Helper()
	return speak(tb, n, host, &voice{local: anyAddress(5000)})
}

func server(tb testing.TB, n sim.Network, host string) netip.AddrPort {
	tb.Helper()
	speak(tb, n, host, &voice{local: anyAddress(servicePort), echo: true})
	return netip.AddrPortFrom(n.Plan().Addresses(host, sim.DefaultUplink)[0], servicePort)
}

// say sends a datagram.
func (s *speaker) say(to netip.AddrPort, text string) {
	s.running.Do(func(time.Time) { s.Send(1, to, []byte(text)) })
}

// pass lets the lab's time pass.
func pass(tb testing.TB, n sim.Network, d time.Duration) {
	tb.Helper()
	if err := sim.Sleep(tb.Context(), n, d); err != nil {
		tb.Fatal(err)
	}
}

// patient is longer than any answer takes.
const patient = 500 * time.Millisecond

// ask sends a question and gives the answer; "" when none comes.
func (s *speaker) ask(to netip.AddrPort) string {
	s.tb.Helper()
	before := len(s.heard)
	s.say(to, "who am I?")
	for end := s.net.Now().Add(patient); s.net.Now().Before(end); pass(s.tb, s.net, time.Millisecond) {
		if len(s.heard) > before {
			return s.heard[len(s.heard)-1].text
		}
	}
	return ""
}

// seen is where an echo hears the speaker from.
func (s *speaker) seen(to netip.AddrPort) netip.AddrPort {
	s.tb.Helper()
	a, err := netip.ParseAddrPort(s.ask(to))
	if err != nil {
		s.tb.Fatalf("no answer came from %v", to)
	}
	return a
}
