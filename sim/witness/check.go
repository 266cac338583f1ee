package witness

import (
	"fmt"
	"slices"
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
	return AttemptsIn(Traces(packets, scene), scene).Checks(from, to), nil
}

// Attempts are the traces that are checks of somebody, by the host that sent them: of a
// mesh every trace is looked at once, and not once for each pair.
type Attempts map[string][]attempt

type attempt struct {
	trace *Trace
	stun  bool // a Binding request
}

// AttemptsIn finds those of all hosts. The traces must not change while they are used.
func AttemptsIn(traces []Trace, scene Scene) Attempts {
	all := Attempts{}
	for i := range traces {
		t := &traces[i]
		first := &t.Hops[0]
		if t.Payload == nil || first.Direction != Out || scene.isServer(first.Dst.Addr()) || !slices.Contains(scene.Hosts, first.Point.Node) {
			continue
		}
		message, ok := parseSTUN(t.Payload)
		if ok && (message.class == classSuccess || message.class == classError) {
			continue
		}
		from := first.Point.Node
		all[from] = append(all[from], attempt{t, ok && message.method == methodBinding && message.class == classRequest})
	}
	return all
}

// Checks is the function of this name, where both hosts were seen.
func (all Attempts) Checks(from, to string) []Check {
	var result []Check
	for _, a := range all[from] {
		t := a.trace
		first, last := &t.Hops[0], &t.Hops[len(t.Hops)-1]
		if t.Arrived && last.Point.Node != to {
			continue
		}
		c := Check{
			At: first.At, From: from, To: to, Addresses: first.Addresses, Summary: t.Summary, Trace: *t,
			STUN: a.stun,
		}
		if t.Arrived {
			c.Entered, c.EnteredAt = true, last.At
		}
		result = append(result, c)
	}
	return result
}
