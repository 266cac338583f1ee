package ice

import (
	"errors"
	"time"

	"p2pmodel/core/punch"
)

// State is how far a machine is, in the words of W3C's RTCIceTransportState.
type State uint8

// The states.
const (
	// New: nothing is known of the other side.
	New State = iota
	// Checking: its credentials are known, and there is no path yet.
	Checking
	// Connected: there is a path.
	Connected
	// Disconnected: the path has left checks unanswered for DisconnectedAfter. It is
	// still used, and may answer again.
	Disconnected
	// Failed: no path was found, or the one in use died. Only a restart helps.
	Failed
	// Closed is the end.
	Closed
)

var stateNames = [...]string{"new", "checking", "connected", "disconnected", "failed", "closed"}

// String is the name in lower case.
func (s State) String() string { return stateNames[s] }

// The machine's events.
type (
	// Gathered is a new candidate of ours, to be told to the other side by who
	// trickles.
	Gathered struct{ Candidate Candidate }
	// GatheringDone says that there will be no more of them until a restart.
	GatheringDone struct{}
	// StateChanged says why, where the state is Failed: ErrNoPath or ErrConsent.
	StateChanged struct {
		State State
		Err   error
	}
	// PathChanged says that datagrams go another way from now on. Old or New is the
	// zero Path where there was or is none.
	PathChanged struct{ Old, New punch.Path }
	// Settled says that the checks are over and which path came of them: it is
	// nominated, or it stays for want of a better one.
	Settled struct{ Path punch.Path }
	// Restarted says that an ICE restart has begun, ours or the other side's, and
	// that the other side has to learn our new credentials, which Local has. There are
	// no candidates in it yet.
	Restarted struct{ Local Description }
	// ServerFailed says that a STUN or TURN server gave no candidate.
	ServerFailed struct{ Err error }
	// Received is a datagram of the other side. The payload is the receiver's.
	Received struct {
		Path    punch.Path
		Payload []byte
	}
)

// Errors of a machine and of an Agent.
var (
	// ErrConfig means that a Config is of no use.
	ErrConfig = errors.New("ice: unusable configuration")
	// ErrNoPath means that no pair of candidates works.
	ErrNoPath = errors.New("ice: no path to the other side")
	// ErrNoRemote means that a candidate came before the credentials of its side.
	ErrNoRemote = errors.New("ice: the other side's credentials are not known yet")
	// ErrConsent means that the other side does not answer any more (RFC 7675), so
	// that nothing may be sent to it.
	ErrConsent = errors.New("ice: the other side's consent has expired")
	// ErrClosed is returned by what is called after the end.
	ErrClosed = errors.New("ice: closed")
	// ErrTooLarge is returned by Send.
	ErrTooLarge = errors.New("ice: datagram too large")
	// ErrIsSTUN is returned by Send for what the other side would take for STUN.
	ErrIsSTUN = errors.New("ice: the datagram reads like a STUN message (RFC 7983)")
)

const (
	// DefaultPatience is RFC 8863's: what a transaction of RFC 8489 takes to fail.
	DefaultPatience = 39500 * time.Millisecond
	// DefaultGather is what others wait for servers, too: pion/ice and aioice 5 s.
	DefaultGather = 5 * time.Second
	// DefaultPace is Ta of RFC 8445 section 14.2, DefaultConsent and DefaultExpiry
	// are RFC 7675 section 5.1's.
	DefaultPace    = 50 * time.Millisecond
	DefaultConsent = 5 * time.Second
	DefaultExpiry  = 30 * time.Second
	// DisconnectedAfter is one consent check at its latest (6 s), and time for an
	// answer to it.
	DisconnectedAfter = 10 * time.Second
	// MaxPayload is what fits into UDP over IPv6 of 1280 bytes, through a relay.
	MaxPayload = 1180
)
