package secure

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/flynn/noise"

	"p2pmodel/core/identity"
)

// Config is what a channel needs to know from the start.
type Config struct {
	// Key is who we are, Peer who the other side is.
	Key  identity.Key
	Peer identity.ID
	// Shared is what Key.Shared(Peer) has given, so that it need not be computed
	// again for each handshake; nil: New asks.
	Shared []byte
	// Session names the channel: both sides have to mean the same one.
	Session [16]byte
	// Slot is ours to choose, below 1<<24: frames to us begin with it, so that the
	// owner of many channels finds the one that a frame is for.
	Slot uint32
	// Rand gives ephemeral keys. It has to be unpredictable wherever the network is
	// not trusted.
	Rand io.Reader
	// RekeyAfter and RekeyFrames are when the peer with the smaller id asks for new
	// keys: that long after the last ones, or when either side has sent so many
	// frames. Zero: DefaultRekeyAfter, DefaultRekeyFrames; negative: never for the
	// sake of time.
	RekeyAfter  time.Duration
	RekeyFrames uint64
}

const (
	// DefaultRekeyAfter bounds what one stolen key gives away.
	DefaultRekeyAfter = 5 * time.Minute
	// DefaultRekeyFrames is far below what ChaCha20-Poly1305 permits (RFC 9001
	// section 6.6 knows no limit of confidentiality for it, and 2^36 forgeries).
	DefaultRekeyFrames = 1 << 24
	// overlap is how long keys that were replaced open frames that are late.
	overlap = 15 * time.Second
)

// Errors of what arrives. None of them is answered, and none of them is fatal.
var (
	// ErrMalformed: it has not the size or form of what it should be.
	ErrMalformed = errors.New("secure: malformed")
	// ErrForged: whoever made it does not have the keys, or made it of another
	// session.
	ErrForged = errors.New("secure: not authentic")
	// ErrStale: a message of a handshake that is over, or one that was seen.
	ErrStale = errors.New("secure: stale")
	// ErrReplayed: a frame that arrived before, or too late to know.
	ErrReplayed = errors.New("secure: frame has arrived before")
	// ErrNoKeys: a frame under keys that there are not, or are no more; of Seal:
	// the handshake is not over yet.
	ErrNoKeys = errors.New("secure: no keys")
	// ErrTooMany: one handshake more than a peer may ask for in so short a time. Said
	// again it is answered, later.
	ErrTooMany = errors.New("secure: too many handshakes")
)

// Channel is one side of a session. Make it with New. It is not safe for concurrent
// use, has no clock, and wants no wake-up: its time is that of the checks on which
// its messages ride.
type Channel struct {
	cfg       Config
	initiator bool

	// number is that of the handshake begun, or accepted, last.
	number uint32
	// handshake waits for message 2; nil on the responder's side, and between
	// handshakes.
	handshake *noise.HandshakeState
	// wanted: another one is to begin, whatever the time.
	wanted bool
	// saying is what rides on the next check; nil: nothing.
	saying []byte
	// answered is message 1 of number, to which saying is the answer.
	answered []byte
	// handshakes are those begun, or read, so far.
	handshakes allowance

	// sending seals what we say; next is the responder's, until it knows that the
	// other side has it too; previous opens what is late. Each may be nil, and each
	// opens.
	sending, next, previous *keys
}

// New makes a channel. The error is identity.ErrUnusable.
func New(cfg Config) (*Channel, error) {
	if cfg.Shared == nil {
		shared, err := cfg.Key.Shared(cfg.Peer)
		if err != nil {
			return nil, fmt.Errorf("secure: channel with %s: %w", cfg.Peer.Short(), err)
		}
		cfg.Shared = shared
	}
	if cfg.RekeyAfter == 0 {
		cfg.RekeyAfter = DefaultRekeyAfter
	}
	if cfg.RekeyFrames == 0 {
		cfg.RekeyFrames = DefaultRekeyFrames
	}
	return &Channel{cfg: cfg, initiator: cfg.Key.ID().Compare(cfg.Peer) < 0}, nil
}

// Ready reports whether there are keys to send by.
func (c *Channel) Ready() bool { return c.sending != nil }

// Epoch is how often keys were agreed upon: 0 before the first time, and one more
// with each new handshake.
func (c *Channel) Epoch() uint32 {
	if c.sending == nil {
		return 0
	}
	return c.sending.number
}

// Message is what has to ride on a check or an answer that leaves now; nil: nothing.
// The bytes are the channel's, and valid until the next call of any method.
func (c *Channel) Message(now time.Time) []byte {
	c.forget(now)
	switch {
	case c.initiator:
	case c.number == 0 && c.saying == nil:
		return nothingYet[:]
	default:
		return c.saying
	}
	if c.handshake == nil && c.due(now) && c.handshakes.take(now) {
		c.number++
		c.handshake = c.newHandshake(c.number)
		c.saying, _, _ = c.write(c.handshake, c.number, c.index(c.number))
	}
	return c.saying
}

// nothingYet is what a responder says that has not heard of its channel: no handshake,
// and as many bytes as message 1 has, which may be in the answer then.
var nothingYet [messageSize]byte

// due reports whether the initiator wants other keys than it has.
func (c *Channel) due(now time.Time) bool {
	k := c.sending
	return k == nil || c.wanted || k.sent >= c.cfg.RekeyFrames || k.window.newest >= c.cfg.RekeyFrames ||
		c.cfg.RekeyAfter > 0 && now.Sub(k.made) >= c.cfg.RekeyAfter
}

