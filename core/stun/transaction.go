// Package stun holds what all endpoints of the core share of STUN (RFC 8489)
// beyond the codec, which is pion/stun's: client transactions with
// retransmission, credentials, and the numbers of our own methods and
// attributes. It does no I/O; time and randomness are parameters.
package stun

import (
	"io"
	"time"

	"github.com/pion/stun/v3"
)

const (
	// DefaultRTO is the initial retransmission timeout (RFC 8489 section 6.2.1).
	DefaultRTO = 500 * time.Millisecond
	// MaxRequests is Rc, how often a request is sent in all.
	MaxRequests = 7
	// FinalWait is Rm, how many RTOs to wait after the last request.
	FinalWait = 16
)

// Schedule says when a request is sent again. The zero value is RFC 8489's.
type Schedule struct {
	RTO         time.Duration // initial; doubles each time. Zero: DefaultRTO.
	MaxRequests int           // zero: MaxRequests
	FinalWait   int           // in RTOs; zero: FinalWait
	// Constant keeps the interval at RTO instead of doubling it.
	Constant bool
}

// Transaction is one client transaction in flight: when to send its request
// again, and when to give up.
type Transaction struct {
	ID      [stun.TransactionIDSize]byte
	Request []byte // as sent, every time the same; not to be changed
	Started time.Time

	schedule Schedule
	sent     int
	next     time.Time
}

// newTransaction starts a transaction at now, with a request that becomes its own.
// The caller sends it at once; Poll says what to do later.
func newTransaction(now time.Time, request []byte, s Schedule) Transaction {
	if s.RTO == 0 {
		s.RTO = DefaultRTO
	}
	if s.MaxRequests == 0 {
		s.MaxRequests = MaxRequests
	}
	if s.FinalWait == 0 {
		s.FinalWait = FinalWait
	}
	t := Transaction{
		ID:       transactionOf(request),
		Request:  request,
		Started:  now,
		schedule: s,
		sent:     1,
	}
	t.next = now.Add(t.wait())
	return t
}

// transactionOf is the id in a message's header.
func transactionOf(message []byte) [stun.TransactionIDSize]byte {
	return [stun.TransactionIDSize]byte(message[8:headerSize])
}

func (t *Transaction) wait() time.Duration {
	if t.sent >= t.schedule.MaxRequests {
		return time.Duration(t.schedule.FinalWait) * t.schedule.RTO
	}
	if t.schedule.Constant {
		return t.schedule.RTO
	}
	return t.schedule.RTO << (t.sent - 1)
}

// Deadline is when Poll wants to be called.
func (t *Transaction) Deadline() time.Time { return t.next }

// Retransmitted reports whether the request was sent more than once, so that a
// response gives no round-trip time (Karn).
func (t *Transaction) Retransmitted() bool { return t.sent > 1 }

// Poll says whether the request is to be sent again now, or has failed.
func (t *Transaction) Poll(now time.Time) (resend, failed bool) {
	if now.Before(t.next) {
		return false, false
	}
	if t.sent >= t.schedule.MaxRequests {
		return false, true
	}
	t.sent++
	t.next = now.Add(t.wait())
	return true, false
}

// NewID draws a transaction id from r.
func NewID(r io.Reader) (id [stun.TransactionIDSize]byte, err error) {
	_, err = io.ReadFull(r, id[:])
	return id, err
}
