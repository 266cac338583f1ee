package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"p2pmodel/scenarios"
)

// programs lists the servers, ours or not, and the programs.
func (d description) programs(sc *scenarios.Scenario) {
	server := func(what, name, host string) {
		switch by := sc.ServedBy(name); {
		case host == "":
		case by != nil:
			d.item(fmt.Sprintf("%s on host %s: the program %s", what, host, by.Name))
		default:
			d.item(what + " on host " + host)
		}
	}
	server(scenarios.ServerRendezvous, scenarios.ServerRendezvous, sc.Rendezvous)
	for _, name := range sc.RelayNames() {
		server(scenarios.ServerRelay, name, sc.RelayHost(name))
	}
	if sc.Relay == "" && len(sc.Peers) > 0 {
		d.item("no relay")
	}
	for _, p := range sc.Programs {
		d.program("program", p)
	}
	for _, p := range sc.Peers {
		if p.Program != nil {
			d.program("peer", p.Program)
		}
	}
}

func (d description) program(what string, p *scenarios.Program) {
	text := fmt.Sprintf("%s %s on host %s", what, p.Name, p.Host)
	if p.User != "" {
		text += ", as " + p.User
	}
	d.item(text + ": " + strings.Join(strings.Fields(strings.Join(p.Run, " ")), " "))
}

// programExpectWords says what a phase expects of programs.
func programExpectWords(e scenarios.Expect) (text string) {
	for _, name := range slices.Sorted(maps.Keys(e.Exits)) {
		text += fmt.Sprintf(", %s ends with status %d", name, e.Exits[name])
	}
	for _, name := range slices.Sorted(maps.Keys(e.Output)) {
		text += fmt.Sprintf(", %s prints %q", name, e.Output[name])
	}
	for _, d := range e.Delivered {
		if d.Bytes == 0 {
			text += fmt.Sprintf(", nothing arrives from %s at %s", d.From, d.To)
			continue
		}
		text += fmt.Sprintf(", %d bytes from %s arrive at %s", d.Bytes, d.From, d.To)
		if d.Over != "" {
			text += ", all " + string(d.Over)
		}
	}
	return text
}

// programRunWords says what became of a program.
func programRunWords(p scenarios.ProgramRun) string {
	words := make([]string, len(p.Command))
	for i, w := range p.Command {
		words[i] = shellWord(w)
	}
	text := strings.Join(words, " ") + "\n"
	if !p.Ended {
		return text + "ran until it was asked to end"
	}
	return text + fmt.Sprintf("ended by itself with status %d", p.Status)
}
