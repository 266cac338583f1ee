package capsule

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/report"
	"p2pmodel/sim"
	"p2pmodel/sim/witness"
	"p2pmodel/sim/witness/pcapng"
)

// Bounds of captures, in bytes of packets: of one run, and of all runs of a
// capsule together.
const (
	maxCapture  = 64 << 20
	maxCaptures = 256 << 20
)

// records are what is kept of one run.
type records struct {
	Run
	lab      *sim.Lab
	run      *scenarios.Run // nil: its lab did not stand
	packets  []witness.Packet
	mappings []Mapping
}

// runsOf gives the scenario's own run and those of its controls that failed, and
// notes in the manifest what is not in them.
func runsOf(res *scenarios.Result, m *Manifest) []*records {
	all := []*records{{Run: Run{Folder: runsFolder + "/own", Verdict: res.Verdict, Reason: res.Reason}, lab: res.Scenario.Lab, run: res.Run}}
	taken := map[string]bool{}
	for _, c := range res.Controls {
		if c.Verdict == scenarios.Expected {
			continue
		}
		base := strings.ToLower(plain("control-" + c.Name))
		name := base
		for n := 2; taken[name]; n++ {
			name = fmt.Sprintf("%s-%d", base, n)
		}
		taken[name] = true
		all = append(all, &records{Run: Run{Control: c.Name, Folder: runsFolder + "/" + name, Verdict: c.Verdict, Reason: c.Reason}, run: c.Run})
	}
	most := min(maxCapture, maxCaptures/len(all))
	for _, r := range all {
		if r.run == nil {
			m.Notes = append(m.Notes, r.Folder+": nothing was recorded: the lab did not stand, or the run was one of many")
			continue
		}
		r.lab = r.run.Lab
		r.mappings = history(r.run)
		var left int
		if r.packets, left = bounded(r.run.Packets, most); left > 0 {
			m.Notes = append(m.Notes, fmt.Sprintf("%s/packets.pcapng: %d of %d packets were left out in the middle: it would have had more than %d MiB",
				r.Folder, left, len(r.run.Packets), most>>20))
		}
		if len(r.run.Packets) == 0 {
			m.Notes = append(m.Notes, r.Folder+": no packets were captured")
		}
		if r.run.DropsMissing != "" {
			m.Notes = append(m.Notes, r.Folder+"/drops.json is not whole: "+r.run.DropsMissing)
		}
		if n := len(r.run.Drops) - scenarios.MaxDrops; n > 0 {
			m.Notes = append(m.Notes, fmt.Sprintf("%s/drops.json: the last %d of %d packets that died were left out", r.Folder, n, len(r.run.Drops)))
		}
	}
	return all
}

// packetOverhead is about what pcapng adds to a packet.
const packetOverhead = 48

// bounded gives packets of so many bytes at most, the first and the last ones, and
// how many it left out between them. What led to a failure is mostly at either end.
func bounded(packets []witness.Packet, most int) (kept []witness.Packet, left int) {
	total := 0
	for _, p := range packets {
		total += len(p.Data) + packetOverhead
	}
	if total <= most {
		return packets, 0
	}
	head, size := 0, 0
	for ; head < len(packets) && size+len(packets[head].Data)+packetOverhead <= most/2; head++ {
		size += len(packets[head].Data) + packetOverhead
	}
	tail, size := len(packets), 0
	for ; tail > head && size+len(packets[tail-1].Data)+packetOverhead <= most/2; tail-- {
		size += len(packets[tail-1].Data) + packetOverhead
	}
	return slices.Concat(packets[:head], packets[tail:]), tail - head
}

// entries are the run's files.
func (r *records) entries() []entry {
	var all []entry
	add := func(name string, write func(io.Writer) error) { all = append(all, entry{r.Folder + "/" + name, write}) }
	if r.lab != nil {
		add("diagram.svg", r.lab.SVG)
		add("diagram.mmd", r.lab.Mermaid)
	}
	run := r.run
	if run == nil {
		return all
	}
	if len(r.packets) > 0 {
		add("packets.pcapng", func(w io.Writer) error { return pcapng.Write(w, r.packets, nil) })
	}
	add("ladder.html", func(w io.Writer) error { return report.LadderPage(w, r.title(), run) })
	all = append(all, asJSON(r.Folder+"/drops.json", run.NewDropsResult()), text(r.Folder+"/log.txt", logText(run, "")))
	if len(run.Evidence) > 0 {
		all = append(all, text(r.Folder+"/evidence.txt", strings.Join(run.Evidence, "\n")+"\n"))
	}
	for _, router := range slices.Sorted(maps.Keys(run.Rules)) {
		all = append(all, text(r.Folder+"/rules/"+plain(router)+".txt", run.Rules[router]))
	}
	for _, router := range slices.Sorted(maps.Keys(run.Mappings)) {
		all = append(all, text(r.Folder+"/mappings/"+plain(router)+".txt", mappingsText(run.Mappings[router], r.mappings, router)))
	}
	all = append(all, asJSON(r.Folder+"/mappings.json", map[string]any{"schema": Schema, "mappings": r.mappings}))
	for _, p := range run.Programs {
		all = append(all, text(r.Folder+"/programs/"+plain(p.Name)+".txt", programText(run, p)))
	}
	return all
}

func (r *records) title() string {
	if r.Control != "" {
		return "Control: " + r.Control
	}
	return "The scenario's own run"
}

// logText writes the lines of a run's log, or those from one source.
func logText(run *scenarios.Run, from string) string {
	var b strings.Builder
	for _, l := range run.Log {
		switch {
		case from == "":
			fmt.Fprintf(&b, "%8.3f  %-10s  %s\n", l.At.Sub(run.Started).Seconds(), l.From, l.Text)
		case from == l.From:
			fmt.Fprintf(&b, "%8.3f  %s\n", l.At.Sub(run.Started).Seconds(), l.Text)
		}
	}
	return b.String()
}

// programText is what a program printed, with what it was and how it ended.
func programText(run *scenarios.Run, p scenarios.ProgramRun) string {
	end := "stopped by the laboratory, or with it"
	if p.Ended {
		end = fmt.Sprintf("ended by itself with status %d", p.Status)
	}
	return fmt.Sprintf("# %s on host %s: %s\n# %s\n# lines with ! are of standard error; times are seconds since the run began\n%s",
		p.Name, p.Host, strings.Join(p.Command, " "), end, logText(run, p.Name))
}
