package stun

import (
	"container/heap"
	"time"

	"github.com/pion/stun/v3"
)

// Transactions are the client transactions of a machine that are in flight. T
// is what the machine wants to know of each again: where it went, what it was
// for. The zero value is ready.
type Transactions[T any] struct {
	byID    map[[stun.TransactionIDSize]byte]*inFlight[T]
	queue   inFlightHeap[T]
	started uint64
}

// inFlight is one transaction in the heap.
type inFlight[T any] struct {
	Transaction
	about T
	// seq breaks ties of time, so that equal runs poll in equal order.
	seq   uint64
	index int
}

// Start adds a transaction; the caller sends t.Request at once.
func (s *Transactions[T]) Start(now time.Time, request []byte, schedule Schedule, about T) *Transaction {
	s.Cancel(transactionOf(request))
	if s.byID == nil {
		s.byID = make(map[[stun.TransactionIDSize]byte]*inFlight[T])
	}
	f := &inFlight[T]{Transaction: newTransaction(now, request, schedule), about: about, seq: s.started}
	s.started++
	s.byID[f.ID] = f
	heap.Push(&s.queue, f)
	return &f.Transaction
}

// Find gives the transaction that a response belongs to and leaves it in
// flight: check who answers before Take ends it.
func (s *Transactions[T]) Find(id [stun.TransactionIDSize]byte) (t *Transaction, about T, ok bool) {
	f, ok := s.byID[id]
	if !ok {
		return nil, about, false
	}
	return &f.Transaction, f.about, true
}

// Take is Find, and the transaction is over.
func (s *Transactions[T]) Take(id [stun.TransactionIDSize]byte) (t *Transaction, about T, ok bool) {
	if t, about, ok = s.Find(id); ok {
		s.Cancel(id)
	}
	return t, about, ok
}

// Cancel forgets a transaction, if there is one.
func (s *Transactions[T]) Cancel(id [stun.TransactionIDSize]byte) {
	if f, ok := s.byID[id]; ok {
		heap.Remove(&s.queue, f.index)
		delete(s.byID, id)
	}
}

// CancelIf forgets the transactions that match.
func (s *Transactions[T]) CancelIf(match func(about T) bool) {
	for id, f := range s.byID {
		if match(f.about) {
			s.Cancel(id)
		}
	}
}

// Any reports whether one matches.
func (s *Transactions[T]) Any(match func(about T) bool) bool {
	for _, f := range s.queue {
		if match(f.about) {
			return true
		}
	}
	return false
}

// Poll gives a transaction whose time has come: its request is to be sent
// again, or it has failed and is over. Call it until ok is false.
func (s *Transactions[T]) Poll(now time.Time) (t *Transaction, about T, failed, ok bool) {
	for len(s.queue) > 0 {
		f := s.queue[0]
		resend, failed := f.Poll(now)
		switch {
		case failed:
			s.Cancel(f.ID)
			return &f.Transaction, f.about, true, true
		case resend:
			heap.Fix(&s.queue, f.index)
			return &f.Transaction, f.about, false, true
		default:
			return nil, about, false, false
		}
	}
	return nil, about, false, false
}

// Deadline is when Poll wants to be called; the zero time if never.
func (s *Transactions[T]) Deadline() time.Time {
	if len(s.queue) == 0 {
		return time.Time{}
	}
	return s.queue[0].Deadline()
}

// Len is how many are in flight.
func (s *Transactions[T]) Len() int { return len(s.queue) }

// inFlightHeap orders by deadline, then by start.
type inFlightHeap[T any] []*inFlight[T]

func (h inFlightHeap[T]) Len() int { return len(h) }

func (h inFlightHeap[T]) Less(i, j int) bool {
	if a, b := h[i].Deadline(), h[j].Deadline(); !a.Equal(b) {
		return a.Before(b)
	}
	return h[i].seq < h[j].seq
}

func (h inFlightHeap[T]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *inFlightHeap[T]) Push(x any) {
	f := x.(*inFlight[T])
	f.index = len(*h)
	*h = append(*h, f)
}

func (h *inFlightHeap[T]) Pop() any {
	last := len(*h) - 1
	f := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return f
}
