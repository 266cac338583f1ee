package rendezvous

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/sansio"
	"p2pmodel/core/sansio/simnet"
	"p2pmodel/core/stun"
)

// discover runs a discovery behind a NAT, or on the internet.
func discover(t *testing.T, w *world, nat simnet.NAT) Discovered {
	t.Helper()
	segment, at := w.net.Internet(), netip.MustParseAddr("198.51.100.77")
	if nat != nil {
		segment, at = segment.Behind(nat, netip.MustParseAddr("192.0.2.1")), netip.MustParseAddr("192.168.0.2")
	}
	var got []Discovered
	h := segment.Host("discoverer", at)
	h.SetLink(simnet.Link{Delay: 10 * time.Millisecond})
	d := NewDiscovery(serverAddress, random(5), stun.Schedule{})
	h.Run(d, func(_ time.Time, e sansio.Event) { got = append(got, e.(Discovered)) })
	w.net.Run(time.Minute)
	if len(got) != 1 {
		t.Fatalf("%d results, want one", len(got))
	}
	return got[0]
}

func TestDiscovery(t *testing.T) {
	names := map[simnet.Dependence]Dependence{
		simnet.Endpoint: EndpointIndependent, simnet.Address: AddressDependent, simnet.AddressPort: AddressAndPortDependent,
	}
	for mapping, wantMapping := range names {
		for filtering, wantFiltering := range names {
			t.Run(wantMapping.String()+" "+wantFiltering.String(), func(t *testing.T) {
				w := newWorld(t)
				begin := w.net.Now()
				got := discover(t, w, &simnet.TestNAT{External: netip.MustParseAddr("192.0.2.1"), Mapping: mapping, Filtering: filtering})
				if got.Mapping != wantMapping || got.Filtering != wantFiltering || got.Err != nil {
					t.Errorf("mapping %v, filtering %v, %v\n%v", got.Mapping, got.Filtering, got.Err, got.Evidence)
				}
				if mapping != simnet.Endpoint && got.PortDelta < 1 {
					t.Errorf("port delta %d, want the NAT's sequence to show", got.PortDelta)
				}
				if last := w.packets[len(w.packets)-1].At.Sub(begin); last > 7500*time.Millisecond {
					t.Errorf("it took %v", last)
				}
			})
		}
	}
	t.Run("no NAT", func(t *testing.T) {
		got := discover(t, newWorld(t), nil)
		if got.Mapping != EndpointIndependent || got.Filtering != EndpointIndependent || got.Reflexive.Addr() != netip.MustParseAddr("198.51.100.77") {
			t.Errorf("got %+v", got)
		}
	})
}

func TestDiscoveryWithoutAnswers(t *testing.T) {
	w := newWorld(t)
	w.running.Stop()
	if got := discover(t, w, nil); !errors.Is(got.Err, ErrUnreachable) || got.Mapping != Unknown || got.Filtering != Unknown {
		t.Errorf("no server: %+v", got)
	}
}

func TestDiscoveryNeedsTwoAddresses(t *testing.T) {
	w := newWorld(t)
	w.running.Stop()
	s, err := NewServer(ServerConfig{Listen: serverAddress, Key: keyServer, Rand: random(1)})
	if err != nil {
		t.Fatal(err)
	}
	w.host.Run(s, nil)
	if got := discover(t, w, nil); !errors.Is(got.Err, ErrNoAlternate) || !got.Reflexive.IsValid() {
		t.Errorf("one address: %+v", got)
	}
}

// A server that answers CHANGE-REQUEST from where it was asked proves nothing.
func TestDiscoveryDoesNotTrustAServerThatIgnoresChangeRequest(t *testing.T) {
	d := NewDiscovery(serverAddress, random(5), stun.Schedule{})
	now := simnet.Epoch
	var sent []sansio.Datagram
	drain := func() {
		for _, ok := d.PollBind(); ok; _, ok = d.PollBind() {
		}
		for g, ok := d.PollTransmit(); ok; g, ok = d.PollTransmit() {
			sent = append(sent, g)
		}
	}
	d.HandleBound(now, socketMapping, netip.AddrPort{}, nil)
	d.HandleBound(now, socketFiltering, netip.AddrPort{}, nil)
	drain()
	for len(sent) > 0 {
		g := sent[0]
		sent = sent[1:]
		m, err := stun.Parse(g.Payload)
		if err != nil {
			t.Fatal(err)
		}
		r, err := stun.Success(m, stun.XORAddress{Type: pion.AttrXORMappedAddress, Address: netip.MustParseAddrPort("192.0.2.1:1")},
			stun.Address{Type: pion.AttrOtherAddress, Address: alternateAddress})
		if err != nil {
			t.Fatal(err)
		}
		d.HandleDatagram(now, sansio.Datagram{Socket: g.Socket, Remote: g.Remote, Payload: r.Raw})
		drain()
	}
	for at := d.PollTimeout(); !at.IsZero(); at = d.PollTimeout() {
		d.HandleTimeout(at)
		drain()
	}
	e, _ := d.PollEvent()
	if got := e.(Discovered); got.Filtering == EndpointIndependent || got.Mapping != EndpointIndependent {
		t.Errorf("got %+v", got)
	}
}

func TestDiscoveryWithoutASocket(t *testing.T) {
	d := NewDiscovery(serverAddress, random(5), stun.Schedule{})
	d.HandleBound(simnet.Epoch, socketMapping, netip.AddrPort{}, nil)
	d.HandleBound(simnet.Epoch, socketFiltering, netip.AddrPort{}, errors.New("no more"))
	if e, _ := d.PollEvent(); !errors.Is(e.(Discovered).Err, ErrSocket) {
		t.Errorf("got %+v", e)
	}
}
