package witness

import (
	"fmt"
	"time"
)

// Check is a datagram that a host sent towards another past all servers: an
// attempt to get through.
type Check struct {
	At time.Time
	// From sent it; To is the host that it was looked for at.
	From, To string
	Addresses
	Summary string
	// STUN: it is a STUN Binding request. Other datagrams are attempts of
	// programs that punch in their own way, or payload.
	STUN bool
	// Entered: it entered To, at EnteredAt.
	Entered   bool
	EnteredAt time.Time
	// Trace is its whole way; Trace.Last() is where it was last seen.
	Trace Trace
}

func (c Check) String() string {
	return fmt.Sprintf("%s from %s as %v: %s", c.Summary, c.From, c.Addresses, c.Trace.Fate())
}

// Checks gives the UDP datagrams that a host sent to addresses that are neither
// relay nor rendezvous, and whether each entered the other host: the evidence of
// "checks sent and dropped". Answers (STUN Binding success and error) are left
// out, for they try nothing. Datagrams that entered a third host are left out as
// well. It fails with ErrBlind if nothing was captured at one of the hosts.
func Checks(packets []Packet, scene Scene, from, to string) ([]Check, error) {
	if err := sees(packets, from, to); err != nil {
		return nil, err
	}
	return ChecksIn(Traces(packets, scene), scene, from, to), nil
}

// ChecksIn is Checks for the traces of packets in which both hosts were seen.
func ChecksIn(traces []Trace, scene Scene, from, to string) []Check {
	var result []Check
	for i := range traces {
		t := &traces[i]
		first, last := t.First(), t.Last()
		if t.Payload == nil || first.Point.Node != from || first.Direction != Out || scene.isServer(first.Dst.Addr()) {
			continue
		}
		if t.Arrived && last.Point.Node != to {
			continue
		}
		message, ok := parseSTUN(t.Payload)
		if ok && (message.class == classSuccess || message.class == classError) {
			continue
		}
		c := Check{
			At: first.At, From: from, To: to, Addresses: first.Addresses, Summary: t.Summary, Trace: *t,
			STUN: ok && message.method == methodBinding && message.class == classRequest,
		}
		if t.Arrived {
			c.Entered, c.EnteredAt = true, last.At
		}
		result = append(result, c)
	}
	return result
}
