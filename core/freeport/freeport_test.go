package freeport

import (
	"net"
	"testing"
)

func TestNoPortIsGivenTwice(t *testing.T) {
	given := map[uint16]bool{}
	for range 100 {
		at := Of(t)
		if given[at.Port()] {
			t.Fatalf("%v was given twice", at)
		}
		given[at.Port()] = true
		if at.Port() < low || at.Port() >= high {
			t.Fatalf("%v is outside of %d to %d", at, low, high)
		}
	}
}

// What is in use, by either protocol, is passed over.
func TestPortsInUseArePassedOver(t *testing.T) {
	first := Row(t, 5)
	if !free(first, 5) {
		t.Fatalf("%d and 4 more are not free", first)
	}
	for name, take := range map[string]func(at string) (interface{ Close() error }, error){
		"TCP": func(at string) (interface{ Close() error }, error) { return net.Listen("tcp4", at) },
		"UDP": func(at string) (interface{ Close() error }, error) { return net.ListenPacket("udp4", at) },
	} {
		at := Of(t)
		taken, err := take(at.String())
		if err != nil {
			t.Fatal(err)
		}
		if free(int(at.Port()), 1) {
			t.Errorf("%v, in use by %s, is free", at, name)
		}
		next.Store(uint32(at.Port() - low))
		if again := Of(t); again == at {
			t.Errorf("%v is given, which is in use by %s", again, name)
		}
		if err := taken.Close(); err != nil {
			t.Error(err)
		}
	}
}
