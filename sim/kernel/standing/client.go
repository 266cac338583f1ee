//go:build linux

package standing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"p2pmodel/sim/document"
)

// Client is a lab that stands, as one who comes to it sees it. Each of its calls
// is a connection of its own, and ends with its context. Its methods are safe for
// concurrent use.
type Client struct {
	name, socket string
}

// Name is the lab's.
func (c *Client) Name() string { return c.name }

// at gives the lab of a name in a folder, be it there or not.
func at(dir, name string) *Client { return &Client{name, filepath.Join(dir, name+socketSuffix)} }

// errEnded says that a lab went away during a call.
var errEnded = errors.New("the lab has ended")

// Find gives the lab of this name, or with "" the only one that stands.
func Find(ctx context.Context, name string) (*Client, error) {
	dir, err := Directory()
	if err != nil {
		return nil, err
	}
	have, err := names(dir)
	if err != nil {
		return nil, err
	}
	switch {
	case len(have) == 0 && name == "":
		return nil, errors.New("no lab stands: build one with `natlab up FILE`")
	case len(have) == 0:
		return nil, fmt.Errorf("no lab %q, and no other either: build one with `natlab up FILE`", name)
	case name == "" && len(have) > 1:
		return nil, fmt.Errorf("several labs stand: say which one with --lab: %s", strings.Join(have, ", "))
	case name == "":
		name = have[0]
	}
	for _, n := range have {
		if n == name {
			return at(dir, n), nil
		}
	}
	return nil, fmt.Errorf("no lab %q%s", name, document.Suggest(name, have))
}

// answering is how long a lab may take to say what it is.
const answering = 5 * time.Second

// All gives all labs that stand. Those that are just being built or taken down are
// left out. The error is about those that do not answer; the others are given
// all the same.
func All(ctx context.Context) ([]Description, error) {
	dir, err := Directory()
	if err != nil {
		return nil, err
	}
	have, err := names(dir)
	if err != nil {
		return nil, err
	}
	all := []Description{}
	var errs []error
	for _, name := range have {
		limited, cancel := context.WithTimeout(ctx, answering)
		d, err := at(dir, name).Describe(limited)
		cancel()
		switch {
		case err == nil:
			all = append(all, d)
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ECONNREFUSED), errors.Is(err, errEnded):
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			errs = append(errs, fmt.Errorf("lab %s does not answer within %v: is its process stopped?", name, answering))
		default:
			errs = append(errs, err)
		}
	}
	return all, errors.Join(errs...)
}

// call is a call under way.
type call struct {
	*conn
	lab     string
	abandon func() bool
}

// begin makes a call. It must be closed.
func (c *Client) begin(ctx context.Context, name string, arguments any, files ...*os.File) (*call, error) {
	raw, err := (&net.Dialer{}).DialContext(ctx, "unix", c.socket)
	if err != nil {
		return nil, fmt.Errorf("lab %s: %w", c.name, err)
	}
	k := newConn(raw.(*net.UnixConn))
	if err := k.trust(); err != nil {
		k.close()
		return nil, fmt.Errorf("lab %s: %w", c.name, err)
	}
	data, err := json.Marshal(arguments)
	if err == nil {
		err = k.write(request{Protocol: protocol, Call: name, Arguments: data}, files...)
	}
	if err != nil {
		k.close()
		return nil, fmt.Errorf("lab %s: %w", c.name, err)
	}
	return &call{conn: k, lab: c.name, abandon: context.AfterFunc(ctx, func() { _ = k.unix.SetDeadline(time.Now()) })}, nil
}

// leaveAfter has the lab say its last words when ctx ends: the call must have been
// begun with a context that does not.
func (k *call) leaveAfter(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		_ = k.unix.CloseWrite()
		_ = k.unix.SetReadDeadline(time.Now().Add(patience))
	})
}

func (k *call) Close() {
	k.abandon()
	k.close()
}

// next reads a value into v; io.EOF: the call is done.
func (k *call) next(ctx context.Context, v any) error {
	var a answer
	if err := k.read(&a); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("lab %s: %w", k.lab, errEnded)
	}
	switch {
	case a.Error != "":
		return errors.New(a.Error)
	case a.Done:
		return io.EOF
	}
	return json.Unmarshal(a.Value, v)
}

// ask makes a call with one value for an answer.
func (c *Client) ask(ctx context.Context, name string, arguments, v any) error {
	k, err := c.begin(ctx, name, arguments)
	if err != nil {
		return err
	}
	defer k.Close()
	return k.next(ctx, v)
}

// Describe says what stands.
func (c *Client) Describe(ctx context.Context) (d Description, err error) {
	err = c.ask(ctx, callDescribe, nil, &d)
	return d, err
}

// Rules gives the rules of a router, as nft would print them.
func (c *Client) Rules(ctx context.Context, router string) (text string, err error) {
	err = c.ask(ctx, callRules, look{Node: router}, &text)
	return text, err
}

// Diagram draws the lab; see Draw.
func (c *Client) Diagram(ctx context.Context, format string, width int, color bool) (text string, err error) {
	err = c.ask(ctx, callDiagram, drawing{format, width, color}, &text)
	return text, err
}

// Mappings gives the live mappings of a router's NAT.
func (c *Client) Mappings(ctx context.Context, router string) (ms []Mapping, err error) {
	err = c.ask(ctx, callMappings, look{Node: router}, &ms)
	return ms, err
}

// WatchMappings calls f with the live mappings of a router's NAT, at once and
// whenever they have changed, with clock also when only their times have, until
// ctx ends or f fails.
func (c *Client) WatchMappings(ctx context.Context, router string, clock bool, f func([]Mapping) error) error {
	k, err := c.begin(ctx, callMappings, look{Node: router, Watch: true, Clock: clock})
	if err != nil {
		return err
	}
	defer k.Close()
	for {
		var ms []Mapping
		if err := k.next(ctx, &ms); err != nil {
			return err
		}
		if err := f(ms); err != nil {
			return err
		}
	}
}

// Down takes the lab down, and returns when nothing is left of it and its
// process has ended.
func (c *Client) Down(ctx context.Context) error {
	d, err := c.Describe(ctx)
	if err != nil {
		return err
	}
	k, err := c.begin(ctx, callDown, nil)
	if err != nil {
		return err
	}
	defer k.Close()
	holder := watchExit(k.conn)
	holder.add(d.PID)
	defer holder.close()
	if err := k.next(ctx, nil); !errors.Is(err, io.EOF) && !errors.Is(err, errEnded) {
		return err
	}
	holder.wait()
	return nil
}
