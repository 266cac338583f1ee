package sansio

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

const (
	// readRoom is what a connection reads into; longer messages make it grow.
	readRoom = 2 << 10
	// lastWords is how long a connection that we close may take for what is queued.
	lastWords = time.Second
)

// stream is one connection. Its messages to send are queued under mu; two
// goroutines read and write.
type stream struct {
	socket *streamSocket
	conn   net.Conn
	remote netip.AddrPort
	config *StreamConfig
	free   chan *streamBatch
	done   chan struct{} // closed by the loop when it wants no more of it

	mu      sync.Mutex
	pending []byte
	over    bool // nothing is queued any more
	wake    chan struct{}
}

// streamBatch is what one read brought: whole messages, in a buffer of their own.
type streamBatch struct {
	buffer   []byte // what was read; messages point into it
	messages [][]byte
}

func (s *streams) stream(k *streamSocket, conn net.Conn, remote netip.AddrPort) *stream {
	st := &stream{
		socket: k, conn: conn, remote: remote, config: &s.config,
		free: make(chan *streamBatch, 2), done: make(chan struct{}), wake: make(chan struct{}, 1),
	}
	for range cap(st.free) {
		st.free <- new(streamBatch)
	}
	return st
}

// run reads and writes a connection until it is over, and says so.
func (s *streams) run(st *stream, first time.Duration) {
	var writer sync.WaitGroup
	writer.Go(st.writeAll)
	err := st.readAll(s, first)
	st.finish()
	s.tell(streamEvent{socket: st.socket, stream: st, err: err}, st.done)
	writer.Wait()
	_ = st.conn.Close()
}

// readAll reads messages until it fails. What was read is handed over two batches
// at most, so that a machine that is slower than a stream slows its sender down.
func (st *stream) readAll(s *streams, first time.Duration) error {
	wait := first
	_ = st.conn.SetReadDeadline(deadline(wait))
	var rest []byte
	for {
		var b *streamBatch
		select {
		case b = <-st.free:
		case <-st.done:
			return net.ErrClosed
		case <-s.stop:
			return net.ErrClosed
		}
		err := b.fill(st.conn, rest, st.config.MaxFrame)
		if len(b.messages) > 0 {
			rest = append(rest[:0], b.rest()...) // the batch's buffer is the loop's until it comes back
			if !s.tell(streamEvent{socket: st.socket, stream: st, batch: b}, st.done) {
				return net.ErrClosed
			}
			_ = st.conn.SetReadDeadline(deadline(st.config.Idle))
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return ErrStreamIdle
		case err != nil:
			return err
		}
	}
}

// fill reads until b has whole messages, of which the first begin with rest.
func (b *streamBatch) fill(from io.Reader, rest []byte, most int) error {
	b.messages = b.messages[:0]
	if cap(b.buffer) < max(readRoom, len(rest)) {
		b.buffer = make([]byte, 0, max(readRoom, len(rest)))
	}
	b.buffer = append(b.buffer[:0], rest...)
	for {
		left := b.buffer
		for {
			message, next, ok, err := deframe(left, most)
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			b.messages, left = append(b.messages, message), next
		}
		if len(b.messages) > 0 {
			return nil
		}
		if len(b.buffer) == cap(b.buffer) {
			b.buffer = append(make([]byte, 0, min(2*cap(b.buffer), most+readRoom)), b.buffer...)
		}
		n, err := from.Read(b.buffer[len(b.buffer):cap(b.buffer)])
		b.buffer = b.buffer[:len(b.buffer)+n]
		if err != nil && n == 0 {
			return err
		}
	}
}

// rest is what follows the last whole message.
func (b *streamBatch) rest() []byte {
	left := b.buffer
	for range b.messages {
		_, left, _, _ = deframe(left, len(b.buffer))
	}
	return left
}

// queue puts a message among those to send. One that does not fit is lost.
func (st *stream) queue(message []byte) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.over || len(st.pending)+len(message)+3 > st.config.Queue {
		return
	}
	st.pending, _ = appendFrame(st.pending, message, st.config.MaxFrame)
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// finish lets nothing more be queued; what is queued still leaves.
func (st *stream) finish() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.over {
		st.over = true
		close(st.wake)
	}
}

// writeAll writes what is queued, until finish.
func (st *stream) writeAll() {
	var out []byte
	for {
		_, open := <-st.wake
		st.mu.Lock()
		st.pending, out = out[:0], st.pending
		st.mu.Unlock()
		patience := st.config.Stalled
		if !open {
			patience = lastWords
		}
		if len(out) > 0 {
			_ = st.conn.SetWriteDeadline(deadline(patience))
			if err := st.write(out); err != nil || !open {
				_ = st.conn.Close() // ends the reader
				return
			}
		} else if !open {
			_ = st.conn.Close()
			return
		}
		if cap(out) > 4*readRoom {
			out = nil // a burst's memory is not kept
		}
	}
}

// end has the loop want no more of a connection. What is queued still leaves.
func (st *stream) end() {
	st.finish()
	close(st.done)
}

// write writes messages: all at once over TCP, and over TLS each in a record of its
// own, since some take what one read of TLS gives for one message (coturn's
// turnutils_uclient 4.6.1 does).
func (st *stream) write(out []byte) error {
	if st.socket.transport == TLS {
		for len(out) > 0 {
			_, onStream, err := frame(out)
			if err != nil {
				return err
			}
			if _, err := st.conn.Write(out[:onStream]); err != nil {
				return err
			}
			out = out[onStream:]
		}
		return nil
	}
	_, err := st.conn.Write(out)
	return err
}
