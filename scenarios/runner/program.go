package runner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"p2pmodel/scenarios"
	"p2pmodel/sim"
)

// readyPoll is how often a program that is not ready yet is looked at.
const readyPoll = 10 * time.Millisecond

// programs are those of a run.
type programs struct {
	folder installation // that they share
	all    map[string]*program
	order  []*program // as they were started
}

// program is one of somebody else's that runs on a host.
type program struct {
	spec    *scenarios.Program
	command []string
	running sim.RunningProgram
	out     *output
	said    chan struct{} // closed when its adapter says that it is ready
	dir     string        // where it runs
	file    string        // that it is ready with; "": none
	started time.Time
	ended   ending // as it was noted last, before it was asked to end
}

// openPrograms makes the folder that the programs of a run share.
func (s *stage) openPrograms() error {
	if len(s.v.scenario.AllPrograms()) == 0 {
		return nil
	}
	s.programs = &programs{all: map[string]*program{}}
	if err := s.programs.folder.folder(); err != nil {
		return fmt.Errorf("a folder for programs: %w", err)
	}
	// Whatever users they run as.
	return os.Chmod(s.programs.folder.dir, 0o777|os.ModeSticky)
}

func (s *stage) closePrograms() error {
	if s.programs == nil || s.programs.folder.lock == nil {
		return nil
	}
	return s.programs.folder.remove()
}

// startPrograms starts those that a condition chooses, in order, each once the one
// before is ready.
func (s *stage) startPrograms(ctx context.Context, chosen func(p *scenarios.Program) bool) error {
	for _, p := range s.v.scenario.Programs {
		if !chosen(p) {
			continue
		}
		if err := s.startProgram(ctx, p, nil); err != nil {
			return err
		}
		if err := s.awaitReady(ctx, s.programs.all[p.Name]); err != nil {
			return err
		}
	}
	return nil
}

// serves reports whether a program is the rendezvous or the relay.
func (s *stage) serves(p *scenarios.Program) bool {
	return s.v.scenario.ServedBy(scenarios.ServerRendezvous) == p ||
		slices.ContainsFunc(s.v.scenario.RelayNames(), func(name string) bool { return s.v.scenario.ServedBy(name) == p })
}

// startProgram starts a program; a is the peer in whose place it stands, or nil.
func (s *stage) startProgram(ctx context.Context, spec *scenarios.Program, a *actor) error {
	h, err := s.net.Host(spec.Host)
	if err != nil {
		return err
	}
	variables, err := s.variables(spec, a)
	if err != nil {
		return err
	}
	expand := func(text string) string {
		return scenarios.ExpandLab(text, func(name string) (string, bool) {
			value, known := variables[name]
			return value, known
		})
	}
	p := &program{spec: spec, said: make(chan struct{}), out: newOutput()}
	for _, word := range spec.Run {
		p.command = append(p.command, expand(word))
	}
	path, err := findProgram(s.v.scenario, p.command[0], s.path)
	if err != nil {
		return err
	}
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return spec.User != "" && slices.Contains([]string{"HOME", "USER", "LOGNAME"}, name)
	})
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		env = append(env, name+"="+variables[name])
	}
	p.dir = s.programs.folder.dir
	if spec.Dir != "" {
		p.dir = besideFile(s.v.scenario, expand(spec.Dir))
	}
	if p.file = expand(spec.Ready.File); p.file != "" && !filepath.IsAbs(p.file) {
		p.file = filepath.Join(p.dir, p.file)
	}
	p.started = time.Now()
	p.running, err = h.Start(ctx, sim.Program{
		Name: spec.Name, Path: path, Args: p.command[1:], Env: env, Dir: p.dir, User: spec.User,
		Hosts:  sim.HostsFile(s.net, spec.Host),
		OnLine: func(l sim.Line) { s.heed(p, a, l) },
	})
	if err != nil {
		return fmt.Errorf("program %s: %w", spec.Name, err)
	}
	s.log.add(s.net.Now(), spec.Name, "runs on host "+spec.Host+": "+strings.Join(p.command, " "))
	s.programs.all[spec.Name] = p
	s.programs.order = append(s.programs.order, p)
	return nil
}

// heed takes a line that a program has printed.
func (s *stage) heed(p *program, a *actor, l sim.Line) {
	if p.spec.Adapter && !l.Stderr && s.event(p, a, l) {
		return
	}
	if text, ok := p.out.add(l); ok {
		s.log.add(l.At, p.spec.Name, text)
	}
}

