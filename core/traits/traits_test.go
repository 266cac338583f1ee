package traits

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// saw is an observation in short: the server, and the port that it saw.
func saw(server string, port uint16) Observation {
	return Observation{To: netip.MustParseAddrPort(server), Mapped: netip.AddrPortFrom(netip.MustParseAddr("203.0.113.9"), port)}
}

const (
	first      = "198.51.100.1:3478"
	firstOther = "198.51.100.1:3479"
	second     = "198.51.100.2:3478"
	other      = "198.51.100.2:3479"
	third      = "198.51.100.3:3478"
)

func TestInfer(t *testing.T) {
	pooled := saw(second, 40001)
	pooled.Mapped = netip.MustParseAddrPort("203.0.113.10:40001")
	late := saw(third, 50000)
	late.Repeated = true
	type o = []Observation
	for _, row := range []struct {
		name string
		seen o
		want Traits
	}{
		{"nothing", nil, Traits{}},
		{"one server says nothing of mappings", o{saw(first, 40000)}, Traits{Preserves: true, Low: 40000, High: 40000}},
		{"two ports of one address neither, where they agree", o{saw(first, 7), saw(firstOther, 7)}, Traits{Low: 7, High: 7}},
		{"one port for all", o{saw(first, 40000), saw(second, 40000)},
			Traits{Mapping: EndpointIndependent, Allocation: Preserve, Preserves: true, Low: 40000, High: 40000}},
		{"one by address", o{saw(first, 5000), saw(second, 5001), saw(other, 5001), saw(third, 5002)},
			Traits{Mapping: AddressDependent, Allocation: Sequential, Delta: 1, Low: 5000, High: 5002}},
		{"one by port", o{saw(first, 5000), saw(third, 5002), saw(second, 5004), saw(other, 5006)},
			Traits{Mapping: AddressAndPortDependent, Allocation: Sequential, Delta: 2, Low: 5000, High: 5006}},
		{"downwards", o{saw(first, 5006), saw(third, 5004), saw(second, 5002)},
			Traits{Mapping: AddressAndPortDependent, Allocation: Sequential, Delta: -2, Low: 5002, High: 5006}},
		{"others in between", o{saw(first, 5000), saw(third, 5004), saw(second, 5005)},
			Traits{Mapping: AddressAndPortDependent, Allocation: Sequential, Delta: 1, Noise: 3, Low: 5000, High: 5005}},
		{"the first preserved", o{saw(first, 40000), saw(third, 1024), saw(second, 1025)},
			Traits{Mapping: AddressAndPortDependent, Allocation: Sequential, Delta: 1, Preserves: true, Low: 1024, High: 40000}},
		{"the first preserved, then drawn", o{saw(first, 40000), saw(third, 61024), saw(second, 1925)},
			Traits{Mapping: AddressAndPortDependent, Allocation: Preserve, Preserves: true, Low: 1925, High: 61024}},
		{"drawn", o{saw(first, 33000), saw(third, 61024), saw(second, 1925)},
			Traits{Mapping: AddressAndPortDependent, Allocation: Random, Low: 1925, High: 61024}},
		{"several addresses", o{saw(first, 33000), pooled}, Traits{Mapping: AddressAndPortDependent, Pooled: true, Allocation: Random, Low: 33000, High: 40001}},
		{"what was asked twice does not count", o{saw(first, 5000), late, saw(second, 5002)},
			Traits{Mapping: AddressAndPortDependent, Allocation: Sequential, Delta: 2, Low: 5000, High: 50000}},
	} {
		if got := Infer(40000, row.seen); got != row.want {
			t.Errorf("%s:\n got %+v\nwant %+v", row.name, got, row.want)
		}
	}
}

// TestBracket: whatever others take in between, the mappings are among the ports, and
// without noise they are the first of them.
func TestBracket(t *testing.T) {
	for _, delta := range []int{1, 2, 3, 7, -1, -5} {
		for opened := 1; opened <= 3; opened++ {
			for noise := range 6 {
				for at := range noise + 1 { // of others before ours
					before := 30000
					after := uint16(before + delta*(opened+noise+1))
					ports := Bracket{Before: uint16(before), After: after, Opened: opened, Delta: delta}.Ports()
					for i := range opened {
						if ours := uint16(before + delta*(at+i+1)); !slices.Contains(ports, ours) {
							t.Errorf("delta %d, %d of ours behind %d of %d others: %v has no %d", delta, opened, at, noise, ports, ours)
						}
					}
					if noise == 0 && ports[0] != uint16(before+delta) {
						t.Errorf("delta %d: %v begins not with the likely one", delta, ports)
					}
				}
			}
		}
	}
	for name, b := range map[string]Bracket{
		"no step": {Before: 1, After: 9, Opened: 1}, "nothing seen": {Opened: 1, Delta: 1}, "wrapped": {Before: 65530, After: 1030, Opened: 1, Delta: 1},
		"too much in between": {Before: 2000, After: 2100, Opened: 1, Delta: 1}, "no room": {Before: 2000, After: 2001, Opened: 1, Delta: 1},
	} {
		if ports := b.Ports(); ports != nil {
			t.Errorf("%s: %v", name, ports)
		}
	}
	if ports := (Bracket{After: 5000, Opened: 1, Delta: 1}).Ports(); len(ports) == 0 || ports[0] != 4999 {
		t.Errorf("with one side only: %v", ports)
	}
}

// TestMeet: up to MeetSockets-1 mappings of others come between, and one of ours still
// has the port.
func TestMeet(t *testing.T) {
	for _, delta := range []int{1, 2, -3} {
		for noise := range MeetSockets {
			port, ok := Meet(30000, delta)
			hit := false
			for i := range MeetSockets {
				hit = hit || int(port) == 30000+delta*(noise+i+1)
			}
			if !ok || !hit {
				t.Errorf("delta %d, %d of others: %d is none of ours", delta, noise, port)
			}
		}
	}
	if _, ok := Meet(65530, 1); ok {
		t.Error("a port beyond the last")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Traits{Mapping: AddressAndPortDependent, Allocation: Sequential, Delta: -2, Noise: 3, Low: 5, High: 9, Pooled: true}.Append(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := Decode(b)
		if err != nil {
			return
		}
		if again, err := Decode(got.Append(nil)); err != nil || again != got {
			t.Errorf("%+v came back as %+v, %v", got, again, err)
		}
	})
}

// TestSurvey: questions go once, answers count from whom they were asked, the
// second address is learned.
func TestSurvey(t *testing.T) {
	now := time.Unix(1, 0)
	s := NewSurvey(zeros{})
	to := netip.MustParseAddrPort(first)
	s.Ask(now, to)
	s.Ask(now, to)
	if _, _, ok := s.PollTransmit(); !ok {
		t.Fatal("no question")
	}
	if _, _, ok := s.PollTransmit(); ok || s.Done() {
		t.Fatal("a second question, or done")
	}
	for range 10 {
		now = now.Add(time.Second)
		s.HandleTimeout(now)
	}
	if !s.Done() || len(s.Seen()) != 0 || !s.PollTimeout().IsZero() {
		t.Error("it does not end without an answer")
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }
