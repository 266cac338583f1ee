package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/peer"
	"p2pmodel/core/sansio"
)

// printer prints events, as text or as JSON lines.
type printer struct {
	out  io.Writer
	json bool
}

func newPrinter(out io.Writer, json bool) *printer { return &printer{out: out, json: json} }

// field is a name and a value; a line is a list of them, in order.
type field struct {
	name  string
	value any
}

// line prints one event. Fields whose value is nil are left out.
func (p *printer) line(at time.Time, event string, fields ...field) {
	if !p.json {
		p.text(at, event, fields)
		return
	}
	var b strings.Builder
	b.WriteString(`{"time":` + quoted(at.UTC().Format(time.RFC3339Nano)) + `,"event":` + quoted(event))
	for _, f := range fields {
		if f.value != nil {
			b.WriteString("," + quoted(f.name) + ":" + quoted(f.value))
		}
	}
	fmt.Fprintln(p.out, b.String()+"}")
}

// quoted is a value in JSON. What is printed here always has one.
func quoted(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("print an event: %v", err))
	}
	return string(b)
}

func (p *printer) text(at time.Time, event string, fields []field) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", at.UTC().Format("15:04:05.000"), strings.ReplaceAll(event, "_", " "))
	for _, f := range fields {
		switch v := f.value.(type) {
		case nil:
		case identity.ID:
			fmt.Fprintf(&b, " %s=%s", f.name, v.Short())
		case string:
			if strings.ContainsAny(v, " \"\n") {
				v = fmt.Sprintf("%q", v)
			}
			fmt.Fprintf(&b, " %s=%s", f.name, v)
		case pathFields:
			fmt.Fprintf(&b, " %s=%s", f.name, v)
		default:
			fmt.Fprintf(&b, " %s=%v", f.name, v)
		}
	}
	fmt.Fprintln(p.out, b.String())
}

// pathFields is a path as it is printed.
type pathFields struct {
	Kind   string `json:"kind"`
	Local  string `json:"local,omitempty"`
	Remote string `json:"remote,omitempty"`
	Mapped string `json:"mapped,omitempty"`
}

func (f pathFields) String() string {
	if f.Remote == "" {
		return f.Kind
	}
	return fmt.Sprintf("%s(%s→%s)", f.Kind, f.Local, f.Remote)
}

func path(p peer.Path) pathFields {
	f := pathFields{Kind: p.Kind.String()}
	if p.Kind != peer.NoPath {
		f.Local, f.Remote = p.Local.String(), p.Remote.String()
	}
	if p.Mapped.IsValid() {
		f.Mapped = p.Mapped.String()
	}
	return f
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// errorText is the text of an error, nil for none.
func errorText(err error) any {
	if err == nil {
		return nil
	}
	return err.Error()
}

// event prints an event of the machine. Received is printed by received.
func (p *printer) event(at time.Time, own identity.ID, e sansio.Event) {
	switch e := e.(type) {
	case peer.Bound:
		if !p.json {
			fmt.Fprintf(p.out, "peer %v listening on %v\n", own, e.Local)
			return
		}
		p.line(at, "ready", field{"id", own}, field{"listen", e.Local})
	case peer.Registered:
		var reflexive any // nothing, where the rendezvous sees a stream
		if e.Reflexive.IsValid() {
			reflexive = e.Reflexive
		}
		p.line(at, "registered", field{"reflexive", reflexive}, field{"rtt_ms", milliseconds(e.RTT)})
	case peer.ReflexiveChanged:
		p.line(at, "reflexive_changed", field{"old", e.Old}, field{"new", e.New})
	case peer.ServerReached:
		p.line(at, "server_reached", field{"server", e.Server}, field{"transport", e.Transport.String()}, field{"at", e.At})
	case peer.RelayReady:
		p.line(at, "relay_ready", field{"relayed", e.Relayed})
	case peer.TicketRenewed:
		p.line(at, "ticket_renewed")
	case peer.RelayRenewed:
		p.line(at, "relay_renewed", field{"relayed", e.Relayed})
	case peer.RelayReleased:
		p.line(at, "relay_released", field{"relayed", e.Relayed})
	case peer.KeepaliveLearned:
		p.line(at, "keepalive_learned", field{"interval_ms", e.Interval.Milliseconds()}, field{"alive_ms", e.Alive.Milliseconds()}, field{"dead_ms", e.Dead.Milliseconds()})
	case peer.RelayFailed:
		p.line(at, "relay_failed", field{"error", errorText(e.Err)})
	case peer.Introduced:
		p.line(at, "introduced", field{"peer", e.Peer}, field{"session", e.Session.String()}, field{"initiator", e.Initiator})
	case peer.PathChanged:
		p.line(at, "path_changed", field{"peer", e.Peer}, field{"session", e.Session.String()}, field{"old", path(e.Old)}, field{"new", path(e.New)})
	case peer.Settled:
		p.line(at, "settled", field{"peer", e.Peer}, field{"session", e.Session.String()}, field{"path", path(e.Path)})
	case peer.PathLost:
		p.line(at, "path_lost", field{"peer", e.Peer}, field{"session", e.Session.String()}, field{"path", path(e.Path)}, field{"after_ms", milliseconds(e.After)})
	case peer.Closed:
		p.line(at, "closed", field{"peer", e.Peer}, field{"session", e.Session.String()}, field{"error", errorText(e.Err)})
	case peer.MemberJoined:
		p.line(at, "member_joined", field{"room", e.Room}, field{"peer", e.Peer})
	case peer.MemberLeft:
		p.line(at, "member_left", field{"room", e.Room}, field{"peer", e.Peer})
	case peer.Failed:
		var whom any
		if !e.Peer.IsZero() {
			whom = e.Peer
		}
		p.line(at, "failed", field{"peer", whom}, field{"error", errorText(e.Err)})
	}
}

// sent prints that a datagram was sent, or why it was not.
func (p *printer) sent(at time.Time, to identity.ID, number, size int, err error) {
	p.line(at, "sent", field{"peer", to}, field{"number", number}, field{"bytes", size}, field{"error", errorText(err)})
}

// received prints a datagram that arrived. Those of this command have a number,
// and replies a round-trip time.
func (p *printer) received(at time.Time, e peer.Received) {
	var kind, number, rtt any
	if b := e.Payload; len(b) >= minPayload && (b[0] == request || b[0] == reply) {
		kind, number = "request", binary.BigEndian.Uint64(b[1:])
		if b[0] == reply {
			kind = "reply"
			rtt = milliseconds(at.Sub(time.Unix(0, int64(binary.BigEndian.Uint64(b[9:])))))
		}
	}
	p.line(at, "received", field{"peer", e.Peer}, field{"session", e.Session.String()}, field{"via", e.Via.String()},
		field{"bytes", len(e.Payload)}, field{"kind", kind}, field{"number", number}, field{"rtt_ms", rtt})
}

// stats prints the counters at the end.
func (p *printer) stats(at time.Time, s peer.Stats) {
	p.line(at, "stats", field{"sent", s.Sent}, field{"received", s.Received}, field{"duplicates", s.Duplicates},
		field{"unauthentic", s.Unauthentic}, field{"strange", s.Strange}, field{"paths_lost", s.PathsLost},
		field{"introductions", s.Introductions}, field{"checks_sent", s.Checks.ChecksSent}, field{"checks_received", s.Checks.ChecksReceived})
}
