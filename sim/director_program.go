package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"p2pmodel/sim/document"
)

// programs does what is done to programs.
func (d *Director) programs(ctx context.Context, e Event) (p Proof, err error) {
	chosen, err := d.chosen(e)
	if err != nil {
		return p, err
	}
	if p.Before, err = processLines(chosen); err != nil {
		return p, err
	}
	var names []string
	ok := true
	for _, c := range chosen {
		pid := c.PID()
		switch e.Kind {
		case EventKill:
			err = c.Kill()
			ok = ok && !c.State().Running
		case EventPause:
			err = c.Pause(ctx)
		case EventResume:
			err = c.Resume(ctx)
		case EventRestart:
			err = c.Restart(ctx)
			ok = ok && c.PID() != pid && c.State().Running
		}
		if err != nil {
			return p, err
		}
		names = append(names, c.Name())
	}
	if p.After, err = processLines(chosen); err != nil {
		return p, err
	}
	ok = ok && !slices.Equal(p.Before, p.After)
	if e.Kind == EventPause && e.For > 0 {
		waited := Sleep(ctx, d.net, e.For)
		still, err := processLines(chosen)
		ok = ok && slices.Equal(still, p.After)
		for _, c := range chosen {
			if c.State().Running {
				err = errors.Join(err, c.Resume(context.WithoutCancel(ctx)))
			}
		}
		if err := errors.Join(waited, err); err != nil {
			return p, err
		}
	}
	p.State = proved(ok)
	p.Text = fmt.Sprintf("%s %s: [%s] → [%s]", done[e.Kind], strings.Join(names, ", "), strings.Join(p.Before, ", "), strings.Join(p.After, ", "))
	if e.For > 0 {
		p.Text += fmt.Sprintf(", for %v", e.For)
	}
	return p, nil
}

// done says what was done to programs.
var done = map[EventKind]string{EventKill: "killed", EventPause: "paused", EventResume: "resumed", EventRestart: "restarted"}

// chosen are the programs that an event is about. Those that have ended count for
// a restart only, each by the last of its name on a host.
func (d *Director) chosen(e Event) (chosen []RunningProgram, err error) {
	var names []string
	for _, host := range d.net.Lab().Hosts {
		if e.Host != "" && host.Name != e.Host {
			continue
		}
		h, err := d.net.Host(host.Name)
		if err != nil {
			return nil, err
		}
		last := map[string]RunningProgram{}
		for _, p := range h.Programs() {
			running := p.State().Running
			if e.Kind != EventRestart && !running {
				continue
			}
			if !slices.Contains(names, p.Name()) {
				names = append(names, p.Name())
			}
			if e.Program != "" && p.Name() != e.Program {
				continue
			}
			if former := last[p.Name()]; former != nil && !former.State().Running {
				chosen = slices.DeleteFunc(chosen, func(c RunningProgram) bool { return c == former })
			} else if former != nil && !running {
				continue
			}
			last[p.Name()] = p
			chosen = append(chosen, p)
		}
	}
	if len(chosen) > 0 {
		return chosen, nil
	}
	where := "in the lab"
	if e.Host != "" {
		where = "on host " + e.Host
	}
	if e.Program == "" || len(names) == 0 {
		return nil, fmt.Errorf("no program runs %s", where)
	}
	return nil, fmt.Errorf("no program %q runs %s%s", e.Program, where, document.Suggest(e.Program, names))
}

// processLines are the processes of programs, or how those ended.
func processLines(programs []RunningProgram) (all []string, err error) {
	for _, p := range programs {
		if state := p.State(); !state.Running {
			all = append(all, fmt.Sprintf("%s ended with %d", p.Name(), state.Code))
			continue
		}
		processes, err := p.Processes()
		if err != nil {
			return all, err
		}
		for _, q := range processes {
			// What runs may sleep at the moment, which says nothing.
			state := "runs"
			if q.Stopped {
				state = fmt.Sprintf("stopped (%c)", q.State)
			}
			all = append(all, fmt.Sprintf("%d %s %s", q.PID, q.Name, state))
		}
	}
	return all, nil
}
