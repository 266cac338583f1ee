package punch

import (
	"fmt"
	"slices"
	"time"
)

// Restart checks every pair again, keeping the path in use until a better one
// is found or it proves dead. Call it after anything that may have changed what
// the pairs can do: a new network, a rebooted NAT, a new offer of the peer.
func (a *Agent) Restart(now time.Time) {
	if a.cfg.Extended {
		// An address that nobody offered and that led nowhere is found again if it
		// matters; kept, each restart would have more of them to check.
		a.prune(now, func(p *pair) bool { return p.state == failed && p.remote.Kind == PeerReflexive })
	}
	a.recheck(now)
	a.step(now)
}

// Rebind is Restart after our own network has changed: what pairs could do
// before, they may not any more, so that the first pair that answers is used
// instead of waiting until the present one has proved dead.
func (a *Agent) Rebind(now time.Time) {
	a.rebound = now
	a.Restart(now)
}

func (a *Agent) recheck(now time.Time) {
	for _, p := range a.pairs {
		p.retriggers, p.betterSince = 0, time.Time{}
		p.strange = p.strange && !a.offered(p.remote.Addr)
		if p.state != succeeded {
			p.state, p.triggered = waiting, false
		}
		p.next = now
	}
	a.settled = false
	a.started, a.heard = now, time.Time{}
	a.learned = chances{}
}

// unsettle reopens the checks because there are new pairs.
func (a *Agent) unsettle(now time.Time) {
	if a.selected != nil && !a.selected.relayed() && !a.selected.withdrawn {
		return // nothing to look for
	}
	if a.settled && !a.heard.IsZero() {
		a.heard = now
	}
	if a.settled || a.selected == nil {
		a.settled = false
		a.started = now
	}
}

// checkCredentials says what is wrong with credentials (RFC 8445 section 5.3).
func checkCredentials(whose, ufrag, pwd string, mayBeUnknown bool) error {
	if mayBeUnknown && ufrag == "" && pwd == "" {
		return nil
	}
	if len(ufrag) < 4 || len(ufrag) > 256 || len(pwd) < 22 || len(pwd) > 256 {
		return fmt.Errorf("%w: %s ufrag has %d and password %d characters, want 4 to 256 and 22 to 256 (RFC 8445 section 5.3)",
			ErrConfig, whose, len(ufrag), len(pwd))
	}
	return nil
}

// Credentials are those of both sides; the remote ones may be empty, see Config.
type Credentials struct {
	LocalUfrag, LocalPwd   string
	RemoteUfrag, RemotePwd string
}

// SetCredentials tells the peer's credentials where they were not known, or, where
// any differ from the present ones, is an ICE restart (RFC 8445 section 9): the
// check list, the peer's candidates and its nominations are forgotten, and those
// of the new session are to be told. The path in use stays until the restart has
// found one; roles stay as they are. The error is ErrConfig; then nothing changes.
func (a *Agent) SetCredentials(now time.Time, c Credentials) error {
	if err := checkCredentials("local", c.LocalUfrag, c.LocalPwd, false); err != nil {
		return err
	}
	if err := checkCredentials("remote", c.RemoteUfrag, c.RemotePwd, true); err != nil {
		return err
	}
	was := a.cfg
	a.cfg.LocalUfrag, a.cfg.LocalPwd, a.cfg.RemoteUfrag, a.cfg.RemotePwd = c.LocalUfrag, c.LocalPwd, c.RemoteUfrag, c.RemotePwd
	sameLocal := was.LocalUfrag == c.LocalUfrag && was.LocalPwd == c.LocalPwd
	sameRemote := was.RemoteUfrag == c.RemoteUfrag && was.RemotePwd == c.RemotePwd
	local, remote := newCredentials(c.LocalUfrag, c.LocalPwd), newCredentials(c.RemoteUfrag, c.RemotePwd)
	switch {
	case sameLocal && sameRemote:
		return nil
	case sameLocal && was.RemoteUfrag == "":
		a.remote = remote
		a.step(now)
		return nil
	}
	if a.selected == nil || !a.selected.former {
		a.formerLocal, a.formerRemote = a.local, a.remote
	}
	a.local, a.remote = local, remote
	a.remotes, a.nominated, a.revoked, a.complete = nil, nil, false, false
	a.pairs = slices.DeleteFunc(a.pairs, func(p *pair) bool {
		p.former = true
		return p != a.selected
	})
	a.settled, a.started, a.heard, a.validSince = false, now, time.Time{}, time.Time{}
	a.learned, a.named = chances{}, chances{}
	a.step(now)
	return nil
}

// keys gives the credentials under which a pair is checked.
func (a *Agent) keys(p *pair) (local, remote credentials) {
	if p.former {
		return a.formerLocal, a.formerRemote
	}
	return a.local, a.remote
}
