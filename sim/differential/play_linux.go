package differential

import (
	"fmt"
	"strings"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/table"
)

// Result is what playing a schedule gave.
type Result struct {
	Verdict
	// Step is at which step it is, of the schedule's; past the last one it is about the
	// mappings that were left.
	Step int
	// Log is a line for each packet that was sent.
	Log []string
	// Judged is how many packets were, and Took how long it took.
	Judged int
	Took   time.Duration
}

// String is the schedule with what became of its packets, for people.
func (r Result) String() string {
	text := strings.Join(r.Log, "\n")
	switch {
	case r.Disagreement != "":
		return fmt.Sprintf("%s\nstep %d: %s", text, r.Step+1, r.Disagreement)
	case r.Unjudged != "":
		return fmt.Sprintf("%s\nstep %d: not judged: %s", text, r.Step+1, r.Unjudged)
	}
	return text
}

// turns bounds how many rigs ask the kernel for something by netlink at once: it
// computes for milliseconds then, and packets that others send meanwhile would be
// late.
var turns = make(chan struct{}, 6)

// turn waits for one, and gives what ends it.
func turn() func() {
	turns <- struct{}{}
	return func() { <-turns }
}

// Play plays a schedule on a rig and judges it, until they disagree. The error is
// about the machine, and not about the NAT.
func Play(r *Rig, s Schedule, pair table.Pairing, tally *Tally) (Result, error) {
	began := time.Now()
	result := Result{}
	judge, err := NewJudge(s, pair, tally)
	if err != nil {
		return result, err
	}
	if err := install(r, s.Behavior, judge); err != nil {
		return result, err
	}
	for i := 0; i < len(s.Steps); {
		n := together(s.Steps[i:])
		result.Step = i
		if err := play(r, judge, s.Steps[i:i+n], &result); err != nil {
			return result, fmt.Errorf("step %d, %s: %w", i+1, s.Steps[i], err)
		}
		i += n
		if result.Verdict != (Verdict{}) {
			break
		}
	}
	if result.Verdict == (Verdict{}) {
		result.Step = len(s.Steps)
		if result.Verdict, err = list(r, judge); err != nil {
			return result, err
		}
	}
	result.Took = time.Since(began)
	return result, nil
}

func install(r *Rig, b nat.Behavior, judge *Judge) error {
	defer turn()()
	return r.Install(b, judge.External())
}

// list holds the mappings that are left against the model's.
func list(r *Rig, judge *Judge) (Verdict, error) {
	defer turn()()
	settle(judge, change)
	var first Verdict
	for n := range lists {
		from := time.Now()
		live, err := r.mappings()
		if err != nil {
			return Verdict{}, err
		}
		switch v := judge.Listing(from, time.Now(), live); {
		case n == 0:
			if first = v; v.Disagreement == "" {
				return v, nil
			}
		case v.Disagreement == "":
			return Verdict{Unjudged: "one list of mappings was not whole, and the next one was"}, nil
		}
	}
	return first, nil
}

// lists is how often mappings are listed where they are not as they should be. A list
// is read set by set and bucket by bucket beside what changes the sets, so that one
// may lack an element that was there all the time; what is missing in all is missing.
const lists = 3

// together is how many of the first steps happen at one instant.
func together(steps []Step) int {
	n := 1
	for n < min(len(steps), maxSame) && steps[0].Do <= In && steps[n].Same {
		n++
	}
	return n
}

func play(r *Rig, judge *Judge, steps []Step, result *Result) error {
	step := steps[0]
	switch step.Do {
	case Wait:
		time.Sleep(step.Pause)
		result.Log = append(result.Log, step.String())
		return nil
	case Out, In:
		return playPackets(r, judge, steps, result)
	}
	defer turn()()
	settle(judge, change)
	from := time.Now()
	if err := r.change(step); err != nil {
		return err
	}
	result.Log = append(result.Log, step.String())
	to := time.Now()
	if judge.Uncertain(from, to) && step.Do == Rebind {
		result.Unjudged = "the rebinding came at about the end of something"
		return nil
	}
	return judge.Change(from, step)
}

func playPackets(r *Rig, judge *Judge, steps []Step, result *Result) error {
	var all []sent
	for _, step := range steps {
		all = append(all, sent{step: step, packet: judge.Packet(step)})
	}
	settle(judge, 0)
	from, to, err := r.send(all)
	if err != nil {
		return err
	}
	for i, s := range all {
		if judge.Blind(s.packet, s.outcome) {
			live, err := r.mappings()
			if err != nil {
				return err
			}
			all[i].outcome.Mapped = judge.Find(s.packet, live)
		}
		result.Log = append(result.Log, fmt.Sprintf("%-34s # %s %s", s.step, packetText(s.packet), s.outcome))
	}
	result.Verdict = judge.Judge(from, to, all)
	result.Judged += len(all)
	return nil
}

// change is how long the kernel may take for what is asked of it by netlink.
const change = 10 * time.Millisecond

// settle waits while what the NAT does depends on clocks: the moment moves on, and
// what is tested stays.
func settle(judge *Judge, takes time.Duration) {
	for range 50 {
		now := time.Now()
		if !judge.Uncertain(now, now.Add(takes)) {
			return
		}
		time.Sleep(Tolerance / 5)
	}
}
