package scenarios

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"p2pmodel/sim/document"
)

// programKeys are the keys of a program, beside its host.
var programKeys = []string{"run", "needs", "user", "env", "dir", "ready", "adapter", "stop"}

var (
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	userName     = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)
)

const maxProgramTime = 10 * time.Minute

// adapterJSON is the only kind of adapter.
const adapterJSON = "json"

// decodePrograms takes the programs. They start in the order of the file.
func (d *decoder) decodePrograms(n *document.Node) {
	for _, e := range n.Map().Entries() {
		m := e.Map(append([]string{"host"}, programKeys...)...)
		host := d.word(m.Need("host"), "host", d.hosts)
		m.Need("run")
		d.sc.Programs = append(d.sc.Programs, d.program(e.Name(), host, m))
		d.programs = append(d.programs, e.Name())
	}
	if n.Exists() && len(d.sc.Programs) == 0 {
		n.Errorf("at least one program is needed, or no programs: at all")
	}
}

// program takes the keys of a program.
func (d *decoder) program(name, host string, m document.Map) *Program {
	p := &Program{Name: name, Host: host, Adapter: m.Get("adapter").Word("adapter", adapterJSON) != ""}
	p.Run = d.command(m.Get("run"))
	for _, n := range m.Get("needs").List() {
		p.Needs = append(p.Needs, n.Text())
	}
	if p.User = m.Get("user").Text(); p.User != "" && !userName.MatchString(p.User) {
		m.Get("user").Errorf("a user is a name or a number: %q is not", p.User)
	}
	for _, e := range m.Get("env").Map().Entries() {
		if !variableName.MatchString(e.Name()) {
			e.KeyErrorf("%q is no name of a variable", e.Name())
		}
		p.Env = append(p.Env, e.Name()+"="+e.Text())
	}
	p.Dir = m.Get("dir").Text()
	p.Ready = d.ready(m.Get("ready"))
	p.Stop = d.stop(m.Get("stop"))
	for _, text := range append(slices.Clone(p.Run), p.Dir, p.Ready.File) {
		d.known(m.Get("run"), text, p)
	}
	for _, text := range p.Env {
		d.known(m.Get("env"), text, p)
	}
	return p
}

// command takes a command line, or a list of its words.
func (d *decoder) command(n *document.Node) (words []string) {
	switch {
	case !n.Exists():
		return nil
	case n.Kind() == document.List:
		words = n.Texts()
	default:
		var err error
		if words, err = splitCommand(n.Text()); err != nil {
			n.Errorf("run: %v", err)
			return nil
		}
	}
	if len(words) == 0 || words[0] == "" {
		n.Errorf("run: a command is missing, as `iperf3 -s` or [iperf3, -s]")
		return nil
	}
	return words
}

// known finds variables that the lab does not have, nor the program.
func (d *decoder) known(n *document.Node, text string, p *Program) {
	for _, name := range LabVariables(text) {
		own := slices.ContainsFunc(p.Env, func(v string) bool { return strings.HasPrefix(v, name+"=") })
		if names := d.variables(); !own && !slices.Contains(names, name) {
			n.Errorf("the lab has no variable %s%s", name, document.Suggest(name, names))
		}
	}
}

func (d *decoder) variables() []string {
	if d.vars == nil {
		d.vars = d.sc.ProgramVariables()
	}
	return d.vars
}

// within takes a time that something may take.
func (d *decoder) within(n *document.Node, otherwise time.Duration) time.Duration {
	if !n.Exists() {
		return otherwise
	}
	v := n.Duration()
	if v <= 0 || v > maxProgramTime {
		n.Errorf("%s: a time is more than 0 and at most %v", n.Name(), maxProgramTime)
	}
	return v
}

func (d *decoder) ready(n *document.Node) Ready {
	m := n.Map("port", "line", "file", "within")
	r := Ready{Line: d.pattern(m.Get("line")), File: m.Get("file").Text(), Within: d.within(m.Get("within"), DefaultReadyWithin)}
	if port := m.Get("port"); port.Exists() {
		var ok bool
		if r.Port, ok = parsePorts(port.Text()); !ok || r.Port.Low != r.Port.High {
			port.Errorf("a port is as tcp/443 or udp/3478: %q is not", port.Text())
		}
	}
	return r
}

func (d *decoder) stop(n *document.Node) Stop {
	m := n.Map("signal", "within")
	s := Stop{Signal: DefaultStopSignal, Within: d.within(m.Get("within"), DefaultStopWithin)}
	if node := m.Get("signal"); node.Exists() {
		s.Signal = node.Word("signal", slices.Sorted(maps.Keys(StopSignals))...)
	}
	return s
}

// pattern takes a regular expression.
func (d *decoder) pattern(n *document.Node) string {
	text := n.Text()
	if _, err := regexp.Compile(text); err != nil {
		n.Errorf("%q is no regular expression: %v", text, err)
		return ""
	}
	return text
}

// expectPrograms takes what is expected of programs.
func (d *decoder) expectPrograms(e *Expect, m document.Map) {
	if entries := d.byProgram(m.Get("exits")); len(entries) > 0 {
		e.Exits = map[string]int{}
		for _, k := range entries {
			e.Exits[k.Name()] = k.Int(0, 255)
		}
	}
	if entries := d.byProgram(m.Get("output")); len(entries) > 0 {
		e.Output = map[string]string{}
		for _, k := range entries {
			e.Output[k.Name()] = d.pattern(k)
		}
	}
	for _, n := range m.Get("delivered").List() {
		dm := n.Map("from", "to", "bytes", "over")
		k := DeliveredExpect{From: d.word(dm.Need("from"), "host", d.hosts), To: d.word(dm.Need("to"), "host", d.hosts), Bytes: dm.Need("bytes").Size()}
		if over := dm.Get("over"); over.Exists() {
			k.Over = Path(over.Word("path", string(Direct), string(Relay)))
			if k.Over == Relay && d.sc.Relay == "" {
				over.Errorf("the scenario has no relay: say relay: HOST")
			}
		}
		if k.From == k.To && k.From != "" {
			dm.Get("to").Errorf("what %s sends to itself is on no wire", k.From)
		}
		e.Delivered = append(e.Delivered, k)
	}
	e.Within = d.within(m.Get("within"), DefaultProgramsWithin)
	if m.Has("within") && len(e.Exits)+len(e.Output)+len(e.Delivered) == 0 {
		m.Get("within").KeyErrorf("within: goes with exits:, output: or delivered:")
	}
}

// byProgram takes a mapping from programs.
func (d *decoder) byProgram(n *document.Node) []*document.Node {
	names := d.allPrograms()
	if n.Exists() && len(names) == 0 {
		n.KeyErrorf("%s: is about programs, and the scenario has none", n.Name())
		return nil
	}
	return n.Map(names...).Entries()
}

// allPrograms are the names of programs and of peers that are programs.
func (d *decoder) allPrograms() []string {
	all := slices.Clone(d.programs)
	for _, p := range d.sc.Peers {
		if p.Program != nil {
			all = append(all, p.Name)
		}
	}
	return all
}
