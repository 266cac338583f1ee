package virtual

import (
	"context"

	"p2pmodel/nat/certify"
)

// Certify implements sim.RunningRouter.
func (r *Router) Certify(ctx context.Context) (certify.Result, error) {
	return r.Measure(ctx, certify.Options{})
}

// Measure implements sim.RunningRouter.
func (r *Router) Measure(context.Context, certify.Options) (certify.Result, error) {
	return certify.Result{}, r.errorf("certify", errLater)
}