// HandleMessage takes what rode on an authentic check or answer of the peer. answer
// says that Message has something new to say to it, without which the peer cannot
// open what we send. The error is ErrMalformed, ErrStale, ErrForged or ErrTooMany.
func (c *Channel) HandleMessage(now time.Time, b []byte) (answer bool, err error) {
	short := acknowledgementSize
	if c.initiator {
		short = differenceSize
	}
	if len(b) != messageSize && len(b) != short {
		return false, fmt.Errorf("%w: message of %d bytes, want %d or %d", ErrMalformed, len(b), messageSize, short)
	}
	number := binary.BigEndian.Uint32(b)
	switch {
	case number == 0 && len(b) == messageSize:
		return false, nil // nothing yet
	case c.initiator && len(b) == short:
		return false, c.differs(number, binary.BigEndian.Uint32(b[numberSize:]))
	case c.initiator:
		return false, c.finish(now, number, b[numberSize:])
	case len(b) == short:
		return false, c.acknowledged(now, number)
	}
	return c.respond(now, number, b)
}

// finish takes message 2.
func (c *Channel) finish(now time.Time, number uint32, message []byte) error {
	switch {
	case number > c.number: // we have forgotten the channel
		c.number = number
		c.again()
		fallthrough
	case c.handshake == nil || number != c.number:
		return &staleError{number, c.number} // most often: each answer has message 2 until it is acknowledged
	}
	remote, out, in, err := read(c.handshake, message)
	if err != nil {
		c.again()
		return err
	}
	c.handshake, c.wanted = nil, false
	c.saying = binary.BigEndian.AppendUint32(nil, number) // the acknowledgement, from now on
	c.use(now, newKeys(now, number, c.index(number), remote, out, in))
	return nil
}

// staleError is ErrStale of a message 2. Its text is made when somebody reads it.
type staleError struct{ number, last uint32 }

func (e *staleError) Error() string {
	return fmt.Sprintf("%v: message 2 of handshake %d, the last one is %d", ErrStale, e.number, e.last)
}

func (*staleError) Unwrap() error { return ErrStale }

// differs takes the number of the last handshake that the responder knows, where it
// heard of another one from us: one of both has forgotten the channel, and another
// handshake mends that.
func (c *Channel) differs(number, heard uint32) error {
	if heard != c.number || number == c.number && c.handshake == nil {
		return fmt.Errorf("%w: an answer about handshake %d, the last one is %d", ErrStale, heard, c.number)
	}
	c.number = max(c.number, number)
	c.again()
	return nil
}

// again has the next message be the first one of another handshake.
func (c *Channel) again() { c.handshake, c.wanted = nil, true }

// respond takes message 1 and makes message 2.
func (c *Channel) respond(now time.Time, number uint32, b []byte) (answer bool, err error) {
	if number <= c.number {
		if number == c.number && bytes.Equal(b, c.answered) {
			return false, nil // a copy: message 2 rides on, until it is acknowledged
		}
		c.differ(number)
		return false, fmt.Errorf("%w: message 1 of handshake %d, the last one is %d", ErrStale, number, c.number)
	}
	if !c.handshakes.take(now) {
		return false, fmt.Errorf("%w: message 1 of handshake %d, so soon after the last one, %d", ErrTooMany, number, c.number)
	}
	handshake := c.newHandshake(number)
	remote, _, _, err := read(handshake, b[numberSize:])
	if err != nil {
		return false, err
	}
	message, in, out := c.write(handshake, number, c.index(number))
	k := newKeys(now, number, c.index(number), remote, out, in)
	c.number, c.saying, c.answered = number, message, bytes.Clone(b)
	if c.sending == nil {
		c.use(now, k) // there is nothing older to go on with
	} else {
		c.next = k
	}
	return true, nil
}

// acknowledged takes the initiator's word that it has message 2.
func (c *Channel) acknowledged(now time.Time, number uint32) error {
	if number != c.number {
		if number > c.number {
			c.differ(number)
		}
		return fmt.Errorf("%w: acknowledgement of handshake %d, the last one is %d", ErrStale, number, c.number)
	}
	c.confirm(now)
	return nil
}

// differ tells the initiator which handshake we know, and which one we heard of,
// unless there is message 2 to say.
func (c *Channel) differ(heard uint32) {
	if len(c.saying) != messageSize {
		c.saying = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, c.number), heard)
	}
}

// confirm ends the responder's part in a handshake: the other side has the keys.
func (c *Channel) confirm(now time.Time) {
	c.saying = nil
	if c.next != nil {
		c.use(now, c.next)
	}
}

// use has new keys seal what we say.
func (c *Channel) use(now time.Time, k *keys) {
	if c.previous = c.sending; c.previous != nil {
		c.previous.until = now.Add(overlap)
	}
	c.sending, c.next = k, nil
}

// forget drops keys whose time is over.
func (c *Channel) forget(now time.Time) {
	if c.previous != nil && !now.Before(c.previous.until) {
		c.previous = nil
	}
}

// index is what frames to us begin with, under the keys of a handshake.
func (c *Channel) index(number uint32) uint32 { return c.cfg.Slot<<8 | number&0xff }

// keys are what one handshake gave.
type keys struct {
	number uint32
	// local and remote are the indices of frames to us and to the peer.
	local, remote uint32
	out, in       noise.Cipher
	sent          uint64
	window        window
	made, until   time.Time
}

func newKeys(now time.Time, number, local, remote uint32, out, in *noise.CipherState) *keys {
	return &keys{number: number, local: local, remote: remote, out: out.Cipher(), in: in.Cipher(), made: now}
}
