//go:build linux

package kernel_test

import (
	"net"
	"testing"
	"time"

	"p2pmodel/sim"
	"p2pmodel/sim/witness"
)

// What a stranger overheard comes to where it was sent, from the stranger; a lab
// in which nobody spoke gives it nothing to say.
func TestAStrangerInjects(t *testing.T) {
	n := stand(t, stageOf)
	d := sim.NewDirector(n)
	want(t, event(t, d, n, "inject host=other for=20ms"), sim.Nothing, "overheard nothing")

	client, err := host(t, n, "phone").ListenPacket(t.Context(), "udp4", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := host(t, n, "server").ListenPacket(t.Context(), "udp4", ":7000")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	to := &net.UDPAddr{IP: n.Plan().Addresses("server", sim.DefaultUplink)[0].AsSlice(), Port: 7000}
	if _, err := client.WriteTo([]byte("nobody else's business"), to); err != nil {
		t.Fatal(err)
	}
	if _, _, err := server.ReadFrom(make([]byte, 64)); err != nil {
		t.Fatal(err)
	}

	since := n.Now()
	want(t, event(t, d, n, "inject host=other for=200ms every=2ms seed=7"), sim.Proved, "made of 1 that it had overheard")
	stranger := n.Plan().Addresses("other", sim.DefaultUplink)[0]
	kinds := map[string]int{}
	for _, k := range captured(n, "server", witness.In, since, everything) {
		switch {
		case k.Src.Addr() != stranger || k.Dst.Port() != 7000:
			t.Errorf("%v → %v entered the server", k.Src, k.Dst)
		case string(k.Payload) == "nobody else's business":
			kinds["again"]++
		case len(k.Payload) == 20 && k.Payload[4] == 0x21:
			kinds["request"]++
		case len(k.Payload) == len("nobody else's business"):
			kinds["flipped"]++
		default:
			kinds["garbage"]++
		}
	}
	for _, kind := range []string{"again", "request", "flipped", "garbage"} {
		if kinds[kind] == 0 {
			t.Errorf("nothing of kind %q was injected: %v", kind, kinds)
		}
	}
	if o := event(t, d, n, "inject host=other for=10ms"); o.End.Sub(o.Begin) < 10*time.Millisecond {
		t.Errorf("an injection of 10ms took %v", o.End.Sub(o.Begin))
	}
}
