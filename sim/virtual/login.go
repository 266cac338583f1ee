package virtual

import (
	"context"
	"net/netip"
	"time"
)

// captured takes a packet from inside that the portal gets instead of whom it is
// for. It is false where the portal lets it go on.
func (r *Router) captured(*packet) bool { return false }

// Login implements sim.RunningRouter.
func (r *Router) Login(context.Context, string) error { return r.errorf("log in", errLater) }

// LoggedIn implements sim.RunningRouter.
func (r *Router) LoggedIn() (map[netip.Addr]time.Duration, error) {
	return nil, r.errorf("read who is logged in", errLater)
}
