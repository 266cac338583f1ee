//go:build linux

package differential

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/table"
)

// String is the text form: the NAT, how many external addresses it has, and a step
// a line. A + says that a packet is sent at the same instant as the one before it.
//
//	nat mapping=EIM,filtering=APDF,ports=preserve,timeout=200ms
//	external 2
//	out udp a:40001 > x:3478
//	wait 150ms
//	in udp x:3478 > @a:40001
//	+ out udp b:40001 > 1:40001
//	rebind a
//	reboot 1
//	swap mapping=EIM,filtering=EIF,ports=random
func (s Schedule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "nat %s\nexternal %d\n", s.Behavior, s.External)
	for _, step := range s.Steps {
		fmt.Fprintln(&b, step)
	}
	return b.String()
}

func (s Step) String() string {
	switch {
	case s.Do <= In && s.Same:
		s.Same = false
		return same + " " + s.String()
	case s.Do <= In:
		return fmt.Sprintf("%s %s %s > %s", s.Do, s.Protocol, s.From, s.To)
	case s.Do == Wait:
		return fmt.Sprintf("%s %dms", s.Do, s.Pause.Milliseconds())
	case s.Do == Reboot && s.External > 0:
		return fmt.Sprintf("%s %d", s.Do, s.External)
	case s.Do == Rebind && s.Host != 0:
		return fmt.Sprintf("%s %c", s.Do, s.Host)
	case s.Do == Swap:
		return fmt.Sprintf("%s %s", s.Do, s.Behavior)
	}
	return s.Do.String()
}

func (e Endpoint) String() string {
	switch {
	case e.Node == mapped && e.Back > 0:
		return fmt.Sprintf("@%c:%d~%d", e.Host, e.Port, e.Back)
	case e.Node == mapped:
		return fmt.Sprintf("@%c:%d", e.Host, e.Port)
	}
	return fmt.Sprintf("%c:%d", e.Node, e.Port)
}

// Parse reads the text form of a schedule. Empty lines, and what follows a #, are
// comments. The error names the line.
func Parse(text string) (Schedule, error) {
	var s Schedule
	named := false
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		fail := func(err error) (Schedule, error) { return Schedule{}, fmt.Errorf("line %d: %w", i+1, err) }
		switch {
		case !named:
			if words[0] != "nat" || len(words) != 2 {
				return fail(fmt.Errorf("%q: a schedule begins with the NAT, as in: nat mapping=EIM,filtering=APDF,ports=preserve", line))
			}
			b, err := nat.ParseBehavior(words[1])
			if err != nil {
				return fail(err)
			}
			s.Behavior, s.External, named = b, 1, true
		case words[0] == "external":
			n, err := strconv.Atoi(strings.Join(words[1:], " "))
			if err != nil || len(s.Steps) > 0 {
				return fail(fmt.Errorf("%q: external takes a number, and stands before the steps", line))
			}
			s.External = n
		default:
			step, err := parseStep(words)
			if err == nil {
				err = step.validate()
			}
			if err != nil {
				return fail(fmt.Errorf("%q: %w", strings.TrimSpace(line), err))
			}
			s.Steps = append(s.Steps, step)
		}
	}
	if !named {
		return Schedule{}, fmt.Errorf("empty: a schedule begins with the NAT, as in: nat mapping=EIM,filtering=APDF,ports=preserve")
	}
	if err := s.Validate(); err != nil {
		return Schedule{}, err
	}
	return s, nil
}

// same is before packets that are sent at the same instant as the one before.
const same = "+"

func parseStep(words []string) (s Step, err error) {
	if words[0] == same && len(words) > 1 {
		s.Same, words = true, words[1:]
	}
	kind := slices.Index(stepNames, words[0])
	if kind < 0 {
		return s, fmt.Errorf("no such step; there are %s", strings.Join(stepNames, ", "))
	}
	s.Do = StepKind(kind)
	words = words[1:]
	word := strings.Join(words, " ")
	switch s.Do {
	case Out, In:
		if len(words) != 4 || words[2] != ">" {
			return s, fmt.Errorf("a packet is as in: out udp a:40001 > x:3478")
		}
		if s.Protocol, err = parseProtocol(words[0]); err != nil {
			return s, err
		}
		if s.From, err = parseEndpoint(words[1]); err != nil {
			return s, err
		}
		s.To, err = parseEndpoint(words[3])
		return s, err
	case Wait:
		if s.Pause, err = time.ParseDuration(word); err != nil {
			return s, fmt.Errorf("it takes a duration, as in: wait 150ms")
		}
	case Reboot:
		if len(words) > 0 {
			if s.External, err = strconv.Atoi(word); err != nil || s.External < 1 {
				return s, fmt.Errorf("it takes a number of external addresses, or nothing")
			}
		}
	case Rebind:
		if len(word) > 1 {
			return s, fmt.Errorf("it takes an inside host, or nothing")
		}
		if len(word) == 1 {
			s.Host = word[0]
		}
	case Swap:
		s.Behavior, err = nat.ParseBehavior(word)
		return s, err
	case Flush:
		if len(words) > 0 {
			return s, fmt.Errorf("it takes nothing")
		}
	}
	return s, nil
}

func parseProtocol(word string) (table.Protocol, error) {
	for _, p := range []table.Protocol{table.UDP, table.TCP, table.ICMPEcho} {
		if p.String() == word {
			return p, nil
		}
	}
	return 0, fmt.Errorf("%q is no protocol: udp, tcp or icmp", word)
}

func parseEndpoint(word string) (e Endpoint, err error) {
	wrong := fmt.Errorf("%q is no endpoint: they are as a:40001, x:3478, 1:40001, @a:40001 or @a:40001~1", word)
	node, rest, found := strings.Cut(word, ":")
	if !found {
		return e, wrong
	}
	switch {
	case len(node) == 1 && node[0] != mapped:
		e.Node = node[0]
	case len(node) == 2 && node[0] == mapped:
		e.Node, e.Host = mapped, node[1]
		if at, back, found := strings.Cut(rest, "~"); found {
			n, err := strconv.ParseUint(back, 10, 8)
			if err != nil || n == 0 {
				return e, wrong
			}
			rest, e.Back = at, uint8(n)
		}
	default:
		return e, wrong
	}
	port, err := strconv.ParseUint(rest, 10, 16)
	if err != nil {
		return e, wrong
	}
	e.Port = uint16(port)
	return e, nil
}