// variables are those that a program has of the lab, and its own.
func (s *stage) variables(spec *scenarios.Program, a *actor) (map[string]string, error) {
	all := map[string]string{
		scenarios.VarDir: s.programs.folder.dir, scenarios.VarHost: spec.Host, scenarios.VarName: spec.Name,
	}
	add := func(env []string) {
		for _, v := range env {
			name, value, _ := strings.Cut(v, "=")
			all[name] = value
		}
	}
	add(sim.Environ(s.v.lab, s.net.Plan()))
	for name, host := range map[string]string{scenarios.VarRendezvous: s.v.scenario.Rendezvous, scenarios.VarRelay: s.v.scenario.Relay} {
		if host == "" {
			continue
		}
		h, _ := s.v.lab.Host(host)
		all[name] = netip.AddrPortFrom(s.net.Plan().Addresses(host, h.ActiveUplink())[0], stunPort).String()
	}
	if s.v.scenario.Relay != "" {
		all[scenarios.VarRelayUser], all[scenarios.VarRelayPassword], all[scenarios.VarRelayRealm] = relayUser, relayPassword, relayRealm
	}
	if a != nil {
		var with []string
		for _, pair := range s.pairs() {
			for i, name := range pair {
				if name == a.name {
					with = append(with, pair[1-i])
					all[scenarios.VarDials] = fmt.Sprint(1 - i)
				}
			}
		}
		if len(with) == 1 {
			all[scenarios.VarPeer] = with[0]
		} else {
			delete(all, scenarios.VarDials)
		}
	}
	for _, v := range spec.Env {
		name, value, _ := strings.Cut(v, "=")
		add([]string{name + "=" + scenarios.ExpandLab(value, func(name string) (string, bool) {
			v, known := all[name]
			return v, known
		})})
	}
	return all, nil
}

// besideFile is a path as the scenario's file means it.
func besideFile(sc *scenarios.Scenario, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	full, err := filepath.Abs(filepath.Join(sc.Folder, path))
	if err != nil {
		return path
	}
	return full
}

// awaitReady waits until a program is ready.
func (s *stage) awaitReady(ctx context.Context, p *program) error {
	r := p.spec.Ready
	if !r.Any() && !p.spec.Adapter {
		return nil
	}
	h, err := s.net.Host(p.spec.Host)
	if err != nil {
		return err
	}
	line, err := regexp.Compile(r.Line)
	if err != nil {
		return err
	}
	limit := time.NewTimer(r.Within)
	defer limit.Stop()
	poll := time.NewTicker(readyPoll)
	defer poll.Stop()
	for {
		ended := !p.running.State().Running // looked at first: what it lacks may come with its end
		lacks, err := s.lacks(h, p, line)
		switch {
		case err != nil:
			return err
		case lacks == "":
			s.log.add(s.net.Now(), p.spec.Name, fmt.Sprintf("ready after %v", time.Since(p.started).Round(time.Millisecond)))
			return nil
		case ended:
			return fmt.Errorf("program %s on host %s ended with status %d before it was ready (%s); %s",
				p.spec.Name, p.spec.Host, p.running.State().Code, lacks, p.out.last())
		}
		select {
		case <-poll.C:
		case <-limit.C:
			return fmt.Errorf("program %s on host %s was not ready within %v: %s; %s", p.spec.Name, p.spec.Host, r.Within, lacks, p.out.last())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// lacks says what a program lacks to be ready; "": nothing.
func (s *stage) lacks(h sim.RunningHost, p *program, line *regexp.Regexp) (string, error) {
	r := p.spec.Ready
	if !r.Any() {
		select {
		case <-p.said:
			return "", nil
		default:
			return `its adapter has not said "ready"`, nil
		}
	}
	if r.Line != "" && !p.out.matches(line, 0) {
		return fmt.Sprintf("no line matches %q", r.Line), nil
	}
	if p.file != "" {
		// One of old does not count; file systems keep times less exactly than clocks.
		if info, err := os.Stat(p.file); err != nil || info.ModTime().Before(p.started.Add(-time.Second)) {
			return "there is no new file " + p.file, nil
		}
	}
	if r.Port.Protocol != "" {
		bound, err := h.Bound(r.Port.Protocol, r.Port.Low)
		if err != nil {
			return "", err
		}
		if !bound {
			return fmt.Sprintf("nothing is bound to %s", r.Port), nil
		}
	}
	return "", nil
}

// stopPrograms ends all programs, the last one first.
func (s *stage) stopPrograms() error {
	if s.programs == nil {
		return nil
	}
	var errs []error
	for _, p := range slices.Backward(s.programs.order) {
		errs = append(errs, s.stopProgram(p))
	}
	return errors.Join(errs...)
}

// stopProgram asks a program to end, and kills it if it does not.
func (s *stage) stopProgram(p *program) error {
	select {
	case <-p.running.Done():
		return nil
	default:
	}
	signal := scenarios.StopSignals[p.spec.Stop.Signal]
	if err := p.running.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	grace := time.NewTimer(p.spec.Stop.Within)
	defer grace.Stop()
	select {
	case <-p.running.Done():
		return nil
	case <-grace.C:
	}
	s.log.add(s.net.Now(), p.spec.Name, fmt.Sprintf("killed, as it did not end within %v of signal %s", p.spec.Stop.Within, p.spec.Stop.Signal))
	return p.running.Kill()
}
